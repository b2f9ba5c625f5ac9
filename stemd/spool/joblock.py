"""Who is working on a job: daemon and worker each hold a shared ``flock`` on ``work/J/lock`` (step W2).

Recovery probes it exclusively. The kernel lets go of it when the last holder dies, however it dies.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stemd.core.errors import StemdError
from stemd.spool.layout import WorkDir


def _open(work: WorkDir) -> int:
    return os.open(work.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


@contextmanager
def hold(work: WorkDir) -> Iterator[None]:
    """Hold the job's shared lock for the block."""
    descriptor = _open(work)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def held(work: WorkDir) -> bool:
    """Whether any process works on the job."""
    descriptor = _open(work)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def holders(work: WorkDir) -> frozenset[int]:
    """The other processes that hold the lock: named by ``/proc/locks``, and the file is open in them."""
    lock = work.lock.stat()
    found = set()
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if "FLOCK" in fields and fields[-3].rsplit(":", 1)[-1] == str(lock.st_ino):
            found.add(int(fields[-4]))
    return frozenset(pid for pid in found - {os.getpid()} if _has_open(pid, lock))


def _has_open(pid: int, lock: os.stat_result) -> bool:
    """Whether a process has this very file open: inode numbers repeat from one file system to the next."""
    try:
        opened = [path.stat() for path in Path(f"/proc/{pid}/fd").iterdir() if path.exists()]
    except OSError:
        return False
    return any((facts.st_dev, facts.st_ino) == (lock.st_dev, lock.st_ino) for facts in opened)


def release(work: WorkDir, patience: float = 10.0) -> None:
    """Wait ``patience`` seconds for a left-over worker to let go, then kill it, and wait that long once more.

    Raises:
        StemdError: STEMD-S001, it still holds the job.
    """
    deadline = time.monotonic() + patience
    while held(work):
        if time.monotonic() > deadline + patience:
            raise StemdError("STEMD-S001", f"another process still works on job {work.job_id}")
        if time.monotonic() > deadline:
            for pid in holders(work):
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
