"""The source as the model gets it: at its rate, with its channels, and measured as a whole."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stemd.engines.audio.decode import Source
from stemd.engines.audio.resample import frames_at, resampled
from stemd.engines.base import TrackStats
from stemd.engines.beside import ahead, depth_for
from stemd.engines.progress import Meter

if TYPE_CHECKING:
    from stemd.engines.base import Frames


def at_model_rate(blocks: Iterable[Frames], source: Source, rate: int, channels: int) -> Iterator[Frames]:
    """``blocks`` of ``source`` at ``rate`` with ``channels`` channels; a mono source goes to every channel alike."""

    def total() -> int:
        assert source.frames is not None
        return frames_at(source.frames, source.rate, rate)

    for block in resampled(blocks, source.rate, rate, source.channels, total):
        yield block if source.channels == channels else np.repeat(block[:, :1], channels, axis=1)


def middle(block: NDArray[np.float32], form: type[np.floating[Any]]) -> NDArray[Any]:
    """The mean over the last axis, the channels, in ``form``: numpy's own takes ten times as long for two of them."""
    total: NDArray[Any] = block[..., 0].astype(form)
    for channel in range(1, block.shape[-1]):
        total += block[..., channel]
    total /= block.shape[-1]
    return total


def measure(source: Source, rate: int, channels: int, meter: Meter) -> TrackStats:
    """Decode the whole source once and return its statistics at ``rate``.

    Mean and deviation are those of the mean over channels, added up block by block in float64 (Chan, Golub and
    LeVeque 1983, eq. 2.1), so they do not lose digits on a long track.
    """
    frames, mean, squares, peak = 0, 0.0, 0.0, 0.0
    expected = frames_at(source.probe.expected or 0, source.rate, rate)
    with closing(source.blocks()) as decoded, closing(ahead(decoded, depth_for(expected))) as blocks:
        for block in at_model_rate(blocks, source, rate, channels):
            mono = middle(block, np.float64)
            count, block_mean = len(mono), float(mono.mean())
            together, apart = frames + count, block_mean - mean
            squares += float(np.square(mono - block_mean).sum()) + apart * apart * frames * count / together
            mean += apart * count / together
            frames = together
            peak = max(peak, float(np.abs(block).max()))
            meter.advance("decode", frames, max(frames, expected))
    return TrackStats(frames, mean, math.sqrt(squares / (frames - 1)) if frames > 1 else 0.0, peak)
