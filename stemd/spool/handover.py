"""What is still to be handed over: one file in ``ROOT/.handoff/`` for each job that ended, until its receivers have it.

The folder is there where a hand-over is configured, and only there is anything written. A job's file is written (and
flushed) in the step that notes its target, before its folder is renamed into outbox/ or orphan/: whatever is visible
has its file. It counts from the moment the rename is certain (``due``): until then a restart writes it again, under
the same name. So nothing is forgotten, and what a crash repeats has the key it had before.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Set
from contextlib import suppress
from pathlib import Path
from typing import Any

from stemd.core.canary import is_canary
from stemd.core.errors import StemdError
from stemd.core.job import SCHEMA_VERSION, Job, JobState
from stemd.spool import attempts, durable, sidecar
from stemd.spool.layout import Spool, WorkDir
from stemd.spool.steps import step

#: What a finished job's manifest says that its receiver should know without opening the folder.
_FROM_MANIFEST = (
    "engine", "engine_version", "model", "model_sha256", "settings", "source", "gain_db", "warnings", "attempts",
    "timings",
)  # fmt: skip
_FROM_ERROR = ("source", "code", "class", "stage", "message", "remedy", "retryable", "attempts", "failed_at")


#: One of rewriting and forgetting comes first, and after forgetting nothing is rewritten. Threads are all there are: a
#: spool has one process that writes.
_lock = threading.Lock()


class ForgottenError(Exception):
    """What was being handed over has been forgotten meanwhile: no more of it is told, nothing of it is written."""


def folder(spool: Spool) -> Path:
    return spool.root / ".handoff"


def note(spool: Spool, work: WorkDir, job: Job | None, state: JobState, target: Path) -> None:
    """Write down that the job in ``work`` is to be handed over from ``target``; nothing where nobody is to be told."""
    if not folder(spool).is_dir() or is_canary(job):
        return
    document = _document(spool, work, job, state, target)
    durable.write_json(folder(spool) / f"{document['key']}.json", document)
    step("H1")


def _document(spool: Spool, work: WorkDir, job: Job | None, state: JobState, target: Path) -> dict[str, Any]:
    """Everything a receiver is told; ``result`` is relative to the spool."""
    done = state is JobState.DONE
    facts = durable.read_json(work.manifest if done else work.error) or {}
    document = {
        "schema_version": SCHEMA_VERSION,
        "key": f"{work.job_id}.{job.epoch if job else _unsealed_epoch(work)}",
        "job_uuid": work.job_id,
        "user_id": job.user_id if job else facts.get("user_id"),
        "state": state.value,
        "ended_at": sidecar.iso(time.time()),
        "result": str(target.relative_to(spool.root)),
        "log": work.log.name if work.log.exists() else None,
        "tags": dict(job.request.tags) if job else {},
        "handoff": dict(job.request.handoff) if job else {},
        "compliance": facts.get("compliance") or {},
        "error": None if done else {key: facts[key] for key in _FROM_ERROR if key in facts},
    }
    if done:
        files = [{key: file[key] for key in ("name", "stem", "sha256", "bytes")} for file in facts.get("files", [])]
        return {**document, **{key: facts.get(key) for key in _FROM_MANIFEST}, "files": files}
    engine = {"engine": job.request.engine, "model": job.request.model} if job else {}
    return {**document, **engine, "versions": facts.get("versions", {})}


def waiting(spool: Spool) -> list[Path]:
    """The files of what is not handed over yet, oldest job first; cheap for many thousands."""
    try:
        found = [path.name for path in folder(spool).iterdir()]
    except FileNotFoundError:
        return []
    return [folder(spool) / name for name in sorted(found) if name.endswith(".json") and not name.startswith(".")]


def pending(spool: Spool) -> Iterator[tuple[Path, dict[str, Any]]]:
    """What is not handed over yet, whether due or not."""
    for path in waiting(spool):
        if (document := durable.read_json(path)) is not None:
            yield path, document


def due(spool: Spool, document: Mapping[str, Any]) -> bool:
    """Whether the job has ended for certain: its folder is out of work/, or marked as published."""
    work = spool.job(str(document["job_uuid"]))
    if not work.path.exists():
        return True
    if document["state"] == JobState.DONE.value:
        return work.published.exists()
    record = durable.read_json(work.job)
    epoch = record.get("epoch", 0) if record is not None else _unsealed_epoch(work)
    return not work.error.exists() and epoch > _epoch(document)


def _unsealed_epoch(work: WorkDir) -> int:
    return attempts.read(work.attempts).epoch


def _epoch(document: Mapping[str, Any]) -> int:
    return int(str(document["key"]).rpartition(".")[2])


def rewrite(path: Path, document: Mapping[str, Any]) -> None:
    """Replace what is noted.

    Raises:
        ForgottenError: it is not there any more, and stays away.
    """
    with _lock:
        _require(path)
        durable.write_json(path, document)


def moved(spool: Spool, path: Path, document: Mapping[str, Any]) -> None:
    """Let the job's status say where its folder is now.

    Raises:
        ForgottenError: the hand-over is not there any more; then nobody is to be told of the job by its status either.
    """
    with _lock:
        _require(path)
        status = sidecar.read_status(spool.status_file(document["job_uuid"]))
        if status is not None and status.get("state") == document["state"]:
            with suppress(StemdError, OSError):
                sidecar.write_status(spool, document["job_uuid"], {**status, "result": document["result"]})


def _require(path: Path) -> None:
    if not path.exists():
        raise ForgottenError


def forget(spool: Spool, *, user: str | None = None, jobs: Set[str] = frozenset()) -> list[str]:
    """Remove what waits to be handed over of a user and of jobs, durably, in one look; returns the keys.

    For the right to be deleted: what is under way to a receiver at this moment may still arrive.
    """

    def meant(document: Mapping[str, Any]) -> bool:
        return document.get("job_uuid") in jobs or (user is not None and document.get("user_id") == user)

    gone = []
    for path, document in pending(spool):
        if meant(document):
            with _lock:
                path.unlink(missing_ok=True)
            gone.append(str(document["key"]))
    for path in folder(spool).glob(".*.json.tmp"):  # left by a kill amid the rewrite of one
        if path.name[1:].partition(".")[0] in jobs or meant(durable.read_json(path) or {}):
            with _lock:
                path.unlink(missing_ok=True)
    if gone:
        durable.fsync(folder(spool))
    return gone
