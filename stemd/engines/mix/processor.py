"""What every effect is: a stage that takes blocks and gives as many frames back, later by its latency."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from stemd.engines.base import Frames

HOP = 64
"""Frames per step of every envelope. All blocks but a track's last are a multiple of it."""
_SILENCE = 4096
"""Frames of silence fed at a time when the track has ended and the effects still hold some of it."""


class Processor(Protocol):
    """One effect on one stereo stream, for one pass over one track; it keeps its state from block to block.

    ``latency`` is how many frames its output lags behind its input.
    """

    latency: int

    def process(self, block: Frames) -> Frames:
        """The next ``block`` (frames × 2, float32, not written to): as many frames out as in."""
        ...


def run(processors: Sequence[Processor], blocks: Iterable[Frames]) -> Iterator[Frames]:
    """``blocks`` through all ``processors`` in turn, their latency taken out: as many frames as go in, in place.

    ``blocks`` are frames × 2, each a multiple of ``HOP`` frames but the last. Those that come out have other sizes.
    """
    late = sum(processor.latency for processor in processors)
    total, position = 0, -late
    for block, frames in _fed(blocks, late):
        total += frames
        out = block
        for processor in processors:
            out = processor.process(out)
        first, end = max(0, -position), min(len(out), total - position)
        position += len(out)
        if first < end:
            yield out[first:end]


def _fed(blocks: Iterable[Frames], late: int) -> Iterator[tuple[Frames, int]]:
    """The blocks, the last filled up to a multiple of ``HOP``, and how many frames of each are the track's."""
    for block in blocks:
        short = -len(block) % HOP
        yield (np.concatenate([block, np.zeros((short, 2), np.float32)]) if short else block), len(block)
    silence = np.zeros((_SILENCE, 2), np.float32)
    for _ in range(-(-late // _SILENCE)):
        yield silence, 0
