"""Everything that is looked at while a stream passes: its figures, its spectrum, its picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stemd.engines.audio.peaks import Peaks
from stemd.engines.mix.analysis import Analyser
from stemd.engines.mix.waveform import Curve

if TYPE_CHECKING:
    from stemd.engines.base import Frames


class StreamTap:
    """Feed it the blocks (frames × 2) of a stream of ``frames``; ask ``facts`` at the end."""

    def __init__(self, rate: int, frames: int) -> None:
        self._analyser = Analyser(rate)
        self._peaks, self._curve = Peaks(frames), Curve(rate, frames)

    def add(self, block: Frames) -> None:
        self._analyser.add(block)
        self._peaks.add(block)
        self._curve.add(block)

    def facts(self) -> dict[str, Any]:
        """What JSON can say about the whole stream; nothing may be added any more."""
        return {
            "analysis": self._analyser.analysis().to_dict(),
            "peaks": self._peaks.to_list(),
            "curve": self._curve.to_list(),
        }
