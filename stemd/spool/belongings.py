"""Everything that belongs to one user or one job, on every path through the spool. Looks, changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stemd.core.config import Config, parse_job, units
from stemd.core.errors import StemdError
from stemd.core.job import decode_name, is_job_id, printable
from stemd.spool import durable, holdings, ignore, ownership, sources
from stemd.spool.layout import Spool, WorkDir

_MOST_DESCRIPTION = 1 << 20


@dataclass(frozen=True, slots=True)
class Subject:
    """Who is to be erased: a user, or one job. Either is called like a file, which is looked for; nothing else is.

    Raises:
        StemdError: STEMD-X001, this is no user's name, whoever asked should have looked; STEMD-S015, no job's.
    """

    user: str | None = None
    job: str | None = None

    def __post_init__(self) -> None:
        if self.user is not None:
            try:
                units.name(self.user)
            except ValueError as error:
                raise StemdError("STEMD-X001", f"no user: {error}") from None
        if self.job is not None and not is_job_id(self.job):
            raise StemdError("STEMD-S015", f"no job is called {printable(self.job)}")

    @property
    def words(self) -> str:
        return f"user {self.user}" if self.user is not None else f"job {self.job}"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that was found: a folder or a file. ``door`` is the inbox it lies in, ``None`` where it is in none."""

    area: str
    path: Path
    job: str = ""
    door: str | None = None


@dataclass(slots=True)
class Found:
    """``items`` on all paths; ``jobs`` with the inbox each came by; ``names`` and ``hashes`` of their recordings.

    ``owner`` is the user, or whose the job is, as far as that can be told. ``others`` are jobs that stemd's own records
    give to somebody else: people can write into what lies in outbox/, and what a manifest there says, that a job is
    theirs or came of one of theirs, does not make it so.
    """

    items: list[Item] = field(default_factory=list)
    jobs: dict[str, str] = field(default_factory=dict)
    users: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    hashes: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)
    owner: str | None = None

    @property
    def inboxes(self) -> set[str]:
        """Every inbox that any of it came by, or lies in."""
        return {*self.jobs.values(), *(item.door for item in self.items if item.door is not None)}

    def add(self, area: str, path: Path, job: str = "", *documents: Mapping[str, Any] | None) -> None:
        job = "" if job in self.others or not is_job_id(job) else job
        self.items.append(Item(area, path, job))
        inbox = ""
        for document in filter(None, documents):
            inbox = str(document.get("inbox") or inbox)
            self._learn(document)
        if job:
            self.jobs[job] = self.jobs.get(job) or inbox

    def _learn(self, document: Mapping[str, Any]) -> None:
        if isinstance(user := document.get("user_id"), str):
            self.users.add(user)
        inputs = document.get("inputs")
        for source in (document, document.get("source"), *(inputs.values() if isinstance(inputs, dict) else ())):
            if isinstance(source, dict):
                if (name := _name(source.get("name"))) is not None:
                    self.names.add(name)
                if isinstance(digest := source.get("sha256"), str):
                    self.hashes.add(digest)
        for key in ("source", "title"):
            if (name := _name(document.get(key))) is not None:
                self.names.add(name)
        if isinstance(digest := document.get("source_sha256"), str):
            self.hashes.add(digest)


def find(config: Config, subject: Subject, known: Set[str] = frozenset(), owner: str | None = None) -> Found:
    """Everything of ``subject`` in all spools.

    ``known`` are jobs that are known to belong to it, if it is a job, and ``owner`` whose it is: of one that is gone by
    half nothing else may tell.
    """
    spools = [Spool(root) for root in config.spool]
    recorded = {job: user for spool in spools for job, user in _recorded(spool, config)}
    found = Found(owner=subject.user or owner)
    if subject.job is not None and found.owner is None:
        found.owner = recorded.get(subject.job) or _keeper(spools, subject.job)
    if found.owner is not None:
        found.others = {job for job, user in recorded.items() if user != found.owner}
    for spool in spools:
        wanted = _wanted(spool, subject, known, found.others)
        for part in (_in_work, _in_outbox, _in_orphan, _in_status):
            part(spool, config, subject, wanted, found)
        if subject.user is not None:
            for door, path in entries_of(spool, config, subject.user):
                found.items.append(Item("inbox", path, door=door or ""))
                found.names.add(path.name)
    return found


