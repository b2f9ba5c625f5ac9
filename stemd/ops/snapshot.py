"""The spool as one truth for the command line, the page and the metrics; needs no daemon and changes nothing.

Everything is read from the folders: ``status/`` first, and ``work/``, ``orphan/`` and the inboxes for what has no
status file. A status that only a living daemon can make true ("running") is not believed when there is none.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from stemd.core.errors import ErrorClass, StemdError
from stemd.core.job import JobState, decode_name, printable
from stemd.ops import inboxes
from stemd.spool import attempts, durable, probes, sidecar
from stemd.spool.layout import Spool

#: The shortest part of an id that names a job.
MIN_ID = 4
_ID = re.compile(r"[0-9a-f-]+", re.IGNORECASE)
_SHOWN_MATCHES = 5


class Where(Protocol):
    """The part of the configuration that says where jobs are: the whole ``Config`` has it, and so has a peek at it."""

    @property
    def spool(self) -> tuple[Path, ...]: ...

    @property
    def inboxes(self) -> Iterable[str]: ...

    @property
    def users(self) -> Iterable[str]: ...


@dataclass(frozen=True, slots=True)
class JobView:
    """One job, or one file that still lies in an inbox (``job_uuid`` is ``None``, ``path`` is set).

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


@dataclass(frozen=True, slots=True)
class Root:
    """One spool and the process that owns it: ``None`` when nobody does, 0 when it cannot be told who."""

    path: str
    owner: int | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All spools and their jobs, oldest first; what lies in the inboxes comes last."""

    roots: tuple[Root, ...]
    jobs: tuple[JobView, ...]

    @property
    def counts(self) -> Mapping[str, int]:
        """How many jobs are in each state that occurs."""
        return Counter(job.state for job in self.jobs)

    @property
    def running(self) -> bool:
        """Whether every spool has its daemon."""
        return all(root.owner is not None for root in self.roots)


_ENDED = frozenset(state.value for state in JobState if state.ended)
_NAMES = frozenset({"root", "result", "path"})
_ALIVE = frozenset({JobState.RUNNING.value, JobState.PUBLISHING.value})


def snapshot(where: Where) -> Snapshot:
    """Look at all spools.

    Raises:
        StemdError: STEMD-S005 (a root is not there), STEMD-S006 (it may not be read).
    """
    roots: list[Root] = []
    jobs: list[JobView] = []
    arriving: list[JobView] = []
    for spool in map(Spool, where.spool):
        with _readable(spool):
            owner = owner_of(spool)
            roots.append(Root(str(spool.root), owner))
            views = (load() for load in _index(spool).values())
            jobs += [_believed(view, owner) for view in views if view is not None]
            arriving += [_waiting(spool, found, owner, where) for found in inboxes.waiting(spool, _doors(spool, where))]
    jobs.sort(key=lambda job: (job.claimed_at or "", job.job_uuid or ""))
    return Snapshot(tuple(roots), (*jobs, *arriving))


def find_job(where: Where, text: str) -> JobView:
    """The job a person means: an id or a unique part of its beginning or end (≥ 4 characters), the name or path of
    its folder in orphan/, or the path of a file in an inbox.

    Raises:
        StemdError: STEMD-S015 (none, or several: the message names them), STEMD-S005, STEMD-S006.
    """
    found: dict[str, tuple[Spool, Callable[[], JobView | None]]] = {}
    for spool in map(Spool, where.spool):
        with _readable(spool):
            index = _index(spool)
            wanted = _matching(spool, index, text)
            found.update({job_id: (spool, index[job_id]) for job_id in wanted if job_id in index})
    if len(found) == 1:
        spool, load = next(iter(found.values()))
        view = load()
        if view is not None:
            return _believed(view, owner_of(spool))
    if len(found) > 1:
        shown = ", ".join(sorted(found)[:_SHOWN_MATCHES]) + (", …" if len(found) > _SHOWN_MATCHES else "")
        message = f"{printable(text)} fits {len(found)} jobs: {shown}"
        raise StemdError("STEMD-S015", message, detail={"matches": sorted(found)})
    waiting = find_in_inbox(where, Path(text))
    if waiting is None:
        raise StemdError("STEMD-S015", f"no job and no file in an inbox is called {printable(text)!r}")
    return waiting


def read_job(spool: Spool, job_id: str) -> JobView | None:
    """One job by its whole id; ``None`` when neither ``status/`` nor ``work/`` knows it (yet)."""
    view = _from_status(spool, job_id)
    if view is None and spool.job(job_id).origin.exists():
        view = _from_work(spool, job_id)
    return _believed(view, owner_of(spool)) if view else None


def owner_of(spool: Spool) -> int | None:
    """The process that owns the spool; 0 when it is not ours to see."""
    try:
        return probes.owner(spool)
    except PermissionError:
        return 0


@contextmanager
def _readable(spool: Spool) -> Iterator[None]:
    if not spool.root.is_dir():
        raise StemdError("STEMD-S005", f"{spool.root} is not there", remedy=f"Mount it, or: mkdir -p {spool.root}")
    try:
        yield
    except PermissionError as error:
        raise StemdError("STEMD-S006", f"{printable(str(error.filename))}: {error.strerror}") from error


def _names(folder: Path, suffix: str = "") -> list[str]:
    """What stands in a folder, hidden names left out; nothing where it is absent or not ours to see."""
    try:
        return [name[: len(name) - len(suffix)] for name in os.listdir(folder)  # noqa: PTH208  thousands of plain names
                if name.endswith(suffix) and not name.startswith(".")]  # fmt: skip
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError:
        if folder.name == "status":
            raise
        return []


def _index(spool: Spool) -> dict[str, Callable[[], JobView | None]]:
    """Every job's id, with the way to read it."""
    index: dict[str, Callable[[], JobView | None]] = {}
    for job_id in _names(spool.status, ".json"):
        index[job_id] = partial(_from_status, spool, job_id)
    for job_id in _names(spool.work):
        index.setdefault(job_id, partial(_from_work, spool, job_id))
    known = {job_id[-8:] for job_id in index}
    for folder in orphan_folders(spool):
        if folder.name[-8:] not in known:
            view = _from_orphan(spool, folder)
            if view is not None and view.job_uuid:
                index.setdefault(view.job_uuid, partial(_same, view))
    return index


