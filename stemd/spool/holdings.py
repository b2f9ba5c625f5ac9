"""What a spool holds of jobs that have ended, and since when. Looks, changes nothing; one item at a time, so that a
hundred thousand of them need no memory."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from stemd.core.job import JobState
from stemd.spool.layout import Spool
from stemd.spool.survey import DEEPEST

Area = Literal["outbox", "album", "orphan", "status", "logs", "caches"]
AREAS: tuple[Area, ...] = ("outbox", "album", "orphan", "status", "logs", "caches")
#: Bytes read at once; all of nearly every record.
_BLOCK = 1 << 16
#: Records that the disk is asked for before they are wanted: one after the other they would each be waited for.
_AHEAD = 64
#: The first line of a job's log is shorter.
_LINE = 4096
_ENDED = frozenset(state.value for state in JobState if state.ended)


@dataclass(frozen=True, slots=True)
class Holding:
    """One thing that is kept: a folder of outbox/ or orphan/, or a file.

    ``since`` is when its term began, ``until`` when it ends if its own records say so (seconds since 1970); ``origins``
    are the jobs that it came of: the one whose stems it mixes, the album it was in.
    """

    area: Area
    place: str
    since: float
    until: float | None = None
    job: str = ""
    user: str = ""
    inbox: str = ""
    origins: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """Made when it is asked for: most of a hundred thousand are only counted."""
        return Path(self.place)


def everything(spool: Spool, state: Path) -> Iterator[Holding]:
    """All that is kept of ended jobs in this spool, and the logs and caches in its ``state`` folder."""
    yield from finished(spool)
    yield from failed(spool)
    yield from statuses(spool)
    yield from _files("logs", state / "logs")
    yield from _files("caches", state / "cache")


def finished(spool: Spool) -> Iterator[Holding]:
    """Finished folders, and albums' own folders once no finished one is left in them."""
    for user in _folders(spool.outbox):
        yield from _results(user.path, user.name)


def _results(above: str, user: str, depth: int = 0) -> Iterator[Holding]:
    """What lies in the folders in ``above``. Ahead is only read on the first level: the others may be many."""
    for folder, document in _documents(
        (each.path for each in _folders(above)), "/manifest.json", 1 if depth else _AHEAD
    ):
        if document is not None:
            marks = document.get("compliance")
            until = _seconds(marks.get("retention_until")) if isinstance(marks, dict) else None
            since = _seconds(document.get("created_at"))
            if since is not None or (since := _changed(folder)) is not None:
                yield Holding("outbox", folder, since, until, *_whose(document, user), origins(document))
            continue
        # whatever is in a folder nested too deep: those around it are kept
        inner = depth == DEEPEST and next(_folders(folder), None) is not None
        for found in _results(folder, user, depth + 1) if depth < DEEPEST else ():
            inner = True
            yield found
        album = None if inner else _document(f"{folder}/album.json")
        if album is not None and (since := _seconds(album.get("created_at"))) is not None:
            yield Holding("album", folder, since, None, *_whose(album, user))


def failed(spool: Spool) -> Iterator[Holding]:
    """Failed folders; what nobody understood (``orphan/_unknown``) is kept until a person has looked at it."""
    for user in _folders(spool.orphan):
        if user.name == "_unknown":
            continue
        for folder, report in _documents((each.path for each in _folders(user.path)), "/error.json"):
            since = _seconds(report.get("failed_at")) if report else None
            if report is not None and since is not None:
                marks = report.get("compliance")
                until = _seconds(marks.get("retention_until")) if isinstance(marks, dict) else None
                yield Holding("orphan", folder, since, until, *_whose(report, user.name))


def statuses(spool: Spool) -> Iterator[Holding]:
    """Status files of jobs that have ended; those of living ones are never among them.

    Nor are those whose result is still there: by it a second drop of the same job is known to be one.
    """
    root, work = os.fspath(spool.root), os.fspath(spool.work)
    for path, document in _documents(_status_files(spool)):
        if document is None or document.get("state") not in _ENDED:
            continue
        since, result = _seconds(document.get("updated_at")), document.get("result")
        # text: there may be a hundred thousand
        if isinstance(result, str) and os.path.lexists(os.path.join(root, result)):  # noqa: PTH118
            continue
        job = path.rpartition("/")[2].removesuffix(".json")
        if since is not None and not os.path.lexists(f"{work}/{job}"):
            erased = document.get("state") == JobState.ERASED.value  # that much is told of it for a while
            yield Holding("status", path, since, None, "" if erased else job, *_whose(document, "")[1:])