def is_still(config: Config, user: str | None, item: Item, path: Path) -> bool:
    """Whether what lies at ``path`` is what was found: something of others may have got its name meanwhile."""
    if item.door is not None:
        return _owner_of_entry(config, item.door or None, path) == user
    if item.area in {"outbox", "orphan"} and item.job:
        return holdings.job_of(path) in {item.job, ""}
    return True


def owner(config: Config, work: WorkDir) -> str | None:
    """Whose job the folder in work/ is, as far as it is known by now."""
    for path in (work.job, work.album, work.error):
        document = durable.read_json(path)
        if document is not None and isinstance(document.get("user_id"), str):
            return str(document["user_id"])
    origin = durable.read_json(work.origin)
    if origin is None:
        return None
    if config.inbox(origin.get("inbox") or None).trust == "manifest" and not origin.get("user_id"):
        return _claimed_user(work.src / decode_name(origin["name"]))
    return ownership.of_claimed(config, work)


def entries_of(spool: Spool, config: Config, user: str) -> Iterator[tuple[str | None, Path]]:
    """What lies in the inboxes and is this user's, by inbox: uploads in progress and hidden files included."""
    doors: tuple[str | None, ...] = (None, *dict.fromkeys((*config.inboxes, *config.users)))
    behind = {spool.inbox / name for name in doors if name}
    for door in doors:
        folder = spool.inbox / door if door else spool.inbox
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path not in behind and _owner_of_entry(config, door, path) == user:
                yield door, path


def hashes_of_others(config: Config, jobs: Set[str]) -> set[str]:
    """The hashes of recordings that jobs other than ``jobs`` are of: the same one may have been dropped by others."""
    found = Found()
    for root in config.spool:
        spool = Spool(root)
        paths = [each.path / "manifest.json" for each in holdings.finished(spool) if each.job not in jobs]
        paths += [path for path in spool.status.glob("[!.]*.json") if path.stem not in jobs]
        paths += [folder / "job.json" for folder in _children(spool.work) if folder.name not in jobs]
        paths += [each.path / "job.json" for each in holdings.failed(spool) if each.job not in jobs]
        for path in paths:
            found._learn(durable.read_json(path) or {})
    return found.hashes


def _wanted(spool: Spool, subject: Subject, known: Set[str], others: Set[str]) -> set[str]:
    """The jobs that are meant by a job: itself, those it was split into, those that followed it; finished or not."""
    if subject.job is None:
        return set()
    wanted = {subject.job, *known}
    came_of = [(job, origins) for job, origins in _lineage(spool) if job not in others and is_job_id(job)]
    while more := {job for job, origins in came_of if job not in wanted and not wanted.isdisjoint(origins)}:
        wanted |= more
    return wanted