def orphan_folders(spool: Spool) -> Iterator[Path]:
    """``orphan/USER/TITLE.ID8``, without those of unknown origin."""
    for user in _names(spool.orphan):
        if user != "_unknown":
            for name in _names(spool.orphan / user):
                yield spool.orphan / user / name


def _same(view: JobView) -> JobView:
    return view


def _from_status(spool: Spool, job_id: str) -> JobView | None:
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
    )


def _from_work(spool: Spool, job_id: str) -> JobView:
    """A job the daemon had no time to write a status for."""
    work = spool.job(job_id)
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


def _from_orphan(spool: Spool, folder: Path) -> JobView | None:
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


def _waiting(spool: Spool, found: inboxes.Waiting, owner: int | None, where: Where) -> JobView:
    error = found.error or (inboxes.no_daemon(spool) if owner is None else None)
    user = found.door if found.door is not None and found.door in where.users else None
    return JobView(
        root=str(spool.root),
        job_uuid=None,
        state=JobState.WAITING.value,
        user_id=user,
        title=printable(found.path.name),
        stage="inbox",
        reason=reason_of(error) if error else None,
        path=str(found.path),
    )


def reason_of(error: StemdError) -> dict[str, Any]:
    """The ``reason`` of a status file."""
    return {
        "code": error.code,
        "class": error.error_class.value,
        "message": error.message,
        "remedy": error.remedy,
    }


def _believed(view: JobView, owner: int | None) -> JobView:
    """Without a daemon nothing runs, and everything unfinished waits for one."""
    if owner is not None or view.ended:
        return view
    state = JobState.WAITING.value if view.state in _ALIVE else view.state
    reason = view.reason or reason_of(inboxes.no_daemon(view.spool))
    return replace(view, state=state, reason=reason, eta_seconds=None)


def _matching(spool: Spool, ids: Iterable[str], text: str) -> list[str]:
    wanted = text.lower()
    ids = list(ids)
    if wanted in ids:
        return [wanted]
    if len(wanted) >= MIN_ID and _ID.fullmatch(wanted):
        found = [job_id for job_id in ids if job_id.startswith(wanted) or job_id.endswith(wanted)]
        if found:
            return found
    name = Path(text).name
    for folder in orphan_folders(spool):
        if folder.name == name:
            report = durable.read_json(folder / "error.json") or {}
            return [str(report.get("job_uuid"))]
    return []


def find_in_inbox(where: Where, path: Path) -> JobView | None:
    """The entry of an inbox that ``path`` is or lies in; ``None`` where there is none."""
    for spool in map(Spool, where.spool):
        found = inboxes.locate(path, _doors(spool, where))
        if found is not None and os.path.lexists(found.path):
            return _waiting(spool, found, owner_of(spool), where)
    return None


def _doors(spool: Spool, where: Where) -> tuple[inboxes.Door, ...]:
    return inboxes.doors(spool, frozenset(where.inboxes) | frozenset(where.users))


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
