"""The look-ahead limiter of the true peak, the last thing a mix goes through.

Its gain is computed once per tile of frames and joined by straight lines:

1. what each tile's true peak allows, ``required``;
2. the least of that over the look-ahead, and a tile on both sides of it, from whose frames peaks are interpolated;
3. a hold that decays exponentially (the release), from which the gain never falls behind what is required;
4. a weighted mean over the look-ahead, which rounds the corners. Whatever it averages is at most what is required in
   the middle, so it is too; and so is a straight line between two such values.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from stemd.engines.mix import parameters
from stemd.engines.mix.true_peak import TILE, sample_peaks, true_peaks

if TYPE_CHECKING:
    from stemd.engines.base import Frames

_MARGIN_DB = 0.3
"""How far below its promise the limiter stays: two detectors that both conform to BS.1770 differ by 0.2 dB."""
_NONE = 1e-6
"""Reductions (1 − gain) below this are none."""
_AT_WORK = 10 ** (-0.1 / 20)
_RAMP: NDArray[np.float32] = np.arange(TILE, dtype=np.float32) / np.float32(TILE)


class Limit:
    """A processor: ``gain_db``, then a limiter. ``latency`` is its look-ahead and what its detector needs.

    ``max_reduction_db`` is the most it lowered anything; ``at_work`` for how much of the time it did by over 0.1 dB.
    """

    name = "limiter"

    def __init__(self, limiter: parameters.Limiter, rate: int, gain_db: float = 0.0) -> None:
        self._gain = np.float32(10 ** (gain_db / 20))
        self._ceiling = 10 ** ((limiter.ceiling_dbtp - _MARGIN_DB) / 20)
        self._decay = TILE / (limiter.release_ms / 1000 * rate)
        ahead = max(2, round(limiter.lookahead_ms / 1000 * rate / TILE))
        weights = np.hanning(ahead + 3)[1:-1]
        self._weights = weights / weights.sum()
        self.latency = (ahead + 3) * TILE
        self._audio: Frames = np.zeros((self.latency, 2), np.float32)
        self._required = np.ones(ahead + 3)
        self._held = np.zeros(ahead)
        self._last_gain = np.ones(1)
        self._tiles, self._tiles_at_work, self._least = 0, 0, 1.0

    @property
    def max_reduction_db(self) -> float:
        return 20 * math.log10(1 / self._least)

    @property
    def at_work(self) -> float:
        return self._tiles_at_work / self._tiles if self._tiles else 0.0

    def facts(self) -> dict[str, float]:
        """Both, so far."""
        return {"max_reduction_db": self.max_reduction_db, "at_work": self.at_work}

    def process(self, block: Frames) -> Frames:
        """``block`` (a multiple of ``HOP`` frames × 2), ``gain_db`` louder and limited."""
        frames = np.concatenate([self._audio, block if self._gain == 1 else block * self._gain])
        self._audio = frames[len(block) :].copy()
        gains = np.concatenate([self._last_gain, self._gains(frames[self.latency - 2 * TILE :])])
        self._last_gain = gains[-1:]
        out: Frames = frames[: len(block)]
        return out if gains.min() == 1 else out * _joined(gains)

    def _gains(self, frames: Frames) -> NDArray[np.float64]:
        """The gain at the end of each tile that leaves now, from the frames that came, and two tiles before them."""
        peaks = true_peaks(frames, sample_peaks(frames), self._ceiling)
        if self._tiles == 0:
            first = _mirrored(frames)
            peaks[:4] = np.maximum(peaks[:4], true_peaks(first, sample_peaks(first), self._ceiling))
        required = np.concatenate([self._required, self._ceiling / np.maximum(peaks, self._ceiling)])
        wanted = 1 - sliding_window_view(required, len(self._required) + 1).min(axis=1)
        held = np.concatenate([self._held, _decaying(self._held[-1], wanted, self._decay)])
        gains: NDArray[np.float64] = 1 - np.convolve(held, self._weights, "valid")
        self._required, self._held = required[len(peaks) :].copy(), held[len(peaks) :].copy()
        self._least = min(self._least, float(gains.min()))
        self._tiles += len(gains)
        self._tiles_at_work += int(np.count_nonzero(gains < _AT_WORK))
        return gains


def _mirrored(frames: Frames) -> Frames:
    """The first four tiles of a track with their mirror image before them, where ``frames`` has two tiles of silence.

    A track that begins in full swing has another true peak when that is what a detector puts there (ffmpeg's does).
    """
    begin = 2 * TILE
    return np.concatenate([frames[2 * begin : begin : -1], frames[begin : 3 * begin]])


def _decaying(before: float, wanted: NDArray[np.float64], decay: float) -> NDArray[np.float64]:
    """The largest of each value and its predecessors (``before`` the first), these lower by e^−``decay`` a step.

    With the decay taken out of the logarithms, that is their running maximum.
    """
    steps = np.arange(len(wanted) + 1) * decay
    levels = np.log(np.maximum(np.concatenate([[before], wanted]), _NONE / 2)) + steps
    held: NDArray[np.float64] = np.exp(np.maximum.accumulate(levels) - steps)[1:]
    return np.where(held < _NONE, 0.0, held)


def _joined(gains: NDArray[np.float64]) -> Frames:
    """One gain per frame (× 1), on straight lines between the ``gains`` at the ends of tiles."""
    nodes = gains.astype(np.float32)
    return (nodes[:-1, None] + np.diff(nodes)[:, None] * _RAMP).reshape(-1, 1)
