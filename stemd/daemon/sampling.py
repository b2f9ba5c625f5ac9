"""What processes and folders use, by looking."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from stemd.daemon.cgroups.leaf import Reading

_PAGE, _TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
_VMSTAT = Path("/proc/vmstat")
#: Kernels may be built without it (``CONFIG_PROC_CHILDREN``).
_LISTS_CHILDREN = Path("/proc/thread-self/children").exists()


@dataclass(frozen=True, slots=True)
class Raw:
    """Counters as they are, at one moment (monotonic seconds)."""

    at: float
    memory: int = 0
    tasks: int = 0
    cpu_seconds: float = 0.0
    read_bytes: int = 0
    written_bytes: int = 0
    group: Reading = field(default_factory=Reading)


def children_of_all() -> Mapping[int, list[int]]:
    """Every process's children, of ``/proc/PID/stat`` (proc(5)): psutil takes nearly three times as long."""
    found: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdecimal():
            with suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                after_name = file.read().rpartition(b")")[2]  # a name may hold anything
                found.setdefault(int(after_name.split(None, 2)[1]), []).append(int(name))
    return found


def tree(pid: int, children: Mapping[int, list[int]] | None) -> list[int]:
    """A process and all that it started and that they started."""
    children = children_of_all() if children is None else children
    pids = [pid]
    for each in pids:
        pids += children.get(each, [])
    return pids


def tree_now(pid: int) -> list[int]:
    """As ``tree``, by the kernel's own lists (``/proc/PID/task/TID/children``): a tenth of the work.

    What starts or ends at this moment may be missing, so this is for counting and not for ending processes.
    """
    if not _LISTS_CHILDREN:
        return tree(pid, None)
    pids = [pid]
    for each in pids:
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{each}/task"):  # noqa: PTH208
                with suppress(OSError):
                    pids += map(int, _read(f"/proc/{each}/task/{thread}/children").split())
    return pids


def counted(pids: Iterable[int]) -> Raw:
    """The sum over processes, of ``/proc/PID/stat`` and ``io`` (proc(5)): psutil opens eleven files for each.

    Of those that ended meanwhile, what their parents inherited.
    """
    memory = tasks = ticks = read = written = 0
    for pid in pids:
        with suppress(OSError, ValueError, LookupError):
            fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()  # from the third on: the state
            ticks += sum(map(int, fields[11:15]))  # of its own, and of its children that ended
            tasks += int(fields[17])
            memory += int(fields[21]) * _PAGE
            io = dict(line.split(b": ") for line in _read(f"/proc/{pid}/io").splitlines())
            read, written = read + int(io[b"read_bytes"]), written + int(io[b"write_bytes"])
    return Raw(time.monotonic(), memory, tasks, ticks / _TICKS, read, written)


def _read(path: str) -> bytes:
    """A file that the kernel makes as it is read: all of it at once."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 1 << 16)
    finally:
        os.close(descriptor)


def size(folder: Path) -> int:
    """Bytes that the files below take on the disk; those that go away meanwhile count or not."""
    total = 0
    folders = [folder]
    for each in folders:
        with suppress(OSError), os.scandir(each) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total


def machine_ooms() -> int:
    """How many processes the kernel has ended for want of memory since the machine's start."""
    with suppress(OSError, ValueError):
        for line in _VMSTAT.read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
