"""Loudness after ITU-R BS.1770-4 and its range after EBU Tech 3342, from a stream of blocks."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.signal import sosfilt

if TYPE_CHECKING:
    from stemd.engines.base import Frames

_ABSOLUTE_GATE = -70.0
_RELATIVE_GATE = -10.0
_RANGE_GATE = -20.0
_OFFSET = -0.691
_MOMENTARY_HOPS, _SHORT_TERM_HOPS = 4, 30
_TINY = 1e-30
_CHUNK = 32_768
"""Frames filtered at a time: longer arrays come from the kernel page by page, which costs more than the filter."""


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
    """Feed it blocks of frames × channels; ask at the end, or in between. Memory: 8 bytes per 100 ms.

    Every answer can be had for the same stream at another level (``gain_db``): its energies are those here, scaled.
    """

    def __init__(self, rate: int, channels: int) -> None:
        self._sections = k_weighting(rate)
        self._state = np.zeros((2, channels, 2))
        self._hop = round(rate / 10)
        self._energies = array("d")
        self._open_energy = 0.0
        self._open_frames = 0

    def add(self, block: Frames) -> None:
        for start in range(0, len(block), _CHUNK):
            self._add(block[start : start + _CHUNK])

    def _add(self, block: Frames) -> None:
        rows = np.ascontiguousarray(block.T, np.float64)
        filtered, state = sosfilt(self._sections, rows, axis=1, zi=self._state)
        self._state = np.where(np.abs(state) < _TINY, 0.0, state)
        power = np.einsum("cf,cf->f", filtered, filtered)
        while len(power):
            taken, power = np.split(power, [self._hop - self._open_frames])
            self._open_energy += float(taken.sum())
            self._open_frames += len(taken)
            if self._open_frames == self._hop:
                self._energies.append(self._open_energy / self._hop)
                self._open_energy, self._open_frames = 0.0, 0

    def integrated(self, gain_db: float = 0.0) -> float | None:
        """The gated loudness in LUFS; ``None`` for silence and for less than 400 ms."""
        gated = _gated(self._blocks(_MOMENTARY_HOPS, gain_db), _RELATIVE_GATE)
        return _lufs(float(gated.mean())) if len(gated) else None

    def range(self, gain_db: float = 0.0) -> float | None:
        """The loudness range in LU (EBU Tech 3342); ``None`` for silence and for less than 3 s."""
        gated = _gated(self._blocks(_SHORT_TERM_HOPS, gain_db), _RANGE_GATE)
        if not len(gated):
            return None
        low, high = np.quantile(gated, [0.1, 0.95], method="nearest")
        return _lufs(float(high)) - _lufs(float(low))

    def momentary(self, gain_db: float = 0.0) -> float | None:
        """The loudest 400 ms in LUFS, not gated (EBU Tech 3341); ``None`` for silence and for less."""
        return _loudest(self._blocks(_MOMENTARY_HOPS, gain_db))

    def short_term(self, gain_db: float = 0.0) -> float | None:
        """The loudest 3 s in LUFS, not gated (EBU Tech 3341); ``None`` for silence and for less."""
        return _loudest(self._blocks(_SHORT_TERM_HOPS, gain_db))

    def _blocks(self, hops: int, gain_db: float) -> NDArray[np.float64]:
        """The mean energy of every ``hops`` × 100 ms, one each 100 ms."""
        energies = np.array(self._energies)
        if len(energies) < hops:
            return np.zeros(0)
        return np.asarray(sliding_window_view(energies, hops).mean(axis=1) * 10 ** (gain_db / 10))


def _gated(blocks: NDArray[np.float64], relative: float) -> NDArray[np.float64]:
    """The energies above −70 LUFS and above ``relative`` LU under the mean of those."""
    loud = blocks[blocks > _energy(_ABSOLUTE_GATE)]
    return loud[loud > _energy(_lufs(float(loud.mean())) + relative)] if len(loud) else loud


def _loudest(blocks: NDArray[np.float64]) -> float | None:
    most = float(blocks.max(initial=0.0))
    return _lufs(most) if most > 0 else None


def _lufs(energy: float) -> float:
    return _OFFSET + 10 * math.log10(energy)


def _energy(lufs: float) -> float:
    return float(10 ** ((lufs - _OFFSET) / 10))
