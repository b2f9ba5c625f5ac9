"""A compressor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stemd.engines.mix.envelope import PeakLevel, Ramp, Reductions, Smooth
from stemd.engines.mix.parameters import Compressor

if TYPE_CHECKING:
    from stemd.engines.base import Frames

_HOLD_MS = 5.0


def reduction_db(settings: Compressor, levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how many dB a steady signal of these levels (dB) is lowered.

    Giannoulis, Massberg & Reiss 2012, equation 4: a parabola across the knee.
    """
    over, half = levels - settings.threshold_db, settings.knee_db / 2
    slope = 1 - 1 / settings.ratio
    if half <= 0:
        return np.asarray(slope * np.maximum(over, 0.0))
    knee = np.clip(over + half, 0.0, 2 * half) ** 2 / (4 * half)
    return np.asarray(slope * (knee + np.maximum(over - half, 0.0)))


class Compress:
    """Feed-forward, both channels by the same gain, which follows the peaks and is smoothed in dB.

    Peaks are held for up to 5 ms (a tenth of the release if that is shorter), or the gain would follow the wave of a
    low note instead of its level. Attack and release are time constants: 63 % of the way.
    """

    latency = 0
    name = "comp"

    def __init__(self, settings: Compressor, rate: int) -> None:
        self._settings = settings
        self._level = PeakLevel(min(_HOLD_MS, settings.release_ms / 10), rate)
        self._smooth = Smooth(settings.attack_ms, settings.release_ms, rate)
        self._ramp = Ramp(10 ** (settings.makeup_db / 20))
        self._reductions = Reductions()

    def process(self, block: Frames) -> Frames:
        levels = self._level.levels(block)
        reductions = self._smooth.smoothed(reduction_db(self._settings, levels))
        self._reductions.add(reductions, levels)
        gains = 10 ** ((self._settings.makeup_db - reductions) / 20)
        if self._ramp.still(gains):
            return block if gains[-1] == 1 else block * np.float32(gains[-1])
        return (block.reshape(len(gains), -1) * self._ramp.frames(gains, 2)).reshape(-1, 2)

    def facts(self) -> dict[str, float]:
        """``max_reduction_db`` and ``mean_reduction_db`` so far."""
        return self._reductions.facts()
