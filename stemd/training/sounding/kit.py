"""Electronic drum kits: computed one-shots, drawn anew for every song."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, lfilter

from stemd.training.composing.theory import Note
from stemd.training.terms import RATE, Sound

_Hit = NDArray[np.float64]
#: Pitches without a sound of their own → those they borrow.
_LIKE = {35: 36, 40: 38, 44: 42, 57: 49, 59: 51, 43: 45, 48: 50, 41: 45}
_TOMS, _TAIL = (45, 47, 50), 3 * RATE
_PANNED = frozenset({42, 46, 49, 51, 70, 54, *_TOMS})


def kit(random: np.random.Generator) -> Mapping[int, NDArray[np.float32]]:
    """Pitch → one hit."""
    low = float(random.uniform(4000, 8000))
    ring = _time(0.8)
    ride = np.sin(2 * np.pi * random.uniform(3000, 5200) * ring) * np.exp(-ring / 0.3) * 0.1
    hits = {
        36: _kick(random),
        37: _noise(random, 0.05, (1500, 6000), 0.012),
        38: _snare(random),
        39: _clap(random),
        42: _noise(random, 0.12, (low, 20_000), float(random.uniform(0.015, 0.05))),
        46: _noise(random, 0.6, (low, 20_000), float(random.uniform(0.1, 0.35))),
        49: _noise(random, 2.0, (2500, 20_000), float(random.uniform(0.5, 1.1))),
        51: _noise(random, 0.8, (4000, 16_000), 0.25) * 0.5 + ride,
        54: _noise(random, 0.2, (6000, 18_000), 0.06),
        56: np.sign(np.sin(2 * np.pi * 560 * _time(0.3))) * np.exp(-_time(0.3) / 0.08) * 0.2,
        70: _noise(random, 0.08, (5000, 15_000), 0.03),
        **{pitch: _tom(80.0 + 45 * number) for number, pitch in enumerate(_TOMS)},
    }
    return {pitch: hit.astype(np.float32) for pitch, hit in hits.items()}


def play(random: np.random.Generator, notes: Sequence[Note], frames: int) -> Sound:
    """``notes`` on a fresh kit, as 2 × ``frames``."""
    hits = kit(random)
    side = {pitch: float(random.uniform(0.35, 0.65)) if pitch in _PANNED else 0.5 for pitch in hits}
    out = np.zeros((2, frames + _TAIL), np.float32)
    for note in notes:
        pitch = _LIKE.get(note.pitch, note.pitch)
        if pitch not in hits:
            continue
        start = int(note.at * RATE)
        hit = hits[pitch] * np.float32((note.velocity / 100) ** 1.5 * 2)
        out[0, start : start + len(hit)] += hit * np.float32(1 - side[pitch])
        out[1, start : start + len(hit)] += hit * np.float32(side[pitch])
    return out[:, :frames]


def _time(seconds: float) -> _Hit:
    return np.arange(int(seconds * RATE)) / RATE


def _noise(random: np.random.Generator, seconds: float, band: tuple[float, float], decay: float) -> _Hit:
    burst = random.normal(0, 1, int(seconds * RATE)) * np.exp(-_time(seconds) / decay)
    b, a = butter(2, [band[0] / RATE * 2, min(0.99, band[1] / RATE * 2)], "band")
    shaped: _Hit = lfilter(b, a, burst)
    return shaped


def _kick(random: np.random.Generator) -> _Hit:
    time = _time(0.6)
    frequency = random.uniform(38, 65) + random.uniform(60, 400) * np.exp(-time / random.uniform(0.01, 0.05))
    body = np.sin(2 * np.pi * np.cumsum(frequency) / RATE) * np.exp(-time / random.uniform(0.06, 0.3))
    body[:400] += random.normal(0, random.uniform(0, 0.4), 400) * np.exp(-np.arange(400) / 80)
    driven: _Hit = np.tanh(body * random.uniform(1, 4))
    return driven


def _snare(random: np.random.Generator) -> _Hit:
    time = _time(0.4)
    head = np.sin(2 * np.pi * random.uniform(140, 280) * time) * np.exp(-time / random.uniform(0.03, 0.12))
    band = (float(random.uniform(300, 1500)), float(random.uniform(6000, 18_000)))
    wires = _noise(random, 0.4, band, float(random.uniform(0.04, 0.16)))
    return head * random.uniform(0.2, 0.7) + wires * random.uniform(0.6, 1.2)


def _clap(random: np.random.Generator) -> _Hit:
    clap = _noise(random, 0.35, (700, 6000), 0.09)
    for late in (0, 450, 900):
        clap[late : late + 300] += random.normal(0, 0.4, 300)
    return clap * 0.8


def _tom(base: float) -> _Hit:
    time = _time(0.5)
    frequency = base * (1 + 0.4 * np.exp(-time / 0.04))
    return np.sin(2 * np.pi * np.cumsum(frequency) / RATE) * np.exp(-time / 0.16)
