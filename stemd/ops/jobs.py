"""One job as the spool tells it: from its status file, else from its folder in work/ or orphan/, or from an inbox."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from stemd.core.errors import ErrorClass, StemdError
from stemd.core.job import JobState, decode_name, printable
from stemd.ops import inboxes
from stemd.spool import attempts, durable, ledger, probes, sidecar
from stemd.spool.layout import Spool

_ENDED = frozenset(state.value for state in JobState if state.ended)
_NAMES = frozenset({"root", "result", "path"})
_ALIVE = frozenset({JobState.RUNNING.value, JobState.PUBLISHING.value})


@dataclass(frozen=True, slots=True)
class JobView:
    """One job, or one entry that still lies in an inbox: it has a ``path``, and a ``job_uuid`` only if it asks for one.

    Times are RFC 3339 text in UTC, ``progress`` is 0–1, ``reason`` has code, message and remedy. ``result`` is the
    finished or failed folder. ``title`` is safe to print.
    """

    root: str
    job_uuid: str | None
    state: str
    user_id: str | None = None
    title: str = ""
    stage: str | None = None
    progress: float = 0.0
    engine: str | None = None
    model: str | None = None
    attempts: int = 0
    interruptions: int = 0
    reason: Mapping[str, Any] | None = None
    next_attempt_at: str | None = None
    claimed_at: str | None = None
    updated_at: str | None = None
    result: str | None = None
    eta_seconds: float | None = None
    audio_seconds: float | None = None
    realtime_factor: float | None = None
    path: str | None = None

    @property
    def ended(self) -> bool:
        return self.state in _ENDED

    @property
    def spool(self) -> Spool:
        return Spool(Path(self.root))

    def to_dict(self) -> dict[str, Any]:
        """The JSON form. Names that are not UTF-8 are shown with escapes."""
        values = asdict(self)
        return {key: printable(value) if key in _NAMES and value else value for key, value in values.items()}


def owner_of(spool: Spool) -> int | None:
    """The process that owns the spool, ``None`` when nobody does; 0 when it is not ours to see who."""
    try:
        return probes.owner(spool)
    except PermissionError:
        return _listed_owner(spool)


def _listed_owner(spool: Spool) -> int | None:
    """Who holds the lock by the kernel's list (``/proc/locks``, proc(5)), for those who may not open its file."""
    inode = str(spool.lock.stat().st_ino)
    for line in Path("/proc/locks").read_text().splitlines():
        match line.split():
            case [_, "FLOCK", _, _, pid, place, *_] if place.rpartition(":")[2] == inode:
                return max(0, int(pid))
    return None


def from_status(spool: Spool, job_id: str) -> JobView | None:
    """What ``status/JOB_UUID.json`` says; ``None`` where it is absent or torn."""
    status = durable.read_json(spool.status_file(job_id))
    if status is None:
        return None
    result = status.get("result")
    return JobView(
        root=str(spool.root),
        job_uuid=job_id,
        state=str(status.get("state", "waiting")),
        user_id=status.get("user_id"),
        title=_title(status.get("title") or status.get("source")) or _title_elsewhere(spool, job_id, result),
        stage=status.get("stage"),
        progress=float(status.get("progress") or 0.0),
        engine=status.get("engine"),
        model=status.get("model"),
        attempts=int(status.get("attempts") or 0),
        interruptions=int(status.get("interruptions") or 0),
        reason=status.get("reason"),
        next_attempt_at=_time(status.get("next_attempt_at")),
        claimed_at=_time(status.get("claimed_at")),
        updated_at=_time(status.get("updated_at")),
        result=str(spool.root / result) if result else None,
        eta_seconds=status.get("eta_seconds"),
        audio_seconds=status.get("audio_seconds"),
        realtime_factor=status.get("realtime_factor"),
    )


