"""A stream at a glance: how its level goes, in as many points however long it is. (Its outline: ``audio.peaks``.)"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from stemd.engines.base import Frames

POINTS = 600
SILENT_DB = -120.0
"""The level given to silence, and to anything below it."""
_SHORTEST_POINT = 0.1


class _Buckets:
    """``count`` equal parts of a track of ``frames``, each of one frame at least; blocks come one after the other."""

    def __init__(self, frames: int, count: int) -> None:
        self.edges = np.arange(count + 1, dtype=np.int64) * frames // count
        self._at = 0

    def next(self, frames: int) -> tuple[slice, NDArray[np.int64]]:
        """The buckets the next ``frames`` (≥ 1) fall into, and where each begins among them."""
        begin, end = self._at, self._at + frames
        assert end <= self.edges[-1], "the stream is longer than was said"
        first, last = np.searchsorted(self.edges, begin, "right") - 1, np.searchsorted(self.edges, end, "left")
        self._at = end
        return slice(first, last), np.maximum(self.edges[first:last] - begin, 0)


class Curve:
    """The mean level of both channels in at most ``points`` parts of a stream, none shorter than 100 ms if it can be.

    Feed it all blocks (frames × 2, of any size) of a stream of ``frames``.
    """

    def __init__(self, rate: int, frames: int, points: int = POINTS) -> None:
        count = max(1, min(points, int(frames / (rate * _SHORTEST_POINT))))
        self._buckets = _Buckets(frames, count)
        self._energies = np.zeros(count)

    def add(self, block: Frames) -> None:
        if not len(block):
            return
        where, starts = self._buckets.next(len(block))
        parts = np.split(block, starts[1:])
        self._energies[where] += [np.einsum("ij,ij->", part, part) for part in parts]

    def to_list(self) -> list[float]:
        """dBFS of each part: 0 is a mean square of 1 (a full-scale sine: −3); ``SILENT_DB`` at least."""
        power = self._energies / (2 * np.diff(self._buckets.edges))
        found: list[float] = np.round(10 * np.log10(np.maximum(power, 10 ** (SILENT_DB / 10))), 2).tolist()
        return found
