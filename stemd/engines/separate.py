"""One separation from the source file to verified stems on disk."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stemd.core.errors import StemdError
from stemd.engines.audio import cover, decode, formats, peaks, stem_mp4
from stemd.engines.audio.reader import BLOCK
from stemd.engines.base import (
    Engine,
    Lane,
    ModelInfo,
    ProgressCallback,
    SeparationRequest,
    SeparationResult,
    TrackStats,
)
from stemd.engines.beside import ahead, behind, depth_for
from stemd.engines.checkpoint import ChunkStore
from stemd.engines.faults import AnewError
from stemd.engines.memory import check_memory, fits, give_back
from stemd.engines.overlap_add import OverlapAdd
from stemd.engines.plan import Plan, make_plan
from stemd.engines.progress import Meter
from stemd.engines.render import Rendering
from stemd.engines.track import at_model_rate, measure

#: How often a job is made smaller until its memory is enough.
_MOST_EASED = 6
#: Seconds of sound after which what the C library keeps of freed memory is given back: what it keeps for the next
#: segment frays with time, and an hour took 80 MiB more than 6 minutes.
_TIDY = 120


def separate(
    engine: Engine, model: ModelInfo, request: SeparationRequest, report: ProgressCallback
) -> SeparationResult:
    """Separate ``request.source`` with the loaded ``engine`` into files below ``request.out``.

    The source is decoded once for its statistics, once for the separation, and once more where an output is the
    rest of the source. Finished chunks below ``request.chunks`` are used again when nothing they depend on changed.
    ``report`` is called after each block and segment; what it raises ends the separation and is passed on.

    Raises:
        StemdError: of the A, E, R, S families (see ``stemd.core.errors``).
        CancelledError: raised by ``report``.
    """
    try:
        return _Separation(engine, model, request, Meter(report)).run()
    except MemoryError as error:
        raise StemdError("STEMD-R001", str(error) or "memory ran out") from error


@dataclass(slots=True)
class _Separation:
    engine: Engine
    model: ModelInfo
    request: SeparationRequest
    meter: Meter
    timings: dict[str, float] = field(default_factory=dict)

    def run(self) -> SeparationResult:
        options: Mapping[str, Any] = {name: each for name, each in self.request.options.items() if name != "residual"}
        plan = make_plan(self.model.stems, self.request.stems, str(self.request.options.get("residual", "off")))
        lanes = self.engine.lanes(options, plan.needed)
        source = decode.open_source(self.request.source)
        target = formats.choose(self.request.output, source.rate)
        if target.container == "MP4":
            stem_mp4.check([part.name for part in plan.parts])
        art = cover.load(self.request.art) if self.request.art else source.cover()
        with self._timed("decode"):
            stats = measure(source, self.model.sample_rate, self.model.channels, self.meter)
        options, lanes, eased = self._fitted(options, plan, lanes, stats)
        store = self._store(plan, lanes, stats)
        try:
            with self._timed("separate"):
                store, halved = self._filled(store, source, plan, lanes, stats, options, halve=not eased)
            with self._timed("encode"):
                if stats.frames >= _TIDY * self.model.sample_rate:
                    give_back()  # the network's memory is of no use to the encoders, which have threads of their own
                job = Rendering(self.request, plan, source, target, store, self.model.sample_rate, self.meter, art)
                written = job.write()
            with self._timed("verify"):
                files = job.verify(written)
        finally:
            store.close()
        outlines = {name: found.pairs() for name, found in written.outlines.items()}
        self.meter.end()
        discarded = [store.discarded] if store.discarded else []
        warnings = [*source.warnings, *eased, *halved, *self.engine.notes(stats), *job.warnings, *discarded]
        return SeparationResult(
            source=source.facts(),
            files=files,
            gain_db=20 * float(np.log10(job.gain)),
            settings={**self.engine.facts(), "residual": self.request.options.get("residual", "off")},
            timings=dict(self.timings),
            chunks={"total": store.count, "reused": store.reused, "resumes": store.resumes},
            warnings=tuple(warnings),
            outline=peaks.document(outlines, target.rate, job.frames),
        )

    def _fitted(
        self, options: Mapping[str, Any], plan: Plan, lanes: tuple[Lane, ...], stats: TrackStats
    ) -> tuple[Mapping[str, Any], tuple[Lane, ...], list[str]]:
        """Options and ``lanes`` that the memory is enough for, and what was changed for it, in words.

        Raises:
            StemdError: STEMD-R005, there is too little for the least the engine can do with.
        """
        limit, eased = self.request.memory, options
        for level in range(1, _MOST_EASED):
            if fits(self.engine.memory(stats), limit):
                break
            eased = self.engine.ease(options, level)
            lanes = self.engine.lanes(eased, plan.needed)
        check_memory(self.engine.memory(stats), limit)
        changed = {name: value for name, value in eased.items() if options.get(name) != value}
        return eased, lanes, [f"to fit into the memory it was done with {changed}"] if changed else []

    def _store(self, plan: Plan, lanes: tuple[Lane, ...], stats: TrackStats) -> ChunkStore:
        header: Mapping[str, Any] = {
            "engine": self.engine.name,
            "engine_version": self.engine.version,
            "model_sha256": self.model.sha256,
            "stems": plan.needed,
            "facts": dict(self.engine.facts()),
            "lanes": [[each.member, each.segment, each.stride, each.lead, dict(each.weights)] for each in lanes],
            "track": [stats.frames, stats.mean, stats.std, stats.peak],
        }
        long = stats.frames > self.request.threshold * self.model.sample_rate
        chunk = max(1, round(self.request.checkpoint * self.model.sample_rate) if long else stats.frames)
        shape = (len(plan.needed), self.model.channels)
        store = ChunkStore(self.request.chunks, header, stats.frames, shape, chunk)
        store.open()
        return store

    def _filled(
        self,
        store: ChunkStore,
        source: decode.Source,
        plan: Plan,
        lanes: tuple[Lane, ...],
        stats: TrackStats,
        options: Mapping[str, Any],
        *,
        halve: bool,
    ) -> tuple[ChunkStore, list[str]]:
        """``store`` with the whole track in it, and what was changed for that, in words.

        Where memory runs out on a batch (a graphics card's is known only by trying), the track is begun again with half
        of it: a batch is part of what the numbers depend on, so no track is made of two. So it is where something else
        of that kind changed (``AnewError``).
        """
        halved: list[str] = []
        while True:
            batch = int(self.engine.facts().get("batch", 1))
            try:
                self._fill(store, source, plan, lanes, stats)
                return store, halved
            except AnewError:
                pass
            except StemdError as error:
                if error.code != "STEMD-R001" or batch < 2 or not halve:
                    raise
                options = {**options, "batch": batch // 2}
                halved = [f"memory was too small for its batch: it was done with {batch // 2} segments at once"]
            store.close()
            lanes, discarded = self.engine.lanes(options, plan.needed), store.discarded
            store = self._store(plan, lanes, stats)
            store.discarded = discarded

    def _fill(
        self, store: ChunkStore, source: decode.Source, plan: Plan, lanes: tuple[Lane, ...], stats: TrackStats
    ) -> None:
        if store.done == stats.frames:
            self.meter.advance("separate", 1, 1)
            return
        if stats.peak == 0:
            self._fill_with_silence(store, stats)
            return
        work = OverlapAdd(
            self.engine,
            lanes,
            plan.needed,
            self.engine.begin(stats),
            stats.frames,
            self.model.channels,
            store.done,
            int(self.engine.facts().get("batch", 1)),
            lambda done, of: self.meter.advance("separate", done, of),
        )
        rate, channels, depth = self.model.sample_rate, self.model.channels, depth_for(stats.frames)
        with (
            closing(source.blocks()) as decoded,
            closing(ahead(at_model_rate(decoded, source, rate, channels), depth)) as blocks,
            behind(store.append, depth) as keep,
        ):
            fresh = 0
            for finished in work.run(blocks):
                keep(finished)
                fresh += len(finished)
                if fresh >= _TIDY * rate:
                    fresh = 0
                    give_back()

    def _fill_with_silence(self, store: ChunkStore, stats: TrackStats) -> None:
        while left := stats.frames - store.done:
            store.append(np.zeros((min(left, BLOCK), *store.shape), np.float32))
            self.meter.advance("separate", store.done, stats.frames)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.timings[stage] = round(time.monotonic() - started, 3)
