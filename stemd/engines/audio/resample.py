"""Streams of blocks: other rates with a known number of frames, and other block sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import soxr

if TYPE_CHECKING:
    from stemd.engines.base import Frames


def frames_at(frames: int, rate: int, new_rate: int) -> int:
    """How many frames cover the same time at ``new_rate``: rounded up, so that there and back loses none."""
    return -(-frames * new_rate // rate)


def resampled(
    blocks: Iterable[Frames], rate: int, new_rate: int, channels: int, total: Callable[[], int]
) -> Iterator[Frames]:
    """``blocks`` (frames × ``channels``) at ``new_rate``: exactly ``total()`` frames, asked when the input has ended.

    The resampler (soxr, very high quality, linear phase) has no delay; the track is silence before and after. What
    it gives beyond ``total`` is cut, and where rounding left it short it is fed the silence that follows.
    """
    stream = None if rate == new_rate else soxr.ResampleStream(rate, new_rate, channels, dtype="float32", quality="VHQ")
    given, held = 0, np.zeros((0, channels), np.float32)
    for block in blocks:
        given += len(held)
        yield from _filled(held)
        held = block if stream is None else stream.resample_chunk(np.ascontiguousarray(block))
    if stream is not None:
        silence = np.zeros((2 * (rate // new_rate + 1), channels), np.float32)
        held = np.concatenate([held, stream.resample_chunk(silence, last=True)])
    held = held[: total() - given]
    yield from _filled(held)
    if short := total() - given - len(held):
        yield np.zeros((short, channels), np.float32)


def _filled(block: Frames) -> Iterator[Frames]:
    if len(block):
        yield block


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
