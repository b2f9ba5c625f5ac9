"""What the governor asks of control groups, whichever version they are."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stemd.core.job import Limits
from stemd.core.limits import Limit

#: Microseconds in which a CPU limit is counted.
PERIOD = 100_000
#: A group whose last process has just ended is still busy for a moment (seconds, times).
_PAUSE, _TIMES = 0.02, 15


@dataclass(frozen=True, slots=True)
class Reading:
    """What a leaf's files say, since the leaf was made. ``None`` where this version or kernel does not count it.

    ``memory`` is what cannot be given back (bytes), ``peak`` the most the group was charged with. ``ooms`` counts
    processes that were ended for want of memory, ``at_limit`` how often this group's own limit was why; ``refused``
    counts processes that could not be started. ``throttled`` are seconds, ``pressure`` is per cent.
    """

    memory: int = 0
    peak: int | None = None
    cpu_seconds: float | None = None
    throttled: float = 0.0
    pressure: float = 0.0
    ooms: int = 0
    at_limit: int = 0
    refused: int = 0


class Leaf(Protocol):
    """One worker's group. ``enforced`` are the limits that the kernel really keeps in it."""

    enforced: set[Limit]

    def admit(self, pid: int) -> None:
        """Move a process in; what it starts from now on is in it too. Raises OSError."""

    def limit(self, limits: Limits) -> None:
        """Replace the limits; what cannot be set is left out of ``enforced``."""

    def read(self) -> Reading: ...

    def pids(self) -> list[int]: ...

    def kill(self) -> None:
        """End every process in it."""

    def remove(self) -> bool:
        """Remove the group; ``False`` if something is still in it."""


class Groups(Protocol):
    """The part of the hierarchy that is stemd's. ``name`` is its version in words, ``place`` where it is."""

    name: str
    place: str
    enforced: frozenset[Limit]

    def leaf(self, name: str) -> Leaf:
        """Make the group ``name``. Raises OSError."""


def write(path: Path, value: str | int) -> bool:
    """Write one of the kernel's files; ``False`` where it refuses or has no such file."""
    try:
        with path.open("w") as file:  # not created: a group's files are the kernel's
            file.write(str(value))
    except OSError:
        return False
    return True


def number(path: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int(path.read_text())
    return None


def numbers(path: Path) -> Mapping[str, int]:
    """A file of ``key number`` lines; empty where it is not there."""
    with suppress(OSError, ValueError):
        return {key: int(value) for key, value in (line.split() for line in path.read_text().splitlines())}
    return {}


def members(folder: Path) -> list[int]:
    with suppress(OSError):
        return [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]
    return []


def remove(folder: Path) -> bool:
    """``rmdir``, tried again for a moment."""
    for _ in range(_TIMES):
        try:
            folder.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            time.sleep(_PAUSE)
        else:
            return True
    return False
