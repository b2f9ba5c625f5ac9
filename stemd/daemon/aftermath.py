"""After a restart: no status file may go on telling of a job that is not unfinished any more."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from stemd.core.errors import StemdError
from stemd.core.job import JobState
from stemd.ops import logs
from stemd.spool import durable, ledger, sidecar
from stemd.spool.audit import finished_folders
from stemd.spool.layout import Spool

_UNFINISHED = frozenset(state.value for state in JobState if not state.ended)


def settle_statuses(spool: Spool, unfinished: Container[str]) -> None:
    """Correct each status that says unfinished although its job is not: to how it ended, or by removing it.

    A crash between a job's end and its last status leaves such files. ``unfinished`` are the jobs in work/. A status is
    for people: one that cannot be read or written is told of, and keeps nothing from going on.
    """
    finished = cache(partial(_results, spool))
    for path in spool.status.glob("[!.]*.json"):
        try:
            _settle(spool, path, unfinished, finished)
        except (OSError, StemdError) as error:
            reason = error.message if isinstance(error, StemdError) else error.strerror
            logs.get().warning("status_not_settled", job_uuid=path.stem, reason=reason)


def _settle(spool: Spool, path: Path, unfinished: Container[str], finished: Callable[[], Mapping[str, str]]) -> None:
    status = durable.read_json(path)
    if status is None or path.stem in unfinished or status.get("state") not in _UNFINISHED:
        return
    if (orphan := sidecar.find_orphan(spool, path.stem)) is not None:
        report = StemdError.from_dict(durable.read_json(orphan / "error.json") or {})
        state = JobState.CANCELLED if report.code == "STEMD-P002" else JobState.FAILED
        _correct(spool, path.stem, status, state, str(orphan))
    elif path.stem in finished():
        _correct(spool, path.stem, status, JobState.DONE, finished()[path.stem])
    elif not spool.job(path.stem).path.exists() or ledger.is_split(spool.job(path.stem)):
        path.unlink(missing_ok=True)


def _results(spool: Spool) -> dict[str, str]:
    """The finished folders by job."""
    documents = ((folder, durable.read_json(folder / "manifest.json")) for folder in finished_folders(spool.outbox))
    return {str(document.get("job_uuid")): str(folder) for folder, document in documents if document}


def _correct(spool: Spool, job_id: str, status: dict[str, Any], state: JobState, result: str) -> None:
    ended = {
        "state": state.value,
        "stage": "ended",
        "result": result,
        "next_attempt_at": None,
        "eta_seconds": None,
        "realtime_factor": None,
    }
    sidecar.write_status(spool, job_id, {**status, **ended})
