"""A window that slides along an endless track: the only buffer the driver has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class SlidingBuffer:
    """Float32 frames from ``base`` on, each of shape ``trailing``; what was never written is 0.

    Positions are frames of the track. Memory is the longest stretch between ``drop`` and the furthest access.
    """

    def __init__(self, trailing: tuple[int, ...], base: int = 0) -> None:
        self.base = base
        self._trailing = trailing
        self._data: NDArray[np.float32] = np.zeros((0, *trailing), np.float32)

    def span(self, start: int, stop: int) -> NDArray[np.float32]:
        """A view of the frames ``start`` to ``stop``, which may be written through; ``start`` ≥ ``base``."""
        assert start >= self.base
        if stop - self.base > len(self._data):
            grown = np.zeros((stop - self.base, *self._trailing), np.float32)
            grown[: len(self._data)] = self._data
            self._data = grown
        return self._data[start - self.base : stop - self.base]

    def write(self, start: int, frames: NDArray[np.float32]) -> None:
        """Put ``frames`` at ``start``; what lies before ``base`` is not kept."""
        skip = max(0, self.base - start)
        if skip < len(frames):
            self.span(start + skip, start + len(frames))[:] = frames[skip:]

    def drop(self, position: int) -> None:
        """Forget everything before ``position``."""
        by = min(max(0, position - self.base), len(self._data))
        if by:
            self._data[: len(self._data) - by] = self._data[by:]
            self._data[len(self._data) - by :] = 0
        self.base = max(self.base, position)
