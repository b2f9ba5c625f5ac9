"""What lies in the inboxes, and why, as far as it can be told by looking: no daemon is asked, nothing is changed."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stemd.core.errors import StemdError
from stemd.core.job import is_job_id, printable
from stemd.spool import ignore, intake
from stemd.spool.intake import Door, Refusal, doors
from stemd.spool.layout import Spool
from stemd.spool.settle import Sighting

__all__ = ["Door", "Waiting", "doors", "locate", "no_daemon", "waiting"]

_MAX_DESCRIPTION = 256 * 1024


@dataclass(frozen=True, slots=True)
class Waiting:
    """One entry behind the door called ``door`` (``None``: the inbox itself); ``error`` says why it is not taken.

    ``job_uuid`` is the id a staged job asks for in its job.json; ``held``: a person holds it back.
    """

    path: Path
    door: str | None
    error: StemdError | None
    job_uuid: str | None = None
    held: bool = False


def no_daemon(spool: Spool) -> StemdError:
    return StemdError("STEMD-S017", f"no daemon is running on {printable(str(spool.root))}")


def waiting(all_doors: tuple[Door, ...]) -> Iterator[Waiting]:
    """What lies behind the doors, names that are left alone on purpose not counted."""
    for door in all_doors:
        for entry in sorted(intake.entries(door, all_doors), key=lambda entry: entry.name):
            if ignore.ignored(entry.name) is None and not ignore.is_sidecar(entry.name):
                path = Path(entry.path)
                yield Waiting(path, door.name, _refusal(path, door), _wanted_id(path))


def locate(path: Path, all_doors: tuple[Door, ...]) -> Waiting | None:
    """The entry behind a door that ``path`` is or lies in, with the reason it is not taken; ``None``: behind none.

    Symbolic links on the way are followed, but never the last part itself.
    """
    place = path.absolute()
    place = place.parent.resolve() / place.name
    by_folder = {door.path.resolve(): door for door in all_doors}
    for candidate in (place, *place.parents):
        door = by_folder.get(candidate.parent)
        if door is not None and candidate not in by_folder:
            entry = door.path / candidate.name
            error = _error(entry, door)
            return Waiting(entry, door.name, error, _wanted_id(entry))
    return None


def _wanted_id(entry: Path) -> str | None:
    """The job_uuid in the job.json of a staged job. Whoever may drop wrote it, so it is read with care."""
    try:
        descriptor = os.open(entry / "job.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            document = json.loads(file.read(_MAX_DESCRIPTION))
    except (OSError, ValueError, RecursionError):
        return None
    wanted = document.get("job_uuid") if isinstance(document, dict) else None
    return wanted.lower() if isinstance(wanted, str) and is_job_id(wanted.lower()) else None


def _error(entry: Path, door: Door) -> StemdError | None:
    reason = ignore.ignored(entry.name)
    if reason is not None:
        return StemdError("STEMD-S009", f"{reason.sentence}: {printable(entry.name)!r} is left alone on purpose")
    if ignore.is_sidecar(entry.name):
        return StemdError("STEMD-S009", f"it is taken together with {printable(entry.name[: -len('.job.yaml')])!r}")
    return _refusal(entry, door)


def _refusal(path: Path, door: Door) -> StemdError | None:
    """The rule that keeps an entry from being taken as it is.

    Permissions are the service's own to judge: who looks as somebody else says nothing about them.
    """
    try:
        facts = path.lstat()
        refusal = intake.refuse(path, facts)
        if refusal is None and stat.S_ISDIR(facts.st_mode):
            result = intake.classify(Sighting(os.fspath(path), None, tree=True), door)
            refusal = result if isinstance(result, Refusal) else None
        stranger = os.geteuid() != door.path.stat().st_uid
    except FileNotFoundError:
        return StemdError("STEMD-S018", f"{printable(str(path))} is not in the inbox (any more)")
    except PermissionError:
        return None
    if refusal is None or (stranger and refusal.error.code == "STEMD-S006"):
        return None
    return refusal.error
