"""Start-up checks of a spool: what the protocol relies on is tried out, not assumed.

A spool knows itself by a marker, ``ROOT/.stemd-spool``. A root with neither a marker nor an inbox is taken for the
empty folder below a missing mount, and left as it is.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import os
import re
import secrets
import stat
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from stemd.core.errors import StemdError
from stemd.core.job import SCHEMA_VERSION
from stemd.spool import durable
from stemd.spool.layout import AREAS, Spool

_PROBE = ".stemd-probe-"
#: What the system says of a root that is not there: never of one that it only cannot open now.
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENOTCONN, errno.EIO})
#: What it says of a mount whose other end does not answer, be it a server, a FUSE program or a drive.
_AWAY = frozenset({
    errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN,
    errno.ENETUNREACH, errno.ETIMEDOUT, errno.EREMOTEIO, errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET,
    errno.ESHUTDOWN, errno.ENODEV, errno.ENXIO,
})  # fmt: skip
#: What a person must mend: rights, or something else in the place of a folder.
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.EISDIR, errno.ELOOP})
#: What it says of a call that it does not have, or not for this.
_LACKING = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.ENOTTY, errno.ENAMETOOLONG})


@dataclass(frozen=True, slots=True)
class Identity:
    """Device and inode of a root, and what its marker says: a folder that is made anew may get the same inode."""

    root: tuple[int, int]
    marker: bytes


def present(spool: Spool) -> None:
    """Look whether the spool itself is at its root, and not the bare folder it is to be mounted on.

    Raises:
        StemdError: STEMD-S005 (no root, or nobody answers for it), STEMD-S019 (nothing of a spool in it).
        OSError: it cannot be told.
    """
    try:
        if not _is_folder(spool.root):
            raise StemdError("STEMD-S005", f"{spool.root} is not there", remedy=f"Mount it, or: mkdir -p {spool.inbox}")
        if not os.path.lexists(spool.marker) and not _is_folder(spool.inbox):
            message = f"{spool.root} has neither {spool.marker.name} nor inbox/ in it"
            raise StemdError("STEMD-S019", message, remedy=f"Mount it. Only for a new spool, once: mkdir {spool.inbox}")
    except OSError as error:
        if error.errno not in _GONE | _AWAY:
            raise
        raise _away(spool.root, error) from error


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _away(root: Path, error: OSError) -> StemdError:
    remedy = f"Mount it again; what is left of a mount whose server has gone is taken away by: umount -l {root}"
    return StemdError("STEMD-S005", f"{root}: {error.strerror}", remedy=remedy)


def _code(number: int | None) -> str:
    """Which code an error number of the start-up checks has. Only rights, and calls that are missing, need a person."""
    if number in durable.FULL:
        return "STEMD-R003"
    if number in _AWAY:
        return "STEMD-S005"
    if number in _DENIED:
        return "STEMD-S003"
    if number in _LACKING:
        return "STEMD-S004"
    return "STEMD-S002" if number == errno.EXDEV else "STEMD-S014"


@contextmanager
def _explained(where: Path) -> Iterator[None]:
    """What the disk says against the block becomes a code of the start-up checks; ``where``, unless it says itself."""
    try:
        yield
    except OSError as error:
        raise StemdError(_code(error.errno), f"{error.filename or where}: {error.strerror}") from error


def identity(spool: Spool) -> Identity | None:
    """What is at the root now; ``None`` where there is no spool. Cheap enough for every second.

    Raises:
        OSError: it cannot be told now (no descriptors left, say).
    """
    try:
        facts = spool.root.stat()
        return Identity((facts.st_dev, facts.st_ino), spool.marker.read_bytes())
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise


def still_there(spool: Spool, before: Identity | None) -> None:
    """Look whether the root is still the one that had this identity.

    Raises:
        StemdError: STEMD-S020.
    """
    try:
        now = identity(spool)
    except OSError:
        return  # the next look will tell
    if now is None or now != before:
        what = "there is no spool any more" if now is None else "there is another folder now"
        raise StemdError("STEMD-S020", f"{spool.root}: {what}")


def prepare(spool: Spool, doors: Iterable[str]) -> None:
    """Make the marker, the areas and the inboxes that are missing in a spool that is there.

    Raises:
        StemdError: STEMD-S005 (no root), STEMD-S019 (not mounted), STEMD-S003 (not allowed), STEMD-R003 (disk full),
            STEMD-S014 (the disk fails).
    """
    with _explained(spool.root):
        present(spool)
        _mark(spool)
        for area in AREAS:
            (spool.root / area).mkdir(exist_ok=True)
        _private(spool)
        _open_doors(spool.inbox, doors)


def _mark(spool: Spool) -> None:
    """Make the root known as a spool, once and for all; of two who do so at once one wins."""
    if os.path.lexists(spool.marker):
        return
    made = datetime.now(UTC).isoformat(timespec="seconds")
    document = {"schema_version": SCHEMA_VERSION, "created_at": made, "id": str(uuid.uuid4())}
    probe = _write_probe(spool.root, json.dumps(document, indent=2).encode() + b"\n")
    try:
        _rename(probe, spool.marker)
    except FileExistsError:
        probe.unlink()


def _private(spool: Spool) -> None:
    """Only the service enters work/; what is made there gets the group that a set-group-id outbox hands down."""
    outbox = spool.outbox.stat()
    handed_down = outbox.st_mode & stat.S_ISGID
    if handed_down and spool.work.stat().st_gid != outbox.st_gid:
        os.chown(spool.work, -1, outbox.st_gid)
    durable.set_mode(spool.work, 0o700 | handed_down)


def _open_doors(inbox: Path, names: Iterable[str]) -> None:
    """All inboxes' folders, or no more than before: one that nobody knows for an inbox would be taken as an album."""
    made: list[Path] = []
    try:
        for path in (inbox / name for name in names):
            if not path.is_dir():
                _open_door(inbox, path)
                made.append(path)
    except (OSError, StemdError):
        for path in made:
            with suppress(OSError):
                path.rmdir()
        raise


