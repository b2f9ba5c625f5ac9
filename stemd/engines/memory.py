"""Is there memory for a job? Asked before its separation begins."""

from __future__ import annotations

import ctypes
from contextlib import suppress

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
