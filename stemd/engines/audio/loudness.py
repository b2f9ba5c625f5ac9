"""Integrated loudness after ITU-R BS.1770-4, from a stream of blocks."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.signal import sosfilt

if TYPE_CHECKING:
    from stemd.engines.base import Frames

_ABSOLUTE_GATE = -70.0
_RELATIVE_GATE = -10.0
_OFFSET = -0.691
_HOPS_PER_BLOCK = 4
_TINY = 1e-30


def k_weighting(rate: int) -> NDArray[np.float64]:
    """The two second-order sections of BS.1770-4 (annex 1, tables 1 and 2) for any rate, as ``scipy`` ``sos``.

    The tables give coefficients for 48 kHz only. Here the analogue prototypes behind them (a high shelf of
    +3.9998 dB at 1681.97 Hz, Q 0.7072, and a high-pass at 38.135 Hz, Q 0.5003) go through the bilinear transform.
    """
    shelf_frequency, shelf_gain, shelf_q = 1681.974450955533, 3.999843853973347, 0.7071752369554196
    k = math.tan(math.pi * shelf_frequency / rate)
    high = 10 ** (shelf_gain / 20)
    band = high**0.4996667741545416
    a0 = 1 + k / shelf_q + k * k
    shelf = [
        (high + band * k / shelf_q + k * k) / a0,
        2 * (k * k - high) / a0,
        (high - band * k / shelf_q + k * k) / a0,
        1.0,
        2 * (k * k - 1) / a0,
        (1 - k / shelf_q + k * k) / a0,
    ]
    pass_frequency, pass_q = 38.13547087602444, 0.5003270373238773
    k = math.tan(math.pi * pass_frequency / rate)
    a0 = 1 + k / pass_q + k * k
    high_pass = [1.0, -2.0, 1.0, 1.0, 2 * (k * k - 1) / a0, (1 - k / pass_q + k * k) / a0]
    return np.array([shelf, high_pass])


class Loudness:
    """Feed it blocks of frames × channels; ask ``integrated`` at the end. Memory: 8 bytes per 100 ms."""

    def __init__(self, rate: int, channels: int) -> None:
        self._sections = k_weighting(rate)
        self._state = np.zeros((2, 2, channels))
        self._hop = round(rate / 10)
        self._energies = array("d")
        self._open_energy = 0.0
        self._open_frames = 0

    def add(self, block: Frames) -> None:
        filtered, state = sosfilt(self._sections, block.astype(np.float64), axis=0, zi=self._state)
        self._state = np.where(np.abs(state) < _TINY, 0.0, state)
        power = np.square(filtered).sum(axis=1)
        while len(power):
            taken, power = np.split(power, [self._hop - self._open_frames])
            self._open_energy += float(taken.sum())
            self._open_frames += len(taken)
            if self._open_frames == self._hop:
                self._energies.append(self._open_energy / self._hop)
                self._open_energy, self._open_frames = 0.0, 0

    def integrated(self) -> float | None:
        """The gated loudness in LUFS; ``None`` for silence and for less than 400 ms."""
        hops = np.frombuffer(self._energies, np.float64) if self._energies else np.zeros(0)
        if len(hops) < _HOPS_PER_BLOCK:
            return None
        sums = np.concatenate([[0.0], np.cumsum(hops)])
        blocks = (sums[_HOPS_PER_BLOCK:] - sums[:-_HOPS_PER_BLOCK]) / _HOPS_PER_BLOCK
        loud = blocks[blocks > _energy(_ABSOLUTE_GATE)]
        if not len(loud):
            return None
        gated = loud[loud > _energy(_lufs(float(loud.mean())) + _RELATIVE_GATE)]
        return _lufs(float(gated.mean()))


def _lufs(energy: float) -> float:
    return _OFFSET + 10 * math.log10(energy)


def _energy(lufs: float) -> float:
    return float(10 ** ((lufs - _OFFSET) / 10))