def from_work(spool: Spool, job_id: str) -> JobView | None:
    """A job the daemon had no time to write a status for; ``None`` for an album: its jobs have theirs."""
    work = spool.job(job_id)
    if ledger.is_split(work):
        return None
    job = durable.read_json(work.job) or {}
    origin = durable.read_json(work.origin) or {}
    count = attempts.read(work.attempts)
    return JobView(
        root=str(spool.root),
        job_uuid=job_id,
        state=JobState.WAITING.value,
        user_id=job.get("user_id"),
        title=_title(job.get("title") or origin.get("name")),
        stage="claimed",
        engine=job.get("request", {}).get("engine"),
        model=job.get("request", {}).get("model"),
        attempts=count.attempts,
        interruptions=count.interruptions,
        claimed_at=_time(job.get("claimed_at") or origin.get("claimed_at")),
    )


def from_orphan(spool: Spool, folder: Path) -> JobView | None:
    """A failed job whose status file is gone: it is kept for a shorter time than the folder."""
    report = durable.read_json(folder / "error.json")
    if report is None:
        return None
    job = durable.read_json(folder / "job.json") or {}
    cancelled = report.get("class") == ErrorClass.CANCELLED.value
    return JobView(
        root=str(spool.root),
        job_uuid=report.get("job_uuid"),
        state=(JobState.CANCELLED if cancelled else JobState.FAILED).value,
        user_id=report.get("user_id"),
        title=printable(folder.name[:-9]),
        stage=report.get("stage"),
        engine=job.get("request", {}).get("engine"),
        model=job.get("request", {}).get("model"),
        attempts=len(report.get("attempts", ())),
        reason={key: report.get(key) for key in ("code", "class", "message", "remedy")},
        claimed_at=_time(job.get("claimed_at")),
        updated_at=_time(report.get("failed_at")),
        result=str(folder),
    )


def from_inbox(
    spool: Spool,
    found: inboxes.Waiting,
    owner: int | None,
    user_id: str | None,
    kept: Mapping[str, Any] | None = None,
) -> JobView:
    """An entry of an inbox; ``kept`` are the ``kept_reasons`` of the spool, if they were read already."""
    error = found.error or (inboxes.no_daemon(spool) if owner is None else None)
    known = kept_reasons(spool) if kept is None else kept
    reason = reason_of(error) if error else known.get(str(found.path.relative_to(spool.inbox)))
    return JobView(
        root=str(spool.root),
        job_uuid=found.job_uuid,
        state=(JobState.HELD if found.held else JobState.WAITING).value,
        user_id=user_id,
        title=printable(found.path.name),
        stage="inbox",
        reason=reason,
        path=str(found.path),
    )


def kept_reasons(spool: Spool) -> dict[str, Any]:
    """Why the daemon does not take complete entries, as it last wrote it down, by their path below ``inbox/``."""
    entries = (durable.read_json(spool.waiting) or {}).get("entries", ())
    return {decode_name(entry["name"]): entry.get("reason") for entry in entries}


def reason_of(error: StemdError) -> dict[str, Any]:
    """The ``reason`` of a status file."""
    return {
        "code": error.code,
        "class": error.error_class.value,
        "message": error.message,
        "remedy": error.remedy,
    }


def believed(view: JobView, owner: int | None) -> JobView:
    """Without a daemon nothing runs, and everything unfinished waits for one."""
    if owner is not None or view.ended:
        return view
    state = JobState.WAITING.value if view.state in _ALIVE else view.state
    reason = view.reason or reason_of(inboxes.no_daemon(view.spool))
    return replace(view, state=state, reason=reason, eta_seconds=None, realtime_factor=None)


def _title(value: Any) -> str:
    try:
        return printable(decode_name(value)) if value else ""
    except (TypeError, KeyError, ValueError):
        return ""


def _title_elsewhere(spool: Spool, job_id: str, result: str | None) -> str:
    """The title of a job whose description was not read (yet): its folder in orphan/ has it, or its record in work/."""
    if result:
        return printable(Path(result).name.removesuffix(f".{job_id[-8:]}"))
    try:
        return _title((durable.read_json(spool.job(job_id).origin) or {}).get("name"))
    except PermissionError:
        return ""


def _time(value: Any) -> str | None:
    return sidecar.iso(value) if isinstance(value, int | float) else value
