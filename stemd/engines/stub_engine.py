"""An engine that separates nothing: each stem is the same share of the source. For benches and tests of the service.

It goes the whole way of a real engine (process, segments, checkpoints, stems) without a library or weights, so what
it costs is what stemd itself costs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemd import __version__
from stemd.core.errors import StemdError
from stemd.engines.base import Lane, ModelInfo, Scaling, TrackStats

if TYPE_CHECKING:
    from stemd.engines.base import Frames

_STEMS = ("drums", "bass", "other", "vocals")
_RATE = 44_100
_MEMORY = 100 << 20


class StubEngine:
    """The engine ``stub``; see ``stemd.engines.base.Engine``. ``pace`` (option): seconds that each segment takes."""

    name = "stub"

    def __init__(self) -> None:
        self._pace = 0.0

    @property
    def version(self) -> str:
        return __version__

    def load(self, model: str, store: Path, device: str) -> ModelInfo:
        """Nothing to load.

        Raises:
            StemdError: STEMD-M002, STEMD-E004.
        """
        if model != self.name:
            raise StemdError("STEMD-M002", f"stub has no model {model!r}; its one model is stub")
        if device not in {"auto", "cpu"}:
            raise StemdError("STEMD-E004", f"device {device!r} is not for stub; it runs on the CPU (auto, cpu)")
        return ModelInfo(model, _STEMS, _RATE, 2, "0" * 64)

    def ease(self, options: Mapping[str, Any], level: int) -> Mapping[str, Any]:
        return options

    def lanes(self, options: Mapping[str, Any], stems: Sequence[str]) -> tuple[Lane, ...]:
        """One pass of one-second segments.

        Raises:
            StemdError: STEMD-E004.
        """
        if unknown := options.keys() - {"pace"}:
            raise StemdError("STEMD-E004", f"stub has no option {min(unknown)!r}; there is pace")
        pace = options.get("pace", 0.0)
        if isinstance(pace, bool) or not isinstance(pace, int | float) or not 0 <= pace <= 60:
            raise StemdError("STEMD-E004", f"pace is {pace!r}; it must be a number of seconds from 0 to 60")
        self._pace = float(pace)
        return (Lane(0, _RATE, _RATE * 3 // 4, 0, dict.fromkeys(stems, 1.0)),)

    def memory(self, stats: TrackStats) -> int:
        return _MEMORY

    def begin(self, stats: TrackStats) -> Scaling:
        return Scaling()

    def window(self, lane: Lane, frames: int) -> int:
        return frames

    def separate_segments(self, lane: Lane, batch: Frames) -> Mapping[str, Frames]:
        time.sleep(self._pace)
        share = batch * np.float32(1 / len(_STEMS))
        return dict.fromkeys(lane.weights, share)

    def notes(self, stats: TrackStats) -> Sequence[str]:
        return ()

    def facts(self) -> Mapping[str, Any]:
        return {"device": "cpu", "precision": "float32", "pace": self._pace}

    def close(self) -> None:
        """Nothing was taken."""
