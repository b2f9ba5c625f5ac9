"""Band-limited waves from tables, and envelopes."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from stemd.training.terms import RATE

Wave = NDArray[np.float32]
_SIZE, _HARMONICS = 2048, (1, 2, 4, 8, 16, 32, 64, 128, 256)
WAVES = ("saw", "square", "triangle", "pulse", "organ")


@cache
def tables(wave: str) -> Wave:
    """One row for each number of harmonics."""
    phase = np.arange(_SIZE) / _SIZE
    rows = []
    for highest in _HARMONICS:
        k = np.arange(1, highest + 1)
        level = {
            "saw": 1 / k,
            "square": (k % 2) / k,
            "triangle": (k % 2) / k**2,
            "pulse": np.sin(np.pi * k * 0.2) / k,
            "organ": np.isin(k, [1, 2, 3, 4, 6, 8]) / np.sqrt(k),
        }[wave]
        rows.append((level[:, None] * np.sin(2 * np.pi * k[:, None] * phase)).sum(0) * 0.6)
    return np.array(rows, np.float32)


def oscillate(frequency: NDArray[np.float64], wave: str, bright: Wave, start: float) -> Wave:
    """A wave of changing frequency; ``bright`` (0 to 1) crossfades between few harmonics and all that fit."""
    turns = (np.cumsum(frequency) / RATE + start) % 1.0
    index = (turns * _SIZE).astype(np.int32) % _SIZE
    most = float(np.clip(np.log2(RATE / 2.2 / max(20.0, float(frequency.max()))), 0, len(_HARMONICS) - 1))
    row = np.clip(bright * most, 0, most)
    below = row.astype(np.int32)
    blend = (row - below).astype(np.float32)
    above = np.minimum(below + 1, int(most))
    table = tables(wave)
    mixed: Wave = table[np.minimum(below, int(most)), index] * (1 - blend) + table[above, index] * blend
    return mixed


def envelope(frames: int, held: int, attack: float, decay: float, sustain: float, release: float) -> Wave:
    """Attack, decay, sustain and release (all but the level in seconds); the key is let go after ``held`` frames."""
    level = np.zeros(frames, np.float32)
    rise, held = max(1, int(attack * RATE)), min(frames, held)
    time = np.arange(held)
    fall = sustain + (1 - sustain) * np.exp(-np.maximum(time - rise, 0) / max(1, int(decay * RATE)))
    level[:held] = np.where(time < rise, time / rise, fall)
    if frames > held:
        last = level[held - 1] if held else 0.0
        level[held:] = last * np.exp(-np.arange(frames - held) / max(1.0, release * RATE))
    return level
