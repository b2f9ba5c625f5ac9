"""What this process and those it started have used: CPU seconds and peak memory."""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path

import psutil

_PROC = Path("/proc")


def cpu_seconds() -> float:
    """CPU time so far: of this process, of its children that have ended, and of those that run."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = ended.ru_utime + ended.ru_stime
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with suppress(psutil.Error):
            times = process.cpu_times()
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
    return ["self", *(str(child.pid) for child in psutil.Process().children(recursive=True))]


def _peak_of(pid: str) -> int:
    with suppress(OSError):
        for line in (_PROC / pid / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if pid == "self" else 0
