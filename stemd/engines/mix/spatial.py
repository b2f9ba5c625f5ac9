"""Where a track is: its width, a mono bass, and its place between left and right."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from stemd.engines.mix.equaliser import Cascade, sections
from stemd.engines.mix.parameters import Filter, Spatial

if TYPE_CHECKING:
    from stemd.engines.base import Frames

_BUTTERWORTH = math.sqrt(0.5)
_UNITY = np.eye(2, dtype=np.float32)


class Place:
    """Side signal (L − R) ÷ 2 without its bass, × width; then left and right by the pan.

    The bass of the side goes through a Linkwitz–Riley high-pass of the 4th order (two Butterworth sections of the
    2nd), which turns phases by as much as a second-order all-pass of the same frequency does. The mid signal goes
    through that, so that both still belong together: what is only on the left stays there, and the sum of both
    channels keeps its spectrum. Width 0 leaves no side to filter.

    The pan is a balance: left × √2·cos θ, right × √2·sin θ with θ from 0 to π/2, so that the power is constant, the
    centre is 0 dB, and the far ends are +3 dB on one side and nothing on the other.
    """

    latency = 0

    def __init__(self, settings: Spatial, rate: int) -> None:
        self._width = settings.width
        self._left, self._right = _balance(-settings.pan), _balance(settings.pan)
        near, far = (1 + settings.width) / 2, (1 - settings.width) / 2
        matrix = [[near * self._left, far * self._right], [far * self._left, near * self._right]]
        self._matrix = np.array(matrix, np.float32)
        self._mid = self._side = Cascade(sections([], rate))
        self._filters = settings.mono_below_hz > 0 and settings.width > 0
        if self._filters:
            self._mid = Cascade(sections([Filter("all_pass", settings.mono_below_hz, q=_BUTTERWORTH)], rate))
            self._side = Cascade(sections([Filter("low_cut", settings.mono_below_hz, q=_BUTTERWORTH)] * 2, rate))

    def process(self, block: Frames) -> Frames:
        if not self._filters:
            return block if np.array_equal(self._matrix, _UNITY) else block @ self._matrix
        mid = self._mid.filtered(np.add(block[:, 0], block[:, 1], dtype=np.float64))
        side = self._side.filtered(np.subtract(block[:, 0], block[:, 1], dtype=np.float64))
        side *= self._width
        out = np.empty(block.shape, np.float32)
        out[:, 0] = (mid + side) * (self._left / 2)
        out[:, 1] = (mid - side) * (self._right / 2)
        return out


def _balance(pan: float) -> float:
    return math.sqrt(2) * math.sin((1 + pan) * math.pi / 4)
