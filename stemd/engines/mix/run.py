"""One mix, stage by stage, each of which an interrupted job need not do again."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import scipy

from stemd import __version__
from stemd.core.errors import StemdError
from stemd.engines.audio import decode
from stemd.engines.audio.decode import Source
from stemd.engines.base import MixRequest, MixResult, ProgressCallback
from stemd.engines.mix import loading, rendering
from stemd.engines.mix.aligning import aligned
from stemd.engines.mix.analysis import Analysis
from stemd.engines.mix.brief import Brief, brief_of
from stemd.engines.mix.deliverables import Deliverables
from stemd.engines.mix.loading import Stem
from stemd.engines.mix.parameters import Parameters, Track
from stemd.engines.mix.plan import plan, trimmed
from stemd.engines.mix.shelf import Shelf
from stemd.engines.mix.tap import StreamTap
from stemd.engines.progress import Meter

#: Each stage's share of the progress, in their order.
STAGES: Mapping[str, float] = {
    "loading_stems": 0.10,
    "aligning_stems": 0.15,
    "processing_tracks": 0.25,
    "mixing": 0.15,
    "mastering": 0.25,
    "exporting": 0.10,
}


def mix(request: MixRequest, report: ProgressCallback) -> MixResult:
    """Mix ``request.inputs`` into files below ``request.out``.

    What is finished stays below ``request.chunks`` and is used again when nothing it depends on changed. ``report`` is
    called after each block; what it raises ends the mix and is passed on.

    Raises:
        StemdError: of the A, E, R, S families; ``detail["mix_stage"]`` says in which stage.
        CancelledError: raised by ``report``.
    """
    try:
        return _Mix(request, Meter(report, STAGES)).run()
    except MemoryError as error:
        raise StemdError("STEMD-R001", str(error) or "memory ran out") from error


@dataclass(slots=True)
class _Mix:
    request: MixRequest
    meter: Meter
    timings: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def run(self) -> MixResult:
        with self._stage("loading_stems"):
            brief = brief_of(self.request)
            sources = loading.opened(self.request.inputs)
            rate = brief.rate(sources)
            shelf = self._shelf(brief, rate)
            stems, reference = self._load(shelf, sources, brief, rate)
        parameters, alignment = self._decide(shelf, stems, brief, rate, reference)
        frames = max(1, *(shelf.frames(loading.name_of(role)) + parameters.tracks[role].lag(rate) for role in stems))
        if not brief.settings.plan_only:
            parameters = self._render(shelf, brief, stems, parameters, rate, frames)
        results = Deliverables(self.request, brief, shelf, stems, parameters, alignment, rate, frames)
        with self._stage("exporting"):
            started = time.monotonic()
            results.make(self._advance("exporting", results.work))
            timings = {**self.timings, "exporting": round(time.monotonic() - started, 3)}
            result = results.result(timings, [*brief.warnings, *self._discarded(shelf), *self.warnings])
        self.meter.end()
        return result

    def _shelf(self, brief: Brief, rate: int) -> Shelf:
        shelf = Shelf(
            self.request.chunks,
            {
                "versions": {"stemd": __version__, "numpy": np.__version__, "scipy": scipy.__version__},
                "inputs": {role: each.sha256 for role, each in self.request.inputs.items()},
                "rate": rate,
                **brief.identity(),
            },
        )
        shelf.open()
        return shelf

    def _load(
        self, shelf: Shelf, sources: Mapping[str, Source], brief: Brief, rate: int
    ) -> tuple[dict[str, Stem], Analysis | None]:
        loading.load(shelf, sources, rate, partial(self.meter.advance, "loading_stems"))
        reference = None
        if brief.reference is not None:
            if shelf.fact("reference") is None:
                found = loading.analysed(decode.open_source(brief.reference), rate, lambda frames: self._pause())
                shelf.note("reference", found.to_dict())
            reference = Analysis.from_dict(shelf.fact("reference"))
        stems = {role: loading.loaded(shelf, role) for role in sources}
        self.warnings += [text for stem in stems.values() for text in stem.warnings]
        return stems, reference

    def _decide(
        self, shelf: Shelf, stems: Mapping[str, Stem], brief: Brief, rate: int, reference: Analysis | None
    ) -> tuple[Parameters, Mapping[str, Any]]:
        """The parameters: those given, or a plan; and what was found out about the alignment."""
        if brief.parameters is not None:
            tracks = {role: brief.parameters.tracks.get(role, Track()) for role in stems}
            return Parameters(tracks, brief.parameters.masking, brief.parameters.master), {}
        with self._stage("aligning_stems"):
            if shelf.fact("alignment") is None:
                advance = partial(self.meter.advance, "aligning_stems")
                shelf.note("alignment", aligned(shelf, stems, brief.settings.align, rate, advance).to_dict())
            alignment: dict[str, Any] = shelf.fact("alignment")
            analyses = {role: each.analysis for role, each in stems.items()}
            found = plan(brief.settings, analyses, alignment["lags"], rate, reference)
        self.warnings += [*alignment["warnings"], *found.warnings]
        return found.parameters, alignment

    def _render(
        self, shelf: Shelf, brief: Brief, stems: Mapping[str, Stem], parameters: Parameters, rate: int, frames: int
    ) -> Parameters:
        """The master onto the shelf; the parameters with what the rendering itself found out."""
        roles = list(parameters.tracks)
        with self._stage("processing_tracks"):
            advance = self._advance("processing_tracks", frames * len(roles))
            for role, track in parameters.tracks.items():
                rendering.process(shelf, role, track, rate, frames, StreamTap(rate, frames), advance)
        before = {role: stem.analysis.measured.integrated_lufs for role, stem in stems.items()}
        found = trimmed(parameters, before, {role: rendering.loudness(shelf, role) for role in roles})
        parameters = found.parameters
        self.warnings += found.warnings
        with self._stage("mixing"):
            rendering.blend(shelf, parameters, rate, StreamTap(rate, frames), self._advance("mixing", frames))
            if not brief.settings.export.processed_stems:
                for role in roles:
                    shelf.drop(rendering.processed(role), rendering.BLEND)
        with self._stage("mastering"):
            advance = self._advance("mastering", frames * rendering.MASTER_PASSES)
            rendering.master(shelf, parameters.master, rate, partial(StreamTap, rate, frames), advance)
        return parameters

    def _advance(self, stage: str, frames: int) -> rendering.Advance:
        """Progress inside a stage of ``frames`` in all, told block by block."""
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            self.meter.advance(stage, done, max(done, frames))

        return advance

    def _pause(self) -> None:
        """No progress to tell of, but a moment to be cancelled in."""
        self.meter.advance("loading_stems", 1, 1)

    def _discarded(self, shelf: Shelf) -> list[str]:
        return [shelf.discarded] if shelf.discarded else []

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        self.meter.advance(name, 0, 1)
        try:
            yield
        except StemdError as error:
            error.detail.setdefault("mix_stage", name)
            raise
        self.timings[name] = round(time.monotonic() - started, 3)
