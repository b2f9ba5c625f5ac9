"""The long-term spectrum in third octaves: what tonal balance and reference matching compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.fft import rfft

if TYPE_CHECKING:
    from stemd.engines.base import Frames

_LOWEST_BAND, _HIGHEST_BAND = -16, 12
_REFERENCE_HZ = 1000.0
_HIGHEST_OF_RATE = 0.45
_WINDOW_SECONDS = 0.37
"""A third octave at 25 Hz is 5.8 Hz wide: two bins of a transform this long."""
_GATE = 10 ** (-60 / 10)
_FLOOR_DB = -200.0


def third_octaves(rate: int) -> NDArray[np.float64]:
    """The exact centres (ISO 266: 10^(n/10) Hz) of the bands from 25 Hz to 16 kHz that lie below 0.45 × ``rate``."""
    centres = _REFERENCE_HZ * 10 ** (np.arange(_LOWEST_BAND, _HIGHEST_BAND + 1) / 10)
    return centres[centres < _HIGHEST_OF_RATE * rate]


class LongTermSpectrum:
    """Feed it blocks (frames × 2, of any size); ask ``bands_db`` at the end. Its memory does not grow.

    Welch's method (1967) with a Hann window and half overlap. Windows with an RMS below −60 dBFS do not count.
    """

    def __init__(self, rate: int) -> None:
        self.centres = third_octaves(rate)
        self._size = 2 ** round(np.log2(_WINDOW_SECONDS * rate))
        self._weights = _band_weights(self.centres, self._size, rate)
        self._window = self._windowing(self._size)
        self._power = np.zeros(self._size // 2 + 1)
        self._windows = 0
        self._held: Frames = np.zeros((0, 2), np.float32)

    def _windowing(self, frames: int) -> NDArray[np.float32]:
        """A Hann window with which the squared magnitudes of all bins add up to the mean square."""
        window = np.hanning(frames + 2)[1:-1]
        return np.asarray(window / np.sqrt(np.square(window).sum() * self._size / 2), np.float32)

    def add(self, block: Frames) -> None:
        frames = np.concatenate([self._held, block])
        hop, start = self._size // 2, 0
        while start + self._size <= len(frames):
            self._look_at(frames[start : start + self._size], self._window)
            start += hop
        self._held = frames[start:].copy()

    def _look_at(self, frames: Frames, window: NDArray[np.float32]) -> None:
        rows = np.ascontiguousarray(frames.T)
        if np.einsum("cf,cf->", rows, rows) < _GATE * frames.size:
            return
        spectrum = rfft(rows * window, self._size, axis=1)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        self._power += power.sum(axis=0)
        self._windows += 1

    def bands_db(self) -> NDArray[np.float64] | None:
        """The level of each of ``centres`` in dB: 0 is a mean square of 1 in both channels (a full-scale sine: −3).

        ``None`` where nothing was louder than the gate. A track shorter than a window is one, with silence after it.
        """
        if self._windows == 0 and len(self._held):
            self._look_at(self._held, self._windowing(len(self._held)))
        if self._windows == 0:
            return None
        bands = self._power @ self._weights / (2 * self._windows)
        return np.asarray(10 * np.log10(np.maximum(bands, 10 ** (_FLOOR_DB / 10))))


def _band_weights(centres: NDArray[np.float64], size: int, rate: int) -> NDArray[np.float64]:
    """How much of each bin's power (``size // 2 + 1``) is each band's: the part of its width within the edges."""
    width = rate / size
    bins = np.arange(size // 2 + 1)[:, None] * width
    low, high = centres * 10**-0.05, centres * 10**0.05
    inside = np.minimum(bins + width / 2, high) - np.maximum(bins - width / 2, low)
    return np.asarray(np.clip(inside / width, 0.0, 1.0))