def _open_door(inbox: Path, path: Path) -> None:
    """An inbox's folder takes over mode and group of the inbox around it, so that who may drop there may drop here."""
    mode = inbox.stat().st_mode & 0o7777
    mask = os.umask(0)  # made with its mode, and the set-group-id bit handed down: a service may not be let set that
    try:
        path.mkdir(mode & 0o1777)
    finally:
        os.umask(mask)
    durable.set_mode(path, mode)


def take_lock(spool: Spool) -> int:
    """Own the spool for the life of the process; returns the descriptor that holds the lock.

    Raises:
        StemdError: STEMD-S001, another process owns it; or why the lock file cannot be opened or written.
    """
    with _explained(spool.lock), ExitStack() as unless_owned:
        descriptor = os.open(spool.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        unless_owned.callback(os.close, descriptor)
        _for_the_service(spool, descriptor)
        if not _lock_soon(descriptor):
            owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            raise StemdError("STEMD-S001", f"{spool.root} is owned by process {owner or 'unknown'}")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        unless_owned.pop_all()
    return descriptor


def _for_the_service(spool: Spool, descriptor: int) -> None:
    """A lock that root has made is that of the service, whose the spool is: it could not open it."""
    owner = spool.root.stat()
    if os.geteuid() == 0 and os.fstat(descriptor).st_uid == 0 != owner.st_uid:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


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
        StemdError: STEMD-S002 (more than one mount), STEMD-S003 (not writable), STEMD-S004 (a call is missing),
            STEMD-S005 (it went meanwhile), STEMD-R003 (disk full), STEMD-S014 (the disk fails).
    """
    with _explained(spool.root):
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
    for folder in (spool.root, *(spool.root / area for area in AREAS)):
        for path in filter(_is_ours, folder.glob(f"{_PROBE}*")):
            with suppress(OSError):
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def _is_ours(path: Path) -> bool:
    return re.fullmatch(rf"{re.escape(_PROBE)}[0-9a-f]{{16}}(\.2)?", path.name) is not None


def _write_probe(folder: Path, content: bytes = b"stemd") -> Path:
    probe = folder / f"{_PROBE}{secrets.token_hex(8)}"
    try:
        with probe.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        durable.fsync(folder)
    except OSError as error:
        raise StemdError(_code(error.errno), f"{folder}: {error.strerror}") from error
    except StemdError as error:
        raise StemdError(_code(error.detail.get("errno")), f"{folder}: {error.message}") from error
    return probe


def _move(probe: Path, folder: Path) -> Path:
    target = folder / probe.name
    _rename(probe, target)
    return target


def _rename(source: Path, target: Path) -> None:
    """Rename durably; what the file system says against it becomes a code of the start-up checks."""
    try:
        durable.rename(source, target)
        durable.fsync(target.parent)
    except StemdError as error:
        message = f"{source.parent} → {target.parent}: {error.message}"
        raise StemdError(_code(error.detail.get("errno")), message) from error


def _check_noreplace(probe: Path) -> None:
    other = probe.with_name(f"{probe.name}.2")
    other.touch(exist_ok=False)
    try:
        durable.rename(other, probe)
    except FileExistsError:
        other.unlink()
        return
    raise StemdError("STEMD-S004", f"{probe.parent}: a rename replaced a file although it was told not to")
