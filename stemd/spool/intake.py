"""What lies in the inbox: sightings for the tracker, candidates for the claim, and reasons for everything else."""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from stemd.core.errors import StemdError
from stemd.core.job import printable
from stemd.spool import ignore
from stemd.spool.layout import Spool
from stemd.spool.settle import Arrival, Sighting
from stemd.spool.survey import DEEPEST, is_deepest, is_staged, survey, walk


class Kind(Enum):
    FILE = "file"
    STAGED = "staged"
    ALBUM = "album"


@dataclass(frozen=True, slots=True)
class Door:
    """One folder people drop into. ``name`` is ``None`` for the inbox itself, else that of an inbox or user.

    ``whole``: a folder dropped here is one job, a mix, not an album.
    """

    name: str | None
    path: Path
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A complete entry, ready to be claimed. ``sidecar`` is the ``….job.yaml`` that came with a bare file."""

    path: Path
    door: Door
    kind: Kind
    fingerprint: tuple[int, int, int]
    sidecar: Path | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An entry that is never taken as it is, with the reason ``stemd why`` shows."""

    path: Path
    error: StemdError


def doors(
    spool: Spool, names: Mapping[str, object] | frozenset[str], whole: Container[str | None] = ()
) -> tuple[Door, ...]:
    """The inbox itself and its configured subfolders; ``whole`` names those whose folders are one job each."""
    subfolders = (Door(name, spool.inbox / name, name in whole) for name in sorted(names))
    return (Door(None, spool.inbox, None in whole), *subfolders)


def entries(door: Door, all_doors: tuple[Door, ...]) -> Iterator[os.DirEntry[str]]:
    """What lies directly behind a door, other doors left out."""
    others = {other.path.name for other in all_doors if other.name} if door.name is None else set()
    try:
        with os.scandir(door.path) as listing:
            for entry in listing:
                if entry.name not in others:
                    yield entry
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return


def look(entry: os.DirEntry[str], arrivals: Mapping[str, Arrival]) -> Sighting | Refusal | None:
    """One look at one entry: something to watch, something refused, or (``None``) nothing of ours.

    ``arrivals`` are what the watcher knows about how paths came.
    """
    path = Path(entry.path)
    if ignore.ignored(entry.name) is not None or ignore.is_sidecar(entry.name):
        return None
    try:
        facts = entry.stat(follow_symlinks=False)
        refusal = refuse(path, facts)
        if refusal is not None:
            return refusal
        arrival = arrivals.get(entry.path, Arrival.GROWN)
        if stat.S_ISDIR(facts.st_mode):
            return Sighting(entry.path, _tree_fingerprint(path), arrival, tree=True)
        return Sighting(entry.path, (_fingerprint(facts), _sidecar_fingerprint(path)), arrival)
    except FileNotFoundError:
        return None
    except OSError as error:
        return Refusal(path, StemdError("STEMD-S006", f"it cannot be looked at: {error.strerror}"))


def refuse(path: Path, facts: os.stat_result) -> Refusal | None:
    """Whether an entry is of a kind or mode that cannot be taken."""
    folder, regular = stat.S_ISDIR(facts.st_mode), stat.S_ISREG(facts.st_mode)
    error = None
    if not (folder or regular):
        error = StemdError("STEMD-S007", f"it is a {_kind_name(facts.st_mode)}")
    elif regular and not ignore.is_audio(path.name):
        error = StemdError("STEMD-S009", f"no audio suffix: {ignore.suffix(path.name) or 'none'}")
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        error = StemdError("STEMD-S006", f"stemd may not take things out of the folder {path.parent.name!r}")
    elif not os.access(path, os.R_OK | os.W_OK | os.X_OK if folder else os.R_OK):
        error = StemdError("STEMD-S006", f"mode {stat.filemode(facts.st_mode)}, owner {facts.st_uid}")
    return Refusal(path, error) if error else None


