"""Is there memory for a job? Asked before its separation begins."""

from __future__ import annotations

import ctypes
import mmap
from contextlib import suppress
from pathlib import Path

import psutil

from stemd.core.errors import StemdError


def _most(limit: int | None) -> int:
    """What a job may have: its limit, or all that the machine has. What is short for a while only is no reason."""
    machine = int(psutil.virtual_memory().total + psutil.swap_memory().total)
    return machine if limit is None else min(machine, limit)


def fits(need: int, limit: int | None) -> bool:
    """Whether ``need`` bytes are within ``limit`` and the machine."""
    return need <= _most(limit)


def check_memory(need: int, limit: int | None) -> None:
    """Refuse a job that needs more than ``limit`` bytes, or than the machine has.

    Raises:
        StemdError: STEMD-R005.
    """
    if not fits(need, limit):
        whose = "the limit is" if _most(limit) == limit else "the machine has"
        raise StemdError("STEMD-R005", f"it needs about {need / 2**30:.1f} GiB; {whose} {_most(limit) / 2**30:.1f} GiB")


def give_back() -> None:
    """Let the system have what the C library keeps of freed memory (glibc only): workers are told to keep all of it."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def let_go(file: Path) -> None:
    """Let the system have the memory of a file that is mapped for reading (Linux only): what is needed is read anew."""
    with suppress(OSError, AttributeError):
        for line in Path("/proc/self/maps").read_text().splitlines():
            span, mode, *_, path = line.split(maxsplit=5)
            if path == str(file.resolve()) and "w" not in mode:
                first, last = (int(each, 16) for each in span.split("-"))
                ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), mmap.MADV_DONTNEED)
