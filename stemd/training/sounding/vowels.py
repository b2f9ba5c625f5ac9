"""Oohs and aahs: sung vowels without words, computed. The voices of the bank all speak; many a chorus does not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stemd.training.composing.theory import Note
from stemd.training.sounding.oscillators import Wave, envelope, oscillate
from stemd.training.terms import RATE, Sound

#: The first three formants in Hz, means over men: Peterson and Barney, "Control methods used in a study of the vowels"
#: (1952); two more where a vocal tract of 17.5 cm has them.
_FORMANTS = ((270, 2290, 3010), (530, 1840, 2480), (730, 1090, 2440), (570, 840, 2410), (300, 870, 2240))
_HIGHER = (3500, 4500)
_TAIL = RATE


def vocalise(random: np.random.Generator, notes: Sequence[Note], frames: int) -> Sound:
    """``notes`` by one voice, 2 × ``frames``."""
    tract, effort = float(np.exp(random.uniform(-0.2, 0.25))), float(random.uniform(0.3, 1.8))
    rate, deep, breath = (float(random.uniform(*span)) for span in ((4.5, 6.5), (0, 0.5), (0, 0.04)))
    full = float(random.uniform(0.8, 1))
    out, before = np.zeros(frames + _TAIL, np.float32), notes[0].pitch if notes else 0
    for note in notes:
        start, held = int(note.at * RATE), int(note.length * RATE)
        length = min(held + int(0.15 * RATE), frames + _TAIL - start)
        if length <= 0:
            continue
        time = np.arange(length) / RATE
        bend = (before - note.pitch) * np.exp(-time / 0.04)
        bend += deep * np.clip((time - 0.15) / 0.3, 0, 1) * np.sin(2 * np.pi * rate * time)
        frequency = 440.0 * 2 ** ((note.pitch - 69 + bend) / 12)
        reed = oscillate(frequency, "saw", np.full(length, full, np.float32), float(random.random()))
        source = reed + breath * random.normal(0, 1, length)
        sung = [_through(source, random, tract, effort) for _ in range(2)]
        blend = np.clip(time / max(0.1, note.length) * 2 - 0.5, 0, 1) if random.random() < 0.4 else 0.0
        level = envelope(length, held, float(random.uniform(0.02, 0.1)), 0.3, 0.85, 0.06)
        out[start : start + length] += (
            (sung[0] * (1 - blend) + sung[1] * blend) * level * np.float32(note.velocity / 100)
        )
        before = note.pitch
    return np.stack([out[:frames]] * 2)


def _through(source: NDArray[np.float64], random: np.random.Generator, tract: float, effort: float) -> Wave:
    """``source`` through a random vowel: resonances one after the other; the greater the ``effort``, the brighter."""
    at = np.fft.rfftfreq(len(source), 1 / RATE)
    response = (1 + at / 1000) ** effort
    for centre in (*_FORMANTS[int(random.integers(len(_FORMANTS)))], *_HIGHER):
        peak = centre * tract * float(random.uniform(0.93, 1.07))
        width = 50 + 0.04 * peak
        response *= peak**2 / np.sqrt((peak**2 - at**2) ** 2 + (at * width) ** 2)
    response[at > 7000 * tract] *= 0.1
    sung = np.fft.irfft(np.fft.rfft(source) * response, len(source))
    return (sung / max(1e-9, float(np.abs(sung).max()))).astype(np.float32)
