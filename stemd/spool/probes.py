"""Start-up checks of a spool: what the protocol relies on is tried out, not assumed."""

from __future__ import annotations

import fcntl
import itertools
import os
import secrets
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from stemd.core.errors import StemdError
from stemd.spool import durable
from stemd.spool.layout import AREAS, Spool

_PROBE = ".stemd-probe-"


def prepare(spool: Spool, doors: Iterable[str]) -> None:
    """Make the areas and inboxes that are missing below an existing root.

    Raises:
        StemdError: STEMD-S005 (no root), STEMD-S003 (not allowed).
    """
    try:
        if not spool.root.is_dir():
            raise StemdError("STEMD-S005", f"{spool.root} is not there", remedy=f"Mount it, or: mkdir -p {spool.root}")
        for area in AREAS:
            (spool.root / area).mkdir(exist_ok=True)
        _private(spool)
        for door in doors:
            _open_door(spool.inbox, door)
    except OSError as error:
        raise StemdError("STEMD-S003", f"{error.filename}: {error.strerror}") from error


def _private(spool: Spool) -> None:
    """Only the service enters work/; what is made there gets the group that a set-group-id outbox hands down."""
    outbox = spool.outbox.stat()
    handed_down = outbox.st_mode & stat.S_ISGID
    if handed_down:
        os.chown(spool.work, -1, outbox.st_gid)
    spool.work.chmod(0o700 | handed_down)


def _open_door(inbox: Path, name: str) -> None:
    """An inbox's folder takes over mode and group of the inbox around it, so that who may drop there may drop here."""
    path = inbox / name
    if path.is_dir():
        return
    path.mkdir()
    path.chmod(inbox.stat().st_mode & 0o7777)


def take_lock(spool: Spool) -> int:
    """Own the spool for the life of the process; returns the descriptor that holds the lock.

    Raises:
        StemdError: STEMD-S001, another process owns it; STEMD-S003, the lock file cannot be opened.
    """
    try:
        descriptor = os.open(spool.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise StemdError("STEMD-S003", f"{spool.lock}: {error.strerror}") from error
    if not _lock_soon(descriptor):
        owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise StemdError("STEMD-S001", f"{spool.root} is owned by process {owner or 'unknown'}")
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _lock_soon(descriptor: int) -> bool:
    """Take the lock; a look by ``owner`` may hold it for an instant, so ask a few times."""
    for _ in range(5):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return True
    return False


def owner(spool: Spool) -> int | None:
    """The process that owns the spool now; ``None`` when nobody does."""
    try:
        descriptor = os.open(spool.lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        return int(text) if text.isdigit() else 0
    finally:
        os.close(descriptor)
    return None


def check(spool: Spool) -> None:
    """Try every operation of the protocol between every pair of areas.

    Raises:
        StemdError: STEMD-S002 (more than one mount), STEMD-S003 (not writable), STEMD-S004 (a call is missing).
    """
    _no_leftovers(spool)
    probe = _write_probe(spool.root / AREAS[0])
    for _, area in itertools.pairwise((*AREAS, AREAS[0])):
        probe = _move(probe, spool.root / area)
    _check_noreplace(probe)
    probe.unlink()
    folder = spool.work / f"{_PROBE}{secrets.token_hex(8)}"
    folder.mkdir()
    moved = _move(folder, spool.outbox)
    moved.rmdir()


def _no_leftovers(spool: Spool) -> None:
    """Remove what a check that was killed left behind; a stranger's things of such a name stay."""
    for area in AREAS:
        for path in (spool.root / area).glob(f"{_PROBE}*"):
            with suppress(OSError):
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def _write_probe(folder: Path) -> Path:
    probe = folder / f"{_PROBE}{secrets.token_hex(8)}"
    try:
        with probe.open("xb") as file:
            file.write(b"stemd")
            file.flush()
            os.fsync(file.fileno())
        durable.fsync(folder)
    except OSError as error:
        code = "STEMD-R003" if error.errno in durable.FULL else "STEMD-S003"
        raise StemdError(code, f"{folder}: {error.strerror}") from error
    except StemdError as error:
        raise StemdError("STEMD-S004", f"{folder}: {error.message}") from error
    return probe


def _move(probe: Path, folder: Path) -> Path:
    target = folder / probe.name
    try:
        durable.rename(probe, target)
        durable.fsync(folder)
    except StemdError as error:
        cross = error.detail.get("errno") == 18
        code = "STEMD-S002" if cross else "STEMD-S003" if error.detail.get("errno") in {1, 13, 30} else "STEMD-S004"
        raise StemdError(code, f"{probe.parent} → {folder}: {error.message}") from error
    return target


def _check_noreplace(probe: Path) -> None:
    other = probe.with_name(f"{probe.name}.2")
    other.touch(exist_ok=False)
    try:
        durable.rename(other, probe)
    except FileExistsError:
        other.unlink()
        return
    raise StemdError("STEMD-S004", f"{probe.parent}: a rename replaced a file although it was told not to")
