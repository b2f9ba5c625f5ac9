"""One job inside a worker: give the engine its files, stage what it made."""

from __future__ import annotations

import resource
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stemd.core.errors import StemdError
from stemd.core.job import Job
from stemd.engines.base import Engine, ModelInfo, ProgressCallback, SeparationRequest, SeparationResult
from stemd.engines.separate import separate
from stemd.spool import deliver, durable, sidecar
from stemd.spool.claim import regular_beneath
from stemd.spool.layout import WorkDir

_PROC = Path("/proc/self")


def run_job(
    engine: Engine, model: ModelInfo, job: Job, work: WorkDir, attempt: int, report: ProgressCallback
) -> dict[str, Any]:
    """Separate the job's source and stage the result in ``out.partial``; returns what the daemon logs about it.

    Raises:
        StemdError: any expected failure; the job's folder can be resumed or restarted.
        CancelledError: ``report`` asked to stop.
    """
    started, cpu = time.monotonic(), _cpu_seconds()
    _reset_peak()
    _prepare(work)
    source = _unchanged_source(work, job)
    request = SeparationRequest(
        source=source,
        chunks=work.chunks,
        out=work.partial,
        stems=job.request.stems or model.stems,
        output=job.request.output,
        options=job.request.options,
        tags=job.request.tags,
        stamp=sidecar.stamp(job, model.name),
    )
    result = separate(engine, model, request, report)
    _unchanged_source(work, job)
    resources = {
        "cpu_seconds": round(_cpu_seconds() - cpu, 3),
        "peak_rss_bytes": _peak_rss(),
        "wall_seconds": round(time.monotonic() - started, 3),
    }
    document = sidecar.manifest(job, _measured(engine, model, result, attempt, resources))
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


def _unchanged_source(work: WorkDir, job: Job) -> Path:
    """The source, if it is still the file that was hashed.

    Raises:
        StemdError: STEMD-S014, it changed since; STEMD-S007 or S010, something else is in its place.
    """
    source = regular_beneath(work.src, job.source.path)
    facts = source.lstat()
    if (facts.st_size, facts.st_mtime_ns) != (job.source.bytes, job.source.modified_ns):
        raise StemdError("STEMD-S014", "the source changed after it was taken: somebody still had it open")
    return source


def _measured(
    engine: Engine, model: ModelInfo, result: SeparationResult, attempt: int, resources: dict[str, float]
) -> dict[str, Any]:
    source = asdict(result.source)
    source.pop("tags")
    return {
        "engine_version": engine.version,
        "model": {"name": model.name, "sha256": model.sha256},
        "source": source,
        "files": [asdict(file) for file in result.files],
        "gain_db": result.gain_db,
        "settings": {**result.settings, **engine.facts()},
        "attempts": attempt,
        "chunks": dict(result.chunks),
        "timings": dict(result.timings),
        "resources": resources,
        "warnings": list(result.warnings),
    }


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime + children.ru_utime + children.ru_stime


def _reset_peak() -> None:
    """Start the kernel's peak of this process's memory anew (``clear_refs``, proc(5)); not every kernel allows it."""
    try:
        (_PROC / "clear_refs").write_text("5")
    except OSError:
        return


def _peak_rss() -> int:
    """Peak resident memory since ``_reset_peak``, in bytes (``VmHWM``)."""
    for line in (_PROC / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
