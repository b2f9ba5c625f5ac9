"""When the protected tracks sound, and how the ducked ones follow: in dB, per band, once per window."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_FLOOR_DB, _RANGE_DB, _FORGET_DB = -60.0, 30.0, 3.0
"""A band sounds above this level of full scale, and no more than this below its own recent peak (dB per second)."""
_ATTACK, _RELEASE = 0.015, 0.15
_INAUDIBLE_DB = 0.01


class Gate:
    """Which bands of the protected tracks sound."""

    def __init__(self, bands: int, seconds: float) -> None:
        self._peak = np.full(bands, -200.0, np.float32)
        self._forget = np.float32(_FORGET_DB * seconds)

    def sounding(self, levels: NDArray[np.float32]) -> NDArray[np.bool_]:
        """``levels`` (windows × bands, dB) in order; the recent peak of each band falls steadily between sounds."""
        fallen = self._forget * np.arange(1, len(levels) + 1, dtype=np.float32)[:, None]
        peaks = np.maximum.accumulate(np.concatenate([self._peak[None], levels + fallen]))[1:] - fallen
        self._peak = peaks[-1]
        sounding: NDArray[np.bool_] = (levels > _FLOOR_DB) & (levels > peaks - _RANGE_DB)
        return sounding


class Gains:
    """Reductions in dB that follow what is wanted: fast when more is, slowly when less is."""

    def __init__(self, max_db: float, shape: tuple[int, int], seconds: float) -> None:
        self._max = np.float32(max_db)
        self._state = np.zeros(shape, np.float32)
        self._attack = np.float32(1 - math.exp(-seconds / _ATTACK))
        self._release = np.float32(1 - math.exp(-seconds / _RELEASE))
        self._tail = math.ceil(math.log(max(1.0, max_db / _INAUDIBLE_DB)) * _RELEASE / seconds)
        self._quiet = self._tail

    @property
    def open(self) -> bool:
        """Whether some reduction may still be on its way back to nothing."""
        return self._quiet < self._tail

    def follow(self, wanted: NDArray[np.float32], heard: Sequence[bool]) -> NDArray[np.float32]:
        """``wanted`` is roles × windows × bands in dB; ``heard``: in which windows the protected tracks sound."""
        limited = np.clip(wanted, 0, self._max)
        followed = np.empty_like(limited)
        for index, sounds in enumerate(heard):
            self._quiet = 0 if sounds else self._quiet + 1
            step = limited[:, index] - self._state
            step *= np.where(step > 0, self._attack, self._release)
            self._state = self._state + step if self.open else np.zeros_like(self._state)
            followed[:, index] = self._state
        return followed
