"""The spool as one truth for the command line, the page and the metrics; needs no daemon and changes nothing.

Everything is read from the folders: ``status/`` first, and ``work/``, ``orphan/`` and the inboxes for what has no
status file. A status that only a living daemon can make true ("running") is not believed when there is none.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from stemd.core.errors import StemdError
from stemd.core.job import printable
from stemd.ops import inboxes
from stemd.ops.jobs import JobView, believed, from_inbox, from_orphan, from_status, from_work, kept_reasons, owner_of
from stemd.spool import durable, intents, probes
from stemd.spool.intents import Intent
from stemd.spool.layout import Spool

__all__ = ["JobView", "Root", "Snapshot", "Where", "find_in_inbox", "find_job", "owner_of", "read_job", "snapshot"]

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

    def state_of(self, root: Path) -> Path: ...


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


@contextmanager
def _permitted() -> Iterator[None]:
    """What the system forbids, as STEMD-S006."""
    try:
        yield
    except PermissionError as error:
        remedy = "Ask the operator to let you read the spool (its group), or run this as the service's user."
        raise StemdError("STEMD-S006", f"{printable(str(error.filename))}: {error.strerror}", remedy=remedy) from error


def _spools(where: Where) -> Iterator[Spool]:
    for spool in map(Spool, where.spool):
        probes.present(spool)
        yield spool


class Memory:
    """What was read at earlier looks, by file; a file that was replaced since has another inode, time or size."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[tuple[int, int, int], JobView | None]] = {}
        self._seen: set[str] = set()

    def read(self, path: str, load: Callable[[], JobView | None]) -> JobView | None:
        """What ``load`` makes of ``path``, now or earlier."""
        self._seen.add(path)
        try:
            facts = os.stat(path)  # noqa: PTH116  thousands of plain names, as below
        except OSError:
            return load()
        identity = (facts.st_ino, facts.st_mtime_ns, facts.st_size)
        held = self._held.get(path)
        if held is None or held[0] != identity:
            held = self._held[path] = (identity, load())
        return held[1]

    def forget(self) -> None:
        """Let go of what was not seen since the last call."""
        self._held = {path: held for path, held in self._held.items() if path in self._seen}
        self._seen = set()


@_permitted()
def snapshot(where: Where, memory: Memory | None = None) -> Snapshot:
    """Look at all spools; ``memory`` keeps what need not be read again at the next look.

    Raises:
        StemdError: STEMD-S005 or STEMD-S019 (a root is not there, or not mounted), STEMD-S006 (it may not be read).
    """
    roots: list[Root] = []
    jobs: list[JobView] = []
    arriving: list[JobView] = []
    memory = Memory() if memory is None else memory
    for spool in _spools(where):
        owner = owner_of(spool)
        roots.append(Root(str(spool.root), owner))
        views = (load() for load in _index(spool, memory).values())
        jobs += [believed(view, owner) for view in views if view is not None]
        decided, kept = _decided(spool, where), kept_reasons(spool)
        waiting = inboxes.waiting(_doors(spool, where))
        arriving += [_arriving(spool, found, owner, where, decided, kept) for found in waiting]
    memory.forget()
    jobs.sort(key=lambda job: (job.claimed_at or "", job.job_uuid or ""))
    return Snapshot(tuple(roots), (*jobs, *arriving))


@_permitted()
def find_job(where: Where, text: str) -> JobView:
    """The job a person means: an id or a unique part of its beginning or end (≥ 4 characters), the name or path of
    its folder in orphan/, or the path of a file in an inbox.

    Raises:
        StemdError: STEMD-S015 (none, or several: the message names them), STEMD-S005, STEMD-S019, STEMD-S006.
    """
    found: dict[str, tuple[Spool, Callable[[], JobView | None]]] = {}
    for spool in _spools(where):
        index = _index(spool)
        wanted = _matching(spool, index, text)
        found.update({job_id: (spool, index[job_id]) for job_id in wanted if job_id in index})
    if len(found) == 1:
        spool, load = next(iter(found.values()))
        view = load()
        if view is not None:
            return believed(view, owner_of(spool))
    if len(found) > 1:
        shown = ", ".join(sorted(found)[:_SHOWN_MATCHES]) + (", …" if len(found) > _SHOWN_MATCHES else "")
        message = f"{printable(text)} fits {len(found)} jobs: {shown}"
        raise StemdError("STEMD-S015", message, detail={"matches": sorted(found)})
    view = find_in_inbox(where, Path(text)) or _find_staged(where, text.lower())
    if view is None:
        raise StemdError("STEMD-S015", f"no job and no file in an inbox is called {printable(text)!r}")
    return view


@_permitted()
def read_job(spool: Spool, job_id: str) -> JobView | None:
    """One job by its whole id; ``None`` when neither ``status/`` nor ``work/`` knows it (yet)."""
    view = from_status(spool, job_id)
    if view is None and job_id in _names(spool.work):
        view = from_work(spool, job_id)
    return believed(view, owner_of(spool)) if view else None


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


def _index(spool: Spool, memory: Memory | None = None) -> dict[str, Callable[[], JobView | None]]:
    """Every job's id, with the way to read it."""
    memory = Memory() if memory is None else memory
    index: dict[str, Callable[[], JobView | None]] = {}
    status = os.fspath(spool.status)
    for job_id in _names(spool.status, ".json"):
        index[job_id] = partial(memory.read, f"{status}/{job_id}.json", partial(from_status, spool, job_id))
    for job_id in _names(spool.work):
        index.setdefault(job_id, partial(from_work, spool, job_id))
    known = {job_id[-8:] for job_id in index}
    for folder in orphan_folders(spool):
        if folder.name[-8:] not in known:
            view = memory.read(f"{folder}/error.json", partial(from_orphan, spool, folder))
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


@_permitted()
def find_in_inbox(where: Where, path: Path) -> JobView | None:
    """The entry of an inbox that ``path`` is or lies in; ``None`` where there is none."""
    for spool in map(Spool, where.spool):
        found = inboxes.locate(path, _doors(spool, where))
        if found is not None and os.path.lexists(found.path):
            return _arriving(spool, found, owner_of(spool), where)
    return None


def _find_staged(where: Where, text: str) -> JobView | None:
    """A staged job that still lies in an inbox, by the id it asks for."""
    if len(text) < MIN_ID:
        return None
    for spool in map(Spool, where.spool):
        for found in inboxes.waiting(_doors(spool, where)):
            if found.job_uuid and (found.job_uuid.startswith(text) or found.job_uuid.endswith(text)):
                return _arriving(spool, found, owner_of(spool), where)
    return None


def _arriving(
    spool: Spool,
    found: inboxes.Waiting,
    owner: int | None,
    where: Where,
    decided: Mapping[str, Intent] | None = None,
    kept: Mapping[str, Any] | None = None,
) -> JobView:
    user = found.door if found.door and found.door in where.users else None
    name = str(found.path.relative_to(spool.inbox))
    held = (_decided(spool, where) if decided is None else decided).get(name) is Intent.HOLD
    return from_inbox(spool, replace(found, held=held), owner, user, kept)


def _decided(spool: Spool, where: Where) -> dict[str, Intent]:
    """What people decided about entries of the inboxes; nothing, for those who may not know."""
    with suppress(PermissionError):
        return intents.read(intents.place(where.state_of(spool.root), spool.root))
    return {}


def _doors(spool: Spool, where: Where) -> tuple[inboxes.Door, ...]:
    return inboxes.doors(spool, frozenset(where.inboxes) | frozenset(where.users))
