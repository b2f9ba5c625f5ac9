"""An engine that separates nothing: each stem is the same share of the source. For benches and tests of the service.

It goes the whole way of a real engine (process, segments, checkpoints, stems) without a library or weights, so what
it costs is what stemd itself costs. On request it costs more, to try out what becomes of a job that does: it takes
memory that it did not announce, keeps the CPU busy, or starts processes.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np

from stemd import __version__
from stemd.core.config.units import size
from stemd.core.errors import StemdError
from stemd.engines.base import Lane, ModelInfo, Scaling, TrackStats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stemd.engines.base import Frames

_STEMS = ("drums", "bass", "other", "vocals")
_RATE = 44_100
_MEMORY = 100 << 20


class StubEngine:
    """The engine ``stub``; see ``stemd.engines.base.Engine``.

    Options: ``pace``, seconds that each segment takes; ``spin``, threads that work instead of waiting meanwhile;
    ``memory``, a size it takes at the first segment and keeps until the next job, half of it after each time that
    memory ran out; ``children``, processes it starts at the first segment.
    """

    name = "stub"

    def __init__(self) -> None:
        self._pace, self._threads = 0.0, int(os.environ.get("OMP_NUM_THREADS", "1"))
        self._pace, self._spin, self._memory, self._count = 0.0, 0, 0, 0
        self._held: NDArray[np.uint8] | None = None
        self._children: list[subprocess.Popen[bytes]] = []

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

    def use_threads(self, count: int) -> None:
        """It computes nothing; the number is noted as every engine's is."""
        self._threads = count

    def ease(self, options: Mapping[str, Any], level: int) -> Mapping[str, Any]:
        return {**options, "memory": size(options["memory"]) >> level} if "memory" in options else options

    def lanes(self, options: Mapping[str, Any], stems: Sequence[str]) -> tuple[Lane, ...]:
        """One pass of one-second segments.

        Raises:
            StemdError: STEMD-E004.
        """
        known = {"pace", "spin", "memory", "children"}
        if unknown := options.keys() - known:
            raise StemdError("STEMD-E004", f"stub has no option {min(unknown)!r}; there is {', '.join(sorted(known))}")
        pace = options.get("pace", 0.0)
        if isinstance(pace, bool) or not isinstance(pace, int | float) or not 0 <= pace <= 60:
            raise StemdError("STEMD-E004", f"pace is {pace!r}; it must be a number of seconds from 0 to 60")
        try:
            self._pace, self._memory = float(pace), size(options.get("memory", 0))
        except ValueError as error:
            raise StemdError("STEMD-E004", f"memory {error}") from error
        self._spin, self._count = _number(options, "spin"), _number(options, "children")
        return (Lane(0, _RATE, _RATE * 3 // 4, 0, dict.fromkeys(stems, 1.0)),)

    def memory(self, stats: TrackStats) -> int:
        return _MEMORY

    def begin(self, stats: TrackStats) -> Scaling:
        self.close()
        return Scaling()

    def window(self, lane: Lane, frames: int) -> int:
        return frames

    def separate_segments(self, lane: Lane, batch: Frames) -> Mapping[str, Frames]:
        if self._memory and self._held is None:
            self._held = np.ones(self._memory, np.uint8)
        while len(self._children) < self._count:
            self._children.append(subprocess.Popen(["sleep", "600"]))
        spinning = [Thread(target=_spin, args=(time.monotonic() + self._pace,)) for _ in range(self._spin)]
        for each in spinning:
            each.start()
        time.sleep(self._pace)
        share = batch * np.float32(1 / len(_STEMS))
        return dict.fromkeys(lane.weights, share)

    def notes(self, stats: TrackStats) -> Sequence[str]:
        return ()

    def facts(self) -> Mapping[str, Any]:
        return {"device": "cpu", "precision": "float32", "threads": self._threads, "pace": self._pace}

    def close(self) -> None:
        """Give back what jobs asked to be taken."""
        self._held = None
        for child in self._children:
            child.kill()
            child.wait()
        self._children.clear()


def _number(options: Mapping[str, Any], name: str) -> int:
    value = options.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 64:
        raise StemdError("STEMD-E004", f"{name} is {value!r}; it must be a whole number from 0 to 64")
    return value


def _spin(until: float) -> None:
    """Keep one core busy: squaring gives up the interpreter's lock while it works."""
    block = np.ones((1 << 16,), np.float32)
    while time.monotonic() < until:
        np.multiply(block, block, out=block)
