"""Soft saturation, oversampled so that the harmonics it makes do not fold back into what is heard."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stemd.engines.mix.fir import Fir
from stemd.engines.mix.parameters import Saturation

if TYPE_CHECKING:
    from stemd.engines.base import Frames

_PASS = 0.4535
"""The band kept whole, of the rate: 20 kHz at 44.1 kHz."""
_STOP_DB = 90.0

_Channels = NDArray[np.float32]


class _HalfBand:
    """Doubles and halves the rate with a half-band low-pass: every second frame is the input's own, delayed.

    The others are what ``2 × span`` neighbours of that kind say: a sinc under a Kaiser window (Kaiser 1974), flat up
    to ``edge`` of the higher rate, down by 90 dB from 0.5 − ``edge`` on.
    """

    def __init__(self, edge: float) -> None:
        taps = (_STOP_DB - 7.95) / (14.36 * (0.5 - 2 * edge))
        self.span = math.ceil((taps + 1) / 4)
        at = np.arange(-self.span, self.span) + 0.5
        beta = 0.1102 * (_STOP_DB - 8.7)
        between = np.sinc(at) * np.i0(beta * np.sqrt(1 - (at / self.span) ** 2))
        self._between = Fir(between / between.sum())

    def doubled(self, frames: _Channels) -> _Channels:
        """Twice the rate, from the frame ``span − 1`` on; 2 × (2 × span − 1) fewer of the new frames."""
        between = self._between(frames)
        out = np.empty((len(frames), between.shape[1], 2), np.float32)
        out[:, :, 0] = frames[:, self.span - 1 : frames.shape[1] - self.span]
        out[:, :, 1] = between
        return out.reshape(len(frames), -1)

    def halved(self, frames: _Channels) -> _Channels:
        """Half the rate, from the even frame 2 × ``span`` on; 2 × span − 1 fewer of the new frames."""
        out = self._between(frames[:, 1::2])
        out += frames[:, 2 * self.span :: 2][:, : out.shape[1]]
        out *= np.float32(0.5)
        return out


def _reach(stages: Sequence[_HalfBand]) -> int:
    """How many frames on either side of one have a part in it after all ``stages`` and back."""
    if not stages:
        return 0
    return 2 * stages[0].span - 1 + -(-_reach(stages[1:]) // 2)


def _shaped(frames: _Channels, shape: Callable[[_Channels], _Channels], stages: Sequence[_HalfBand]) -> _Channels:
    """``shape`` at the rate that ``stages`` lead to; ``_reach`` frames are lost at both ends."""
    if not stages:
        return shape(frames)
    outer, inner = stages[0], stages[1:]
    shaped = _shaped(outer.doubled(frames), shape, inner)
    odd = _reach(inner) % 2
    return outer.halved(shaped[:, odd : shaped.shape[1] - odd])


class Saturate:
    """tanh(k·x)/k with k² = 10^(``drive_db``/10) − 1.

    So quiet sounds keep their level, 0 dB is the straight line, a large drive is that gain in front of a tanh, and no
    peak leaves it above 1/k. With ``oversample`` 1 nothing is filtered and nothing is late.
    """

    def __init__(self, settings: Saturation) -> None:
        stages = settings.oversample.bit_length() - 1 if settings.drive_db > 0 else 0
        self._stages = [_HalfBand(_PASS / 2 ** (stage + 1)) for stage in range(stages)]
        self._slope = np.float32(math.sqrt(max(0.0, 10 ** (settings.drive_db / 10) - 1)))
        self.latency = _reach(self._stages)
        self._held = np.zeros((2, 2 * self.latency), np.float32)

    def process(self, block: Frames) -> Frames:
        if not self._slope:
            return block
        frames = np.concatenate([self._held, block.T * self._slope], axis=1)
        self._held = frames[:, len(block) :].copy()
        out = _shaped(frames, _tanh, self._stages)
        return np.ascontiguousarray(out.T) / self._slope


def _tanh(frames: _Channels) -> _Channels:
    return np.tanh(frames, out=frames)