def _status_files(spool: Spool) -> Iterator[str]:
    with suppress(FileNotFoundError), os.scandir(spool.status) as entries:
        for entry in entries:
            if entry.name.endswith(".json") and not entry.name.startswith(".") and entry.is_file(follow_symlinks=False):
                yield entry.path


def is_status_ended(path: Path) -> bool:
    """Whether a status file is (still) that of a job that has ended."""
    document = _document(os.fspath(path))
    return document is not None and document.get("state") in _ENDED


def job_of(folder: Path) -> str:
    """The job whose finished or failed folder, or album, this is; empty where it is none."""
    for name in ("manifest.json", "error.json", "album.json"):
        if (document := _document(f"{folder}/{name}")) is not None:
            return str(document.get("job_uuid") or "")
    return ""


def _files(area: Area, folder: Path) -> Iterator[Holding]:
    for parent, _, names in os.walk(folder):
        for name in names:
            path = f"{parent}/{name}"
            if (since := _changed(path)) is not None:
                yield Holding(area, path, since)


def _changed(path: str) -> float | None:
    """When it last was; ``None`` where it is gone meanwhile."""
    try:
        return os.lstat(path).st_mtime
    except FileNotFoundError:
        return None


def _folders(path: Path | str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                    yield entry
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return


def _documents(
    places: Iterable[str], name: str = "", ahead: int = _AHEAD
) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Each of ``places`` with its ``_document`` ``name``; the next ``ahead`` are open meanwhile, and on their way."""
    window: deque[tuple[str, int | None]] = deque()
    try:
        for place in places:
            window.append((place, _open(place + name)))
            if len(window) >= ahead:
                first, descriptor = window.popleft()
                yield first, _read(descriptor)
        while window:
            place, descriptor = window.popleft()
            yield place, _read(descriptor)
    finally:
        for _, descriptor in window:
            if descriptor is not None:
                os.close(descriptor)


def _document(path: str) -> dict[str, Any] | None:
    """A JSON object; ``None`` for what is absent, torn, of another form, or not ours to read.

    A hundred thousand of them: by the shortest way. A pipe or a link that somebody put there is not followed.
    """
    return _read(_open(path))


def _open(path: str) -> int | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    with suppress(OSError):  # of a pipe nothing can be asked
        os.posix_fadvise(descriptor, 0, _BLOCK, os.POSIX_FADV_WILLNEED)
    return descriptor


def _read(descriptor: int | None) -> dict[str, Any] | None:
    """What stands in the file, which is closed."""
    if descriptor is None:
        return None
    try:
        try:
            content = os.read(descriptor, _BLOCK)
            if len(content) == _BLOCK:
                content += b"".join(iter(lambda: os.read(descriptor, _BLOCK), b""))
        finally:
            os.close(descriptor)
        value = json.loads(str(content, "utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def origins(document: Mapping[str, Any]) -> tuple[str, ...]:
    """The jobs that a job came of, from its manifest or its origin."""
    album = document.get("album")
    named = (document.get("follows"), album.get("job_uuid") if isinstance(album, dict) else None)
    return tuple(each for each in named if isinstance(each, str))


def origins_in_log(folder: str) -> tuple[str, ...]:
    """The same, from the log in a finished folder, which begins with it: not every manifest has always said so."""
    descriptor = _open(f"{folder}/job.log.jsonl")
    if descriptor is None:
        return ()
    try:
        first = json.loads(os.read(descriptor, _LINE).partition(b"\n")[0])
    except (OSError, ValueError, RecursionError):
        return ()
    finally:
        os.close(descriptor)
    return origins(first) if isinstance(first, dict) else ()


def _whose(document: Mapping[str, Any], user: str) -> tuple[str, str, str]:
    return str(document.get("job_uuid") or ""), str(document.get("user_id") or user), str(document.get("inbox") or "")


def _seconds(text: Any) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
