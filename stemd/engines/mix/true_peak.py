"""True peaks (ITU-R BS.1770-4, annex 2): the signal between its samples, seen at four times the rate.

Work goes by tiles of frames: a tile whose neighbourhood is too quiet to matter is not interpolated at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

if TYPE_CHECKING:
    from stemd.engines.base import Frames

TILE = 16
"""Frames per tile; ``HOP`` is a multiple of it."""
_GROUP = 64
"""Tiles per product of matrices: OpenBLAS shares larger ones among threads, which wait for each other where the
machine is busy (see ``fir``)."""
_OVERSAMPLING = 4
_REACH = 12
"""Frames on either side of a point that its value is interpolated from; at most ``TILE``."""
_BETA = 4.0
"""Of the Kaiser window: with this reach the response is within 0.05 dB up to 0.4 × rate, 0.25 dB up to 0.45."""


def _interpolator() -> NDArray[np.float32]:
    """What takes a tile with its neighbourhood (``TILE + 2 × _REACH − 1`` values) to the points between its samples.

    Each column is a sinc around one point, under a Kaiser window, with sum 1 (a polyphase interpolation filter).
    """
    phases = np.arange(1, _OVERSAMPLING) / _OVERSAMPLING
    points = (np.arange(TILE)[:, None] + phases).ravel()
    distance = points - np.arange(1 - _REACH, TILE + _REACH)[:, None]
    window = np.i0(_BETA * np.sqrt(np.maximum(0.0, 1 - np.square(distance / _REACH))))
    weights = np.where(np.abs(distance) < _REACH, np.sinc(distance) * window, 0.0)
    return np.asarray(weights / weights.sum(axis=0), np.float32)


_INTERPOLATOR = _interpolator()
_WINDOW = len(_INTERPOLATOR)
_MOST = float(np.abs(_INTERPOLATOR).sum(axis=0).max())
"""No interpolated value is more than this many times the largest sample around it."""


def sample_peaks(frames: Frames) -> NDArray[np.float32]:
    """The largest magnitude of a sample in each tile of ``frames`` (a multiple of ``TILE`` × 2)."""
    peaks: NDArray[np.float32] = np.abs(frames).reshape(-1, TILE * frames.shape[1]).max(axis=1)
    return peaks


def true_peaks(frames: Frames, samples: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
    """The true peak of each tile of ``frames`` but the first and the last, which are neighbourhood only.

    ``samples`` are their ``sample_peaks``. Tiles that cannot exceed ``threshold`` may be answered with less than
    their true peak, never with more.
    """
    peaks = samples[1:-1].copy()
    around = np.maximum(np.maximum(samples[:-2], samples[2:]), peaks)
    wanted = np.flatnonzero(around * _MOST > threshold)
    if len(wanted):
        group = min(_GROUP, len(wanted))
        wanted = np.concatenate([wanted, wanted[: -len(wanted) % group]])
        starts = (wanted + 1) * TILE - (_REACH - 1)
        windows = sliding_window_view(frames, _WINDOW, axis=0)[starts]
        between = windows.reshape(len(wanted) // group, -1, _WINDOW) @ _INTERPOLATOR
        highest = np.abs(between, out=between).reshape(len(wanted), -1).max(axis=1)
        peaks[wanted] = np.maximum(peaks[wanted], highest)
    return peaks


class TruePeak:
    """The highest sample and the highest true peak of a stereo stream, in blocks of any size; full scale is 1."""

    def __init__(self) -> None:
        self._sample_peak, self._true_peak = 0.0, 0.0
        self._held: Frames = np.zeros((TILE, 2), np.float32)
        self._begun = False

    def add(self, block: Frames) -> None:
        frames = np.concatenate([self._held, block])
        tiles = len(frames) // TILE
        if tiles > 2:
            if not self._begun:  # ffmpeg's detector has the track's mirror image before it
                self._begun, first = True, frames[TILE : 3 * TILE]
                self._look_at(np.concatenate([first[TILE:0:-1], first]))
            self._look_at(frames[: tiles * TILE])
            frames = frames[(tiles - 2) * TILE :].copy()
        self._held = frames

    def _look_at(self, frames: Frames) -> None:
        samples = sample_peaks(frames)
        self._sample_peak = max(self._sample_peak, float(samples.max()))
        self._true_peak = max(self._true_peak, self._sample_peak)
        self._true_peak = max(self._true_peak, float(true_peaks(frames, samples, self._true_peak).max()))

    def finish(self) -> tuple[float, float]:
        """The sample peak and the true peak of all there was, with silence after it: nothing may be added any more."""
        self.add(np.zeros((3 * TILE, 2), np.float32))
        return self._sample_peak, self._true_peak