def _lineage(spool: Spool) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each job that came of others, and those: the one whose stems it mixes, the album it was in."""
    for home in (spool.work, *_children(spool.orphan)):
        for folder in _children(home):
            origin = durable.read_json(folder / "origin.json") or {}
            if origins := holdings.origins(origin):
                yield folder.name if home == spool.work else holdings.job_of(folder), origins
    for each in holdings.finished(spool):
        if came_of := each.origins or holdings.origins_in_log(each.place):
            yield each.job, came_of


def _recorded(spool: Spool, config: Config) -> Iterator[tuple[str, str]]:
    """Jobs, and whose each is, as status/ and work/ say, into which only stemd writes."""
    for path in spool.status.glob("[!.]*.json"):
        if isinstance(user := (durable.read_json(path) or {}).get("user_id"), str):
            yield path.stem, user
    for folder in _children(spool.work):
        if (user := owner(config, WorkDir(folder))) is not None:
            yield folder.name, user


def _keeper(spools: list[Spool], job: str) -> str | None:
    """In whose folders of outbox/ and orphan/ the job lies; ``None`` where it is in those of several, or in none."""
    users = {_home(spool.outbox, each.path) for spool in spools for each in holdings.finished(spool) if each.job == job}
    users |= {_home(spool.orphan, each.path) for spool in spools for each in holdings.failed(spool) if each.job == job}
    return next(iter(users)) if len(users) == 1 else None


def _home(area: Path, folder: Path) -> str:
    """The user in whose folder of ``area`` it lies."""
    return folder.relative_to(area).parts[0]


def _in_work(spool: Spool, config: Config, subject: Subject, wanted: set[str], found: Found) -> None:
    for folder in _children(spool.work):
        if folder.name in wanted or (subject.user is not None and owner(config, WorkDir(folder)) == subject.user):
            documents = [durable.read_json(folder / name) for name in ("origin.json", "job.json", "album.json")]
            found.add("work", folder, folder.name, *documents)
            if documents[2] is not None:  # an album that is being split: its jobs are named in it
                for member in documents[2].get("jobs", ()):
                    found.jobs.setdefault(str(member["job_uuid"]), found.jobs[folder.name])


def _in_outbox(spool: Spool, config: Config, subject: Subject, wanted: set[str], found: Found) -> None:
    own = spool.outbox / subject.user if subject.user is not None else None
    for each in holdings.finished(spool):
        meant = each.job in wanted and found.owner in {None, _home(spool.outbox, each.path)}
        if meant or (subject.user is not None and each.user == subject.user):
            record = durable.read_json(each.path / ("album.json" if each.area == "album" else "manifest.json"))
            found.add("outbox", each.path, each.job, record)
    if own is not None and own.is_dir() and not own.is_symlink():
        found.add("outbox", own)


def _in_orphan(spool: Spool, config: Config, subject: Subject, wanted: set[str], found: Found) -> None:
    for home in _children(spool.orphan):
        own = subject.user is not None and home.name == subject.user
        for folder in _children(home):
            documents = [durable.read_json(folder / name) for name in ("error.json", "job.json", "origin.json")]
            report, lost = documents[0] or documents[1] or {}, home.name == "_unknown"
            job = str(report.get("job_uuid") or (_job_aside(folder) if lost else ""))
            whose = report.get("user_id") or (_owner_aside(config, folder) if lost else None)
            meant = job in wanted and (lost or found.owner in {None, home.name})
            if own or meant or (subject.user is not None and whose == subject.user):
                found.add("orphan", folder, job, *documents)
                reason = folder.with_name(f"{folder.name}.reason.txt")
                if lost and reason.exists():
                    found.add("orphan", reason)
        if own:
            found.add("orphan", home)


def _in_status(spool: Spool, config: Config, subject: Subject, wanted: set[str], found: Found) -> None:
    for path in spool.status.glob("[!.]*.json"):
        document = durable.read_json(path)
        mine = document is not None and subject.user is not None and document.get("user_id") == subject.user
        if (mine or path.stem in wanted or path.stem in found.jobs) and (document or {}).get("state") != "erased":
            found.add("status", path, path.stem, document)


def _job_aside(folder: Path) -> str:
    """The job of a folder that nobody understood: it is called like it."""
    name = folder.name.partition(" ")[0]  # the second of its name is `NAME (2)`
    return name if is_job_id(name) else ""


def _owner_aside(config: Config, folder: Path) -> str | None:
    """Whose it is, as far as what is left of its records tells."""
    with suppress(LookupError, TypeError, ValueError, StemdError, OSError):
        return owner(config, WorkDir(folder))
    return None


def _owner_of_entry(config: Config, door: str | None, path: Path) -> str | None:
    trusting = config.inbox(door).trust == "manifest"
    return _claimed_user(path) if trusting else ownership.of_entry(config, door, path)


def _claimed_user(path: Path) -> str | None:
    """The user that a staged job's own description names; whatever else somebody wrote there hinders nobody."""
    for name in ignore.JOB_FILES:
        with suppress(Exception), sources.opened(sources.regular_beneath(path, name)) as file:
            return parse_job(file.read(_MOST_DESCRIPTION), name).user_id
    return None


def _children(folder: Path) -> list[Path]:
    try:
        names = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    with names:
        return sorted(
            Path(each.path) for each in names if each.is_dir(follow_symlinks=False) and not each.name.startswith(".")
        )


def _name(value: Any) -> str | None:
    try:
        return decode_name(value) if isinstance(value, str | dict) and value else None
    except (KeyError, TypeError, ValueError):
        return None
