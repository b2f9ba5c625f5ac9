"""The files that explain a result: manifest, tag sidecars, error report, status."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stemd import __version__
from stemd.core.errors import StemdError
from stemd.core.job import SCHEMA_VERSION, Job, JobState, Source, encode_name, is_job_id, printable
from stemd.spool import durable
from stemd.spool.layout import Spool, WorkDir

#: The last second that RFC 3339 can name: what is kept for longer is kept until then.
_LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()


def iso(seconds: float) -> str:
    """Seconds since 1970 as RFC 3339 in UTC."""
    return datetime.fromtimestamp(min(seconds, _LAST), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def compliance(job: Job, now: float) -> dict[str, Any]:
    """The compliance block of every record of this job that is made ``now``: the term of a result begins with it.

    It must not begin earlier: a job that waited for longer than its term would be due the moment it is published.
    """
    term = job.request.retention
    return {**job.compliance, "retention_until": iso(now + term) if term is not None else None}


def compliance_of_failure(job: Job, now: float) -> dict[str, Any]:
    """The same for a job that fails ``now``: what is in orphan/ has a term of its own."""
    term = job.request.orphan_retention
    return {**job.compliance, "retention_until": iso(now + term) if term is not None else None}


def stamp(job: Job, model: str, now: float) -> dict[str, str]:
    """The tags that go into every stem: where it comes from, and what is to be heeded about it.

    They are decided before the stems are made; the manifest is written after, and its term is the one that counts.
    """
    marks = compliance(job, now)
    heeded = {f"STEMD_{key.upper()}": marks.get(key) for key in ("retention_until", "purpose", "region")}
    switches = {f"STEMD_{key.upper()}": marks.get(key) for key in ("erasable", "legal_hold")}
    return {
        "STEMD_JOB_UUID": job.job_uuid,
        "STEMD_USER_ID": job.user_id,
        "STEMD_ENGINE": job.request.engine,
        "STEMD_MODEL": model,
        **{key: text for key, text in heeded.items() if text},
        **{key: "yes" if value else "no" for key, value in switches.items() if value is not None},
    }


def manifest(job: Job, result: Mapping[str, Any]) -> dict[str, Any]:
    """``manifest.json`` of a finished folder.

    ``result`` carries what the worker measured: ``engine_version``, ``model`` (name, sha256), ``source`` (frames,
    sample_rate, channels, format), ``files``, ``gain_db``, ``settings``, ``attempts``, ``chunks``, ``timings``,
    ``resources``, ``warnings`` and ``documents`` (files that are no audio); of a mix also ``inputs`` (like ``source``,
    by role).
    """
    several = {
        "inputs": {role: {**_named(job.inputs[role]), **facts} for role, facts in result["inputs"].items()},
    } if job.inputs else {}  # fmt: skip
    now = time.time()
    return {
        "schema_version": SCHEMA_VERSION,
        "job_uuid": job.job_uuid,
        "user_id": job.user_id,
        "state": JobState.DONE.value,
        "created_at": iso(now),
        "stemd_version": __version__,
        "source": {**_named(job.source), **result["source"]},
        "inbox": job.inbox,
        "engine": job.request.engine,
        "engine_version": result["engine_version"],
        "model": result["model"]["name"],
        "model_sha256": result["model"]["sha256"],
        "settings": {**result["settings"], "output": job.request.to_dict()["output"]},
        "gain_db": result["gain_db"],
        "files": result["files"],
        "documents": result.get("documents", []),
        **several,
        "warnings": result["warnings"],
        "attempts": result["attempts"],
        "chunks": result["chunks"],
        "timings": result["timings"],
        "resources": result["resources"],
        "handoff": dict(job.request.handoff),
        "compliance": compliance(job, now),
        "album": dict(job.album) if job.album else None,
    }


def _named(source: Source) -> dict[str, Any]:
    return {"name": encode_name(source.name), "sha256": source.sha256}


def tags(document: Mapping[str, Any], file: Mapping[str, Any], source_tags: Mapping[str, str]) -> dict[str, Any]:
    """``STEM.flac.tags.json`` for one of the manifest's files."""
    shared = ("job_uuid", "user_id", "engine", "engine_version", "model", "model_sha256", "settings", "created_at")
    return {
        "schema_version": SCHEMA_VERSION,
        **{key: document[key] for key in shared},
        "stem": file["stem"],
        "source": {key: document["source"][key] for key in ("name", "sha256")},
        "compliance": document["compliance"],
        "tags": dict(source_tags),
    }


def error_report(
    identity: Mapping[str, Any], error: StemdError, attempts: Sequence[Mapping[str, Any]], log_tail: Sequence[str]
) -> dict[str, Any]:
    """``error.json``. ``identity`` gives job_uuid, user_id and the source's name."""
    return {
        "schema_version": SCHEMA_VERSION,
        **identity,
        **error.to_dict(),
        "failed_at": iso(time.time()),
        "attempts": list(attempts),
        "log_tail": list(log_tail),
        "versions": {"stemd": __version__},
    }


def error_text(report: Mapping[str, Any], name: str) -> str:
    """``error.txt``: the report for a person."""
    lines = [
        f"{printable(name)} could not be processed.",
        "",
        f"What happened: {report['message']}",
        f"What to do:    {report['remedy']}",
        "",
        "The recording is in the folder source/ beside this file, untouched.",
        f"To try again:  stemd retry {report['job_uuid']}",
        "",
        f"Code {report['code']} ({report['class']}, while: {report['stage']}); attempts: {len(report['attempts'])}.",
        f"More about it: stemd explain {report['code']}",
        "",
    ]
    return "\n".join(lines)


def log_tail(work: WorkDir, lines: int = 20) -> list[str]:
    """The last lines of the job's log."""
    try:
        return work.log.read_text(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []


def write_status(spool: Spool, job_id: str, status: Mapping[str, Any]) -> None:
    """Replace ``status/JOB_UUID.json``. A cache for people and queues: atomic, but not worth an fsync."""
    durable.write_json(
        spool.status_file(job_id),
        {"schema_version": SCHEMA_VERSION, "job_uuid": job_id, **status, "updated_at": iso(time.time())},
        durable=False,
    )


def read_status(path: Path) -> dict[str, Any] | None:
    """One status file, ``None`` when absent or torn."""
    return durable.read_json(path)


def find_orphan(spool: Spool, job_id: str) -> Path | None:
    """The folder of a failed job; none of what is no job's id: people write the reports there, ids become paths."""
    if not is_job_id(job_id):
        return None
    for home in _inside(spool.orphan):
        for candidate in _inside(home):
            if candidate.name.endswith(f".{job_id[-8:]}"):
                report: Mapping[str, Any] | None = durable.read_json(candidate / "error.json")
                if report is not None and report.get("job_uuid") == job_id:
                    return candidate
    return None


def _inside(folder: Path) -> list[Path]:
    """What is in a folder; nothing where it is none, or goes this moment: what is erased must hide no other's job."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []
