"""Streams of blocks: other rates with a known number of frames, and other block sizes.

The resampler works on the spectrum: a block of the track with some of its neighbourhood on both sides is transformed,
cut off below the lower rate's Nyquist frequency, and transformed back with the other number of frames. Blocks begin
where frames of both rates fall together, so the result does not depend on how the input arrives, and has no delay.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, rfft
from scipy.special import erfc

from stemd.engines.sliding import SlidingBuffer

if TYPE_CHECKING:
    from stemd.engines.base import Frames

_BLOCK = 65_536
#: The pass band ends at 0.91 of the lower Nyquist frequency, the stop band begins there; both to 1e-7 (−140 dB).
_CUTOFF, _DEVIATION = 0.955, 0.045 / 5.2
_REACH = 6.0
"""How many standard deviations of its (Gaussian) envelope the filter's impulse response counts for."""


def frames_at(frames: int, rate: int, new_rate: int) -> int:
    """How many frames cover the same time at ``new_rate``: rounded up, so that there and back loses none."""
    return -(-frames * new_rate // rate)


@dataclass(frozen=True, slots=True)
class _Grid:
    """Block sizes at both rates: ``hop`` frames become ``new_hop``, seen with ``pad`` (``new_pad``) on both sides."""

    hop: int
    pad: int
    new_hop: int
    new_pad: int
    response: NDArray[np.float64]

    @classmethod
    def of(cls, rate: int, new_rate: int) -> _Grid:
        common = math.gcd(rate, new_rate)
        step, new_step = rate // common, new_rate // common
        nyquist = min(rate, new_rate) / 2
        reach = _REACH / (2 * math.pi * _DEVIATION * nyquist)
        hops, pads = -(-_BLOCK // step), math.ceil(reach * rate / step)
        frames = (hops + 2 * pads) * step
        bins = min(frames, (hops + 2 * pads) * new_step) // 2 + 1
        frequency = np.arange(bins) * rate / frames / nyquist
        response = 0.5 * erfc((frequency - _CUTOFF) / (_DEVIATION * math.sqrt(2))) * new_rate / rate
        return cls(hops * step, pads * step, hops * new_step, pads * new_step, response)

    def convert(self, frames: Frames) -> Frames:
        """``pad + hop + pad`` frames × channels as ``new_hop`` frames."""
        spectrum = rfft(frames.astype(np.float64), axis=0)[: len(self.response)] * self.response[:, None]
        new: NDArray[np.float64] = irfft(spectrum, self.new_hop + 2 * self.new_pad, axis=0)
        return new[self.new_pad : self.new_pad + self.new_hop].astype(np.float32)


def resampled(
    blocks: Iterable[Frames], rate: int, new_rate: int, channels: int, total: Callable[[], int]
) -> Iterator[Frames]:
    """``blocks`` (frames × ``channels``) at ``new_rate``: exactly ``total()`` frames, asked when the input has ended.

    The track is silence before and after. Equal rates pass through unchanged, but for the length.
    """
    if rate == new_rate:
        yield from _of_length(blocks, channels, total)
        return
    grid = _Grid.of(rate, new_rate)
    track, received, at, given = SlidingBuffer((channels,), -grid.pad), 0, 0, 0
    for block in blocks:
        track.write(received, block)
        received += len(block)
        while received >= at + grid.hop + grid.pad:
            yield grid.convert(track.span(at - grid.pad, at + grid.hop + grid.pad))
            at, given = at + grid.hop, given + grid.new_hop
            track.drop(at - grid.pad)
    while (left := total() - given) > 0:
        yield grid.convert(track.span(at - grid.pad, at + grid.hop + grid.pad))[:left]
        at, given = at + grid.hop, given + grid.new_hop
        track.drop(at - grid.pad)


def _of_length(blocks: Iterable[Frames], channels: int, total: Callable[[], int]) -> Iterator[Frames]:
    given = 0
    for block in blocks:
        given += len(block)
        yield block
    if short := total() - given:
        yield np.zeros((short, channels), np.float32)


def reblocked(blocks: Iterable[Frames], size: int) -> Iterator[Frames]:
    """The same frames in blocks of exactly ``size`` (the last may be shorter). The axis of frames is the first."""
    kept: list[Frames] = []
    count = 0
    for block in blocks:
        kept.append(block)
        count += len(block)
        while count >= size:
            joined = np.concatenate(kept) if len(kept) > 1 else kept[0]
            yield joined[:size]
            kept = [joined[size:]]
            count -= size
    if count:
        yield np.concatenate(kept)
