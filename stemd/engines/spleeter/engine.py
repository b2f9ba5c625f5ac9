"""Spleeter (2.4) behind stemd's seam. Its networks run in a host process of their own environment."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemd.core.errors import StemdError
from stemd.engines import models
from stemd.engines.base import Lane, ModelInfo, Scaling, TrackStats
from stemd.engines.environments import Environment
from stemd.engines.spleeter.client import Host
from stemd.engines.spleeter.options import SpleeterOptions, parse_options

if TYPE_CHECKING:
    from stemd.engines.base import Frames

_RATE, _FRAME, _STEP = 44_100, 4096, 1024
#: What the networks see at once: 512 frames of the STFT.
_BLOCK = 512 * _STEP
#: Samples by which a window of two blocks is longer than two blocks: its last STFT frame reaches that far.
_TAIL = _FRAME - _STEP
#: The first segment starts so far before the track that every window starts one STFT frame before a block does.
_LEAD = _BLOCK + _FRAME - (_BLOCK + _TAIL) // 2
_JOBS_PER_HOST = 50
_LEAST_WINDOW = 60.0


class SpleeterEngine:
    """The engine ``spleeter``; see ``stemd.engines.base.Engine``.

    A segment is one block of the networks long and lies in the middle of a window of two, which are those of the
    reference: so each block's masks, and the inverse STFT across the border of two, come out as on the whole track.
    The host remembers the masks of the last block, so each block is computed once.
    """

    name = "spleeter"

    def __init__(self, environment: Path) -> None:
        self._environment = Environment(self.name, environment)
        self._host: Host | None = None
        self._model, self._folder = "", Path()
        self._loaded = False
        self._options = SpleeterOptions()
        self._versions: Mapping[str, str] = {}
        self._jobs = 0
        self._stems: tuple[str, ...] = ()
        self._threads = int(os.environ.get("OMP_NUM_THREADS", "0")) or os.cpu_count() or 1

    @property
    def version(self) -> str:
        return str((self._versions or self._environment.versions()).get("spleeter", "unknown"))

    def load(self, model: str, store: Path, device: str) -> ModelInfo:
        """Check the model's files, start the host and give it the model.

        Raises:
            StemdError: STEMD-E009 (no environment), STEMD-M001 to M004, STEMD-E004 (no such device), STEMD-R001.
        """
        if device not in {"auto", "cpu"}:
            raise StemdError(
                "STEMD-E004", f"device {device!r} is not for Spleeter here; it runs on the CPU (auto, cpu)"
            )
        self._environment.require()
        if model not in models.BUILT_IN:
            raise StemdError("STEMD-M004", f"{model!r} is none of the models whose networks Spleeter can build")
        hashes = models.verify(model, store)
        self._model, self._folder = model, models.find(model, store)
        loaded = self._restart()
        self._stems = tuple(loaded["stems"])
        digest = hashlib.sha256("\n".join([model, *hashes.values()]).encode()).hexdigest()
        return ModelInfo(model, self._stems, int(loaded["sample_rate"]), 2, digest)

    def _restart(self) -> dict[str, Any]:
        self.close()
        self._loaded = False
        self._host = Host(self._environment.require())
        self._versions = self._host.versions()
        loaded = self._host.load(self._model, self._folder)
        self._loaded, self._jobs = True, 0
        return loaded

    def _ready(self) -> Host:
        """The host with its network; a new one after a failure."""
        if self._host is None or not self._host.alive or not self._loaded:
            self._restart()
        assert self._host is not None
        return self._host

    def use_threads(self, count: int) -> None:
        """Its host takes the number once, from the environment: another number needs another host."""
        if count != self._threads:
            self._threads, self._loaded = count, False
            os.environ["OMP_NUM_THREADS"] = str(count)

    def ease(self, options: Mapping[str, Any], level: int) -> Mapping[str, Any]:
        """Shorter windows of the Wiener filter; the networks' blocks have one size."""
        if not options.get("mwf"):
            return options
        window = float(options.get("mwf_window", SpleeterOptions().mwf_window))
        return {**options, "mwf_window": max(min(_LEAST_WINDOW, window), window / 2**level)}

    def lanes(self, options: Mapping[str, Any], stems: Sequence[str]) -> tuple[Lane, ...]:
        """One pass: blocks of 512 STFT frames, or for the Wiener filter windows that overlap by a quarter.

        All networks are run whatever ``stems`` asks for: their masks depend on each other.
        """
        self._options = chosen = parse_options(options)
        weights = dict.fromkeys(stems, 1.0)
        if not chosen.mwf:
            return (Lane(0, _BLOCK, _BLOCK, _LEAD, weights),)
        blocks = max(2, round(chosen.mwf_window * _RATE / _BLOCK))
        return (Lane(0, blocks * _BLOCK, max(1, blocks * 3 // 4) * _BLOCK, 0, weights),)

    def memory(self, stats: TrackStats) -> int:
        """This process, the host with its graph, and what the Wiener filter holds: an upper estimate.

        Measured: 110 MiB for each stem beside 530, and for the filter 8 MiB for each second and stem.
        """
        stems = len(self._stems)
        if not self._options.mwf:
            return (600 + 120 * stems) << 20
        seconds = min(self._options.mwf_window, stats.frames / _RATE)
        return int(600 + 60 * stems + 10 * stems * seconds) << 20

    def begin(self, stats: TrackStats) -> Scaling:
        """Spleeter sees the track as it is."""
        if self._jobs >= _JOBS_PER_HOST:
            self.close()
        self._ready()
        self._jobs += 1
        return Scaling()

    def window(self, lane: Lane, frames: int) -> int:
        return frames + (2 * _FRAME if self._options.mwf else _BLOCK + _TAIL)

    def separate_segments(self, lane: Lane, batch: Frames) -> Mapping[str, Frames]:
        """``batch`` is segments × frames × channels; only the middle of each window is answered for.

        Raises:
            StemdError: STEMD-R001, STEMD-E006.
        """
        host, stems = self._ready(), list(lane.weights)
        inset = _FRAME if self._options.mwf else (_BLOCK + _TAIL) // 2
        out = np.zeros((len(stems), *batch.shape), np.float32)
        for index, audio in enumerate(batch):
            stop = len(audio) - inset
            found = host.separate(audio, inset, stop, stems, self._options)
            out[:, index, inset:stop] = found
        return dict(zip(stems, out, strict=True))

    def notes(self, stats: TrackStats) -> Sequence[str]:
        seconds = self._options.mwf_window
        if not self._options.mwf or stats.frames <= max(2, round(seconds * _RATE / _BLOCK)) * _BLOCK:
            return ()
        return (f"the Wiener filter saw this track in windows of {seconds:g} s, not as a whole",)

    def facts(self) -> Mapping[str, Any]:
        return {
            "device": "cpu",
            "precision": "float32",
            "threads": self._threads,
            "tensorflow": self._versions.get("tensorflow"),
            **self._options.facts(),
        }

    def close(self) -> None:
        if self._host is not None:
            self._host.close()
            self._host = None
