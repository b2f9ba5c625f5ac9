"""What this process and those it started have used: CPU seconds and peak memory."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from pathlib import Path

import psutil

_PROC = Path("/proc")
_LISTS_CHILDREN = Path("/proc/thread-self/children").exists()


def cpu_seconds() -> float:
    """CPU time so far: of this process, of its children that have ended, and of those that run."""
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    total = own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime
    for pid in _descendants():
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
    if not _LISTS_CHILDREN:
        return [child.pid for child in psutil.Process().children(recursive=True)]
    pids = [os.getpid()]
    for each in pids:
        with suppress(OSError):
            for task in os.listdir(f"/proc/{each}/task"):  # noqa: PTH208  asked for several times a job
                with suppress(OSError), open(f"/proc/{each}/task/{task}/children", "rb") as file:  # noqa: PTH123
                    pids += map(int, file.read().split())
    return pids[1:]


def _peak_of(pid: str) -> int:
    with suppress(OSError):
        for line in (_PROC / pid / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if pid == "self" else 0