def classify(sighting: Sighting, door: Door) -> Candidate | Refusal:
    """What a settled entry is: a bare file, a staged job or an album; a folder without recordings is refused.

    A mix is like a staged job, with or without a description.
    """
    path = Path(sighting.key)
    facts = path.lstat()
    fingerprint = identity_of(facts)
    if not sighting.tree:
        sidecar = _sidecar(path)
        return Candidate(path, door, Kind.FILE, fingerprint, sidecar if os.path.lexists(sidecar) else None)
    if (refusal := refused_inside(path)) is not None:
        return refusal
    found, staged = survey(path), is_staged(path)
    if not (found.jobs or staged):
        return Refusal(path, StemdError("STEMD-S009", "a folder without audio and without a job.yaml"))
    if found.unfinished and sighting.arrival is Arrival.GROWN:
        message = f"{printable(found.unfinished[0])!r} in it is the name of an upload in progress"
        remedy = "Wait until the upload ends; if it was broken off, remove that file: the folder is taken without it."
        return Refusal(path, StemdError("STEMD-S009", message, remedy=remedy))
    return Candidate(path, door, Kind.STAGED if staged or door.whole else Kind.ALBUM, fingerprint)


def refused_inside(folder: Path, folders: int = os.W_OK | os.X_OK) -> Refusal | None:
    """The first thing in a tree that is no file or folder, or may not be read: such a tree is not taken.

    ``folders`` is what must be allowed on folders besides reading them.
    """
    for parent, directories, files in walk(folder):
        if directories and is_deepest(folder, parent):
            return Refusal(
                folder, StemdError("STEMD-S009", f"more than {DEEPEST} folders lie within one another in it")
            )
        for name in [*directories, *files]:
            path = Path(parent, name)
            mode = path.lstat().st_mode
            inside = path.relative_to(folder)
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                return Refusal(folder, StemdError("STEMD-S007", f"{str(inside)!r} in it is a {_kind_name(mode)}"))
            wanted = os.R_OK | (folders if stat.S_ISDIR(mode) else 0)
            if not os.access(path, wanted):
                return Refusal(folder, StemdError("STEMD-S006", f"{str(inside)!r} in it: mode {stat.filemode(mode)}"))
    return None


def recordings(candidate: Candidate) -> list[Path]:
    """The files in an entry that may be recordings; a bare file is one."""
    if candidate.kind is Kind.FILE:
        return [candidate.path]
    return [candidate.path / inside for inside in survey(candidate.path).recordings]


def unchanged(sighting: Sighting) -> bool:
    """Whether an entry still looks as it did: taking many takes a while.

    Raises:
        FileNotFoundError: it is gone.
    """
    path = Path(sighting.key)
    if sighting.tree:
        return _tree_fingerprint(path) == sighting.fingerprint
    return (_fingerprint(path.lstat()), _sidecar_fingerprint(path)) == sighting.fingerprint


def belonging(sighting: Sighting) -> tuple[Path, ...]:
    """What must be complete before an entry is: itself, and the description beside a bare file."""
    path = Path(sighting.key)
    if sighting.tree or _sidecar_fingerprint(path) is None:
        return (path,)
    return path, _sidecar(path)


def identity(path: Path) -> tuple[int, int, int]:
    """Inode, size and mtime_ns: what a rename does not change."""
    return identity_of(path.lstat())


def identity_of(facts: os.stat_result) -> tuple[int, int, int]:
    """The same of a file whose facts are known."""
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def _fingerprint(facts: os.stat_result) -> tuple[int, int, int, int]:
    return facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ignore.SIDECAR_SUFFIX)


def _sidecar_fingerprint(path: Path) -> tuple[int, int, int, int] | None:
    try:
        return _fingerprint(_sidecar(path).lstat())
    except OSError:  # absent, or the recording's name leaves no room for the suffix
        return None


def _tree_fingerprint(root: Path) -> tuple[tuple[str, tuple[int, int, int, int]], ...]:
    found = []
    for folder, directories, files in walk(root):
        directories.sort()
        for name in sorted([*directories, *files]):
            path = Path(folder, name)
            found.append((str(path), _fingerprint(path.lstat())))
    return tuple(found)


def _kind_name(mode: int) -> str:
    kinds = {
        stat.S_ISLNK: "symbolic link",
        stat.S_ISFIFO: "FIFO",
        stat.S_ISSOCK: "socket",
        stat.S_ISCHR: "character device",
        stat.S_ISBLK: "block device",
    }
    return next((name for test, name in kinds.items() if test(mode)), "special file")
