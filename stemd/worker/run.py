"""One job inside a worker: give the engine its files, stage what it made."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from stemd.core.errors import StemdError
from stemd.core.job import Job
from stemd.engines.base import (
    Engine,
    Mixer,
    MixInput,
    MixRequest,
    MixResult,
    ModelInfo,
    ProgressCallback,
    SeparationRequest,
    SeparationResult,
    SourceFacts,
    StemFile,
)
from stemd.engines.separate import separate
from stemd.spool import deliver, durable, sidecar, sources
from stemd.spool.layout import WorkDir
from stemd.worker import usage

#: What the stems look like, beside them.
PEAKS = "peaks.json"


@dataclass(frozen=True, slots=True)
class Run:
    """Which attempt this is, and how often the job ran out of memory before."""

    attempt: int
    ease: int


def run_job(
    engine: Engine | Mixer, model: ModelInfo, job: Job, work: WorkDir, run: Run, report: ProgressCallback
) -> dict[str, Any]:
    """Do the job and stage the result in ``out.partial``; returns what the daemon logs about it.

    Raises:
        StemdError: any expected failure; the job's folder can be resumed or restarted.
        CancelledError: ``report`` asked to stop.
    """
    started, cpu = time.monotonic(), usage.cpu_seconds()
    usage.reset_peak()
    _prepare(work)
    before = sources.changes(work, job)
    result: SeparationResult | MixResult
    if isinstance(engine, Mixer):
        result = engine.mix(_mix_request(model, job, work), report)
    else:
        result = separate(engine, model, _separation_request(engine, model, job, work, run), report)
    if sources.changes(work, job) != before:
        raise StemdError("STEMD-S014", "the source changed while it was worked on: somebody still had it open")
    resources = {
        "cpu_seconds": round(usage.cpu_seconds() - cpu, 3),
        "peak_rss_bytes": usage.peak_rss(),
        "wall_seconds": round(time.monotonic() - started, 3),
    }
    document = sidecar.manifest(job, _measured(engine, model, result, run.attempt, resources, work.partial))
    deliver.stage(work, job, document, result.source.tags)
    audio_seconds = result.source.frames / result.source.sample_rate
    return {
        "resources": resources,
        "timings": dict(result.timings),
        "chunks": dict(result.chunks),
        "audio_seconds": round(audio_seconds, 3),
        "files": [file.name for file in result.files],
        "warnings": list(result.warnings),
    }


def _prepare(work: WorkDir) -> None:
    """A clean ``out.partial``; ``chunks`` is kept: the engine resumes from what is good in it."""
    deliver.unstage(work)
    with durable.io_errors("make the job's folders"):
        work.partial.mkdir(mode=0o700)
        work.chunks.mkdir(mode=0o700, exist_ok=True)


def _separation_request(engine: Engine, model: ModelInfo, job: Job, work: WorkDir, run: Run) -> SeparationRequest:
    return SeparationRequest(
        source=sources.unchanged(work, job.source),
        chunks=work.chunks,
        out=work.partial,
        stems=job.request.stems or model.stems,
        output=job.request.output,
        options=engine.ease(job.request.options, run.ease) if run.ease else job.request.options,
        tags=job.request.tags,
        stamp=sidecar.stamp(job, model.name, time.time()),
        checkpoint=job.request.checkpoint,
        threshold=job.request.threshold,
        memory=job.request.limits.memory,
        art=_art(work, job),
        title=job.title,
    )


def _mix_request(model: ModelInfo, job: Job, work: WorkDir) -> MixRequest:
    return MixRequest(
        inputs={role: MixInput(sources.unchanged(work, each), each.sha256) for role, each in job.inputs.items()},
        chunks=work.chunks,
        out=work.partial,
        output=job.request.output,
        find=partial(sources.regular_beneath, _folder(work, job)),
        options=job.request.options,
        tags=job.request.tags,
        stamp=sidecar.stamp(job, model.name, time.time()),
        art=_art(work, job),
        title=job.title,
    )


def _folder(work: WorkDir, job: Job) -> Path:
    """The folder of a staged job."""
    return work.src / Path(job.source.path).parts[0]


def _art(work: WorkDir, job: Job) -> Path | None:
    """The picture a staged job names, a file in its folder."""
    return sources.regular_beneath(_folder(work, job), job.request.art) if job.request.art else None


def _measured(
    engine: Engine | Mixer,
    model: ModelInfo,
    result: SeparationResult | MixResult,
    attempt: int,
    resources: Mapping[str, float],
    folder: Path,
) -> dict[str, Any]:
    measured = {
        "engine_version": engine.version,
        "model": {"name": model.name, "sha256": model.sha256},
        "source": _facts(result.source),
        "files": [_row(file) for file in result.files],
        "gain_db": result.gain_db,
        "settings": {**result.settings, **engine.facts()},
        "attempts": attempt,
        "chunks": dict(result.chunks),
        "timings": dict(result.timings),
        "resources": resources,
        "warnings": list(result.warnings),
    }
    if isinstance(result, MixResult):
        measured["inputs"] = {role: _facts(facts) for role, facts in result.inputs.items()}
        names = result.documents
    else:
        outline = json.dumps(result.outline, separators=(",", ":")).encode()
        durable.write(folder / PEAKS, outline, durable=False)  # flushed with the stems
        names = (PEAKS,)
    measured["documents"] = [_document(folder / name) for name in names]
    return measured


def _facts(source: SourceFacts) -> dict[str, Any]:
    return {key: value for key, value in asdict(source).items() if key != "tags"}


def _document(path: Path) -> dict[str, Any]:
    return {"name": path.name, "sha256": sources.sha256(path), "bytes": path.stat().st_size}


def _row(file: StemFile) -> dict[str, Any]:
    row = asdict(file)
    return row if file.tracks else {key: value for key, value in row.items() if key != "tracks"}
