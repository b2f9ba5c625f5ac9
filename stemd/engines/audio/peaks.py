"""What audio looks like: its outline in a bounded number of points, as a JSON document that other players load.

The form is that of audiowaveform (https://github.com/bbc/audiowaveform/blob/master/doc/DataFormat.md), version 2: per
point the lowest and the highest sample of each channel. Here a channel is a stem, and ``stems`` names them in order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stemd.engines.audio.verify import Measured

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stemd.engines.base import Frames

FULL_SCALE = 32_767
"""What a sample of 1 is in an outline; a stream that goes beyond full scale goes beyond this, but not in a document."""
_MOST = float(1 << 53)
POINTS = 2000
_BITS = 16


def each(frames: int, points: int = POINTS) -> int:
    """Frames that become one point of a track of ``frames``."""
    return max(1, math.ceil(frames / points))


class Peaks:
    """The lowest and the highest sample of all channels in each point of a stream of ``frames``.

    Feed it all blocks (frames × 1 or 2 channels, of any size).
    """

    def __init__(self, frames: int, points: int = POINTS) -> None:
        self.frames, self.each = frames, each(frames, points)
        count = math.ceil(frames / self.each)
        self._at = 0
        self.lows, self.highs = np.full(count, np.inf, np.float32), np.full(count, -np.inf, np.float32)

    def add(self, block: Frames) -> None:
        if not len(block):
            return
        begin, end = self._at, self._at + len(block)
        assert end <= self.frames, "the stream is longer than was said"
        first, last = begin // self.each, math.ceil(end / self.each)
        starts = np.maximum(np.arange(first, last) * self.each - begin, 0)
        where, self._at = slice(first, last), end
        lows = np.minimum.reduceat(np.minimum(block[:, 0], block[:, -1]), starts)
        highs = np.maximum.reduceat(np.maximum(block[:, 0], block[:, -1]), starts)
        np.minimum(self.lows[where], lows, out=self.lows[where])
        np.maximum(self.highs[where], highs, out=self.highs[where])

    def pairs(self) -> NDArray[np.int64]:
        """Points × (low, high), ``FULL_SCALE`` for 1; after the whole stream."""
        both = np.stack([self.lows, self.highs], axis=1).astype(np.float64)
        return np.rint(np.clip(both * FULL_SCALE, -_MOST, _MOST)).astype(np.int64)

    def to_list(self) -> list[list[int]]:
        """``pairs`` as JSON takes them."""
        found: list[list[int]] = self.pairs().tolist()
        return found


class Outlined(Measured):
    """A measurement that keeps the outline of what it read."""

    def __init__(self, rate: int, channels: int, frames: int) -> None:
        super().__init__(rate, channels)
        self.peaks = Peaks(frames)

    def measure(self, values: NDArray[Any]) -> None:
        super().measure(values)
        self.peaks.add(values.astype(np.float32))


def document(
    outlines: Mapping[str, Sequence[Sequence[int]] | NDArray[np.int64]], rate: int, frames: int
) -> dict[str, Any]:
    """``peaks.json`` of streams of one rate and length, by stem: pairs as ``pairs`` or ``to_list`` gives them."""
    limit = 1 << (_BITS - 1)
    held = [np.clip(np.array(pairs, np.int64).reshape(-1, 2), -limit, limit - 1) for pairs in outlines.values()]
    length = min((len(pairs) for pairs in held), default=0)
    data = np.stack([pairs[:length] for pairs in held], axis=1) if held else np.zeros(0, np.int64)
    return {
        "version": 2,
        "channels": len(held),
        "sample_rate": rate,
        "samples_per_pixel": each(frames),
        "bits": _BITS,
        "length": length,
        "data": data.reshape(-1).tolist(),
        "stems": list(outlines),
    }
