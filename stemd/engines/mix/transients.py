"""Onsets and what rings after them, louder or softer than they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stemd.engines.mix.envelope import PeakLevel, Ramp, Smooth
from stemd.engines.mix.parameters import Transients

if TYPE_CHECKING:
    from stemd.engines.base import Frames

_FLOOR_DB = -70.0
_HOLD_MS = 10.0
_FALL_MS = 30.0
_ONSET_MS = 15.0
_RING_MS = 400.0
_FULL_DB = 9.0


class ShapeTransients:
    """The difference of a fast and a slow envelope says where an onset is, whatever the level.

    The fast one takes on a higher level at once. Where it is above one that rises with 15 ms, it is an onset; where
    it is below one that falls with 400 ms (its own falls with 30), a sound rings on. 9 dB apart is the full effect.
    """

    latency = 0

    def __init__(self, settings: Transients, rate: int) -> None:
        self._settings = settings
        self._level = PeakLevel(_HOLD_MS, rate)
        self._fast = Smooth(0.0, _FALL_MS, rate, _FLOOR_DB)
        self._slow = Smooth(_ONSET_MS, _FALL_MS, rate, _FLOOR_DB)
        self._ring = Smooth(0.0, _RING_MS, rate, _FLOOR_DB)
        self._ramp = Ramp(1.0)

    def process(self, block: Frames) -> Frames:
        attack, sustain = self._settings.attack_db, self._settings.sustain_db
        if attack == 0 and sustain == 0:
            return block
        levels = np.maximum(self._level.levels(block), _FLOOR_DB)
        fast = self._fast.smoothed(levels)
        onset = np.clip((fast - self._slow.smoothed(levels)) / _FULL_DB, 0.0, 1.0)
        ringing = np.clip((self._ring.smoothed(levels) - fast) / _FULL_DB, 0.0, 1.0)
        gains = 10 ** ((attack * onset + sustain * ringing * (1 - onset)) / 20)
        return (block.reshape(len(gains), -1) * self._ramp.frames(gains, 2)).reshape(-1, 2)
