"""What this process and those it started have used: CPU seconds and peak memory."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from pathlib import Path

import psutil

_PROC = Path("/proc")


def cpu_seconds() -> float:
    """CPU time so far: of this process, of its children that have ended, and of those that run."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = ended.ru_utime + ended.ru_stime
    for pid in (os.getpid(), *_descendants()):
        with suppress(psutil.Error):
            times = psutil.Process(pid).cpu_times()
            total += times.user + times.system
    return total


def reset_peak() -> None:
    """Start the kernel's peaks of memory anew (``clear_refs``, proc(5)); not every kernel allows it."""
    for pid in _pids():
        with suppress(OSError):
            (_PROC / pid / "clear_refs").write_text("5")


def peak_rss() -> int:
    """Peak resident memory since ``reset_peak``, bytes: the sum of the processes' (``VmHWM``), so an upper bound."""
    return sum(map(_peak_of, _pids()))


def _pids() -> list[str]:
    return ["self", *map(str, _descendants())]


def _descendants() -> list[int]:
    """All processes below this one, from the kernel's own lists (proc(5)): psutil would look at every process there is.

    A kernel without those lists (``CONFIG_PROC_CHILDREN``) has them found by psutil.
    """
    if not (_PROC / "thread-self" / "children").exists():
        return [child.pid for child in psutil.Process().children(recursive=True)]
    found, parents = [], [os.getpid()]
    while parents:
        children: list[int] = []
        for task in (_PROC / str(parents.pop()) / "task").glob("*/children"):
            with suppress(OSError):
                children += map(int, task.read_text().split())
        found += children
        parents += children
    return found


def _peak_of(pid: str) -> int:
    with suppress(OSError):
        for line in (_PROC / pid / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if pid == "self" else 0
