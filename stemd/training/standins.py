"""What few of the songs have and many records do, played on the spot in place of a stem, or with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stemd.training.composing.theory import Note
from stemd.training.sounding import effects, strings, synth, vowels
from stemd.training.terms import RATE, Sound

_BEFORE = 2 * RATE
"""Frames that a line plays before the mixture begins, so that it begins within a note."""


@dataclass(frozen=True, slots=True)
class Standin:
    """``odds``: how likely it plays; ``joins``: how likely the stem goes on beside it; ``play`` makes 2 × frames."""

    odds: float
    joins: float
    play: Callable[[np.random.Generator, int], Sound]


def draw(random: np.random.Generator, stem: str) -> Standin | None:
    """Who plays for ``stem``, if anybody does."""
    chance = random.random()
    for standin in STANDINS.get(stem, ()):
        if chance < standin.odds:
            return standin
        chance -= standin.odds
    return None


def _boom(random: np.random.Generator, frames: int) -> Sound:
    """Long low notes, as of the bass drum of a TR-808 that plays the bass."""
    notes = _line(random, frames, int(random.integers(22, 40)), (0.5, 0.75, 1, 1, 1.5, 2, 3, 4))
    return synth.play(random, notes, frames + _BEFORE, synth.boom(random))[:, _BEFORE:]


def _bass_guitar(random: np.random.Generator, frames: int) -> Sound:
    gaps = ((0.5,), (0.5, 0.5, 0.5, 1), (0.25, 0.5, 0.5, 0.75, 1), (1, 1, 2, 4))[int(random.integers(4))]
    notes = _line(random, frames, int(random.integers(28, 41)), gaps)
    return strings.bass(random, notes, frames + _BEFORE)[:, _BEFORE:]


def _guitar(random: np.random.Generator, frames: int) -> Sound:
    gaps = ((0.5,), (0.25, 0.25, 0.5), (0.5, 0.75, 1), (1, 2, 4), (4,))[int(random.integers(5))]
    notes = _line(random, frames, int(random.integers(40, 58)), gaps)
    return strings.guitar(random, notes, frames + _BEFORE)[:, _BEFORE:]


def _strike(random: np.random.Generator, frames: int) -> Sound:
    """Short notes of something that is struck and yet no drum."""
    notes = _line(random, frames, int(random.integers(50, 86)), (0.25, 0.25, 0.5, 0.5, 0.75, 1, 2))
    return effects.place(synth.strike(random, notes, frames + _BEFORE), float(random.uniform(-0.7, 0.7)))[:, _BEFORE:]


def _riser(random: np.random.Generator, frames: int) -> Sound:
    """Noise that a filter sweeps up or down, as before a chorus: no cymbal, though it is as noisy."""
    noise = random.normal(0, 0.3, (2, frames)).astype(np.float32)
    length, half = 2048, 1024
    window = np.sin(np.pi * (np.arange(length) + 0.5) / length).astype(np.float32)
    blocks = -(-frames // half) + 1
    padded = np.pad(noise, ((0, 0), (half, (blocks + 1) * half - half - frames)))
    octave = np.log2(np.maximum(np.fft.rfftfreq(length, 1 / RATE), 20.0))
    first, last = (float(np.log2(random.uniform(*span))) for span in ((150, 1500), (1500, 12_000)))
    first, last = (first, last) if random.random() < 0.7 else (last, first)
    wide, swell = float(random.uniform(0.3, 1.5)), float(random.uniform(0, 3))
    out = np.zeros_like(padded)
    for block in range(blocks):
        part, at = block / blocks, slice(block * half, block * half + length)
        gain = np.exp(-(((octave - first - (last - first) * part) / wide) ** 2)) * 10 ** (swell * (part - 1) / 2)
        out[:, at] += np.fft.irfft(np.fft.rfft(padded[:, at] * window) * gain, length).astype(np.float32) * window
    return out[:, half : half + frames]


def _vocalise(random: np.random.Generator, frames: int) -> Sound:
    """A voice that sings no words."""
    notes = _line(random, frames, int(random.integers(48, 74)), (0.5, 1, 1, 1.5, 2, 3, 4))
    return vowels.vocalise(random, notes, frames + _BEFORE)[:, _BEFORE:]


STANDINS: Mapping[str, Sequence[Standin]] = {
    "bass": (Standin(0.1, 0.0, _boom), Standin(0.2, 0.0, _bass_guitar)),
    "other": (Standin(0.06, 0.0, _strike), Standin(0.22, 0.4, _guitar), Standin(0.06, 0.8, _riser)),
    "vocals": (Standin(0.33, 0.0, _vocalise),),
}


def _line(random: np.random.Generator, frames: int, root: int, gaps: Sequence[float]) -> list[Note]:
    """Notes at and after ``_BEFORE``, ``gaps`` in beats."""
    seconds, beat = (frames + _BEFORE) / RATE, float(random.uniform(0.3, 0.8))
    notes, at = [], float(random.uniform(0, beat))
    while at < seconds:
        gap = beat * float(random.choice(gaps))
        pitch = root + int(random.choice([0, 0, 0, 0, 3, 5, 7, 12, -2]))
        notes.append(Note(at, gap * float(random.uniform(0.5, 1)), pitch, int(random.integers(70, 120))))
        at += gap
    return notes
