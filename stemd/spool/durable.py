"""File operations that survive a power cut, and the one that never replaces anything.

An error of any of them is a ``StemdError``: STEMD-R003 when the disk is full, STEMD-S002 when a rename would have to
cross mounts (it is never turned into a copy), STEMD-S014 otherwise. After a failed fsync or close the kernel may have
dropped the data, so nothing here is ever fsynced a second time: the caller throws the file away and makes it again.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from stemd.core.errors import StemdError
from stemd.spool import flushes

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_NO_SUCH_CALL = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})
#: Error numbers that mean a full disk.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def io_errors(what: str) -> Iterator[None]:
    """Turn an ``OSError`` of the block into STEMD-R003, S002 (another mount) or S014 that says ``what`` was being done.

    ``FileExistsError`` and ``FileNotFoundError`` pass: to the protocol they are answers, not faults.
    """
    try:
        yield
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError as error:
        full, cross = error.errno in FULL, error.errno == errno.EXDEV
        code = "STEMD-R003" if full else "STEMD-S002" if cross else "STEMD-S014"
        raise StemdError(code, f"{what}: {error.strerror}", detail={"errno": error.errno}) from error


def fsync(path: Path) -> None:
    """Flush one file or directory to the disk."""
    with io_errors(f"fsync {path.name!r}"):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            with flushes.told():
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


def fsync_tree(root: Path) -> None:
    """Flush every regular file and directory below ``root``, then ``root`` itself."""
    for folder, _, files in os.walk(root, topdown=False):
        for name in files:
            path = Path(folder, name)
            with io_errors(f"look at {name!r}"):
                regular = stat.S_ISREG(path.lstat().st_mode)
            if regular:
                fsync(path)
        fsync(Path(folder))


def rename(source: Path, target: Path) -> None:
    """Rename a file or directory; never replaces (``renameat2`` with ``RENAME_NOREPLACE``, Linux ≥ 3.15).

    Where the file system lacks the call (NFS), files go by link and unlink, which cannot replace either, and
    directories by a look and a rename, which is safe under the spool's lock.

    Raises:
        FileExistsError: ``target`` is there.
        FileNotFoundError: ``source`` is not.
        StemdError: anything else.
    """
    with io_errors(f"rename {source.name!r}"):
        status = _libc.renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE)
        if status == 0:
            return
        number = ctypes.get_errno()
        if number not in _NO_SUCH_CALL:
            raise OSError(number, os.strerror(number), str(source), None, str(target))
        _rename_without_flag(source, target)


def _rename_without_flag(source: Path, target: Path) -> None:
    if source.is_symlink() or not source.is_dir():
        os.link(source, target, follow_symlinks=False)
        try:
            fsync(target.parent)  # the new name first: the disk may keep the removal of the old one and lose this
        except StemdError:
            target.unlink()
            raise
        source.unlink()
    elif os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    else:
        source.rename(target)


def same_file(one: Path, other: Path) -> bool:
    """Whether both are names of one regular file; links are not followed."""
    try:
        facts = one.lstat()
        return stat.S_ISREG(facts.st_mode) and os.path.samestat(facts, other.lstat())
    except OSError:
        return False


def write(
    path: Path, data: bytes, *, durable: bool = True, ready: Callable[[Path], None] = lambda temporary: None
) -> None:
    """Write a whole file so that readers see the old content or the new, never a part.

    With ``durable`` the content and its name are on the disk on return. ``ready`` is called with the file before it is
    flushed and gets its name (to give it its permissions).
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with io_errors(f"write {path.name!r}"):
        descriptor = _created(temporary)
        try:
            _write_all(descriptor, data)
            ready(temporary)
            if durable:
                with flushes.told():
                    os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
    if durable:
        fsync(path.parent)


def _created(temporary: Path) -> int:
    """A new file to write to. One that is there already goes: a power cut may have left it as a second name of the
    very file that is to be replaced."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(temporary, flags, 0o640)
    except FileExistsError:
        temporary.unlink(missing_ok=True)
        return os.open(temporary, flags, 0o640)


def write_json(
    path: Path,
    value: Mapping[str, Any],
    *,
    durable: bool = True,
    ready: Callable[[Path], None] = lambda temporary: None,
) -> None:
    """``write`` a JSON document, readable by people too."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write(path, text.encode() + b"\n", durable=durable, ready=ready)


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in ``path``; ``None`` where there is none or it is torn."""
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def mark(path: Path) -> None:
    """Make an empty file, if it is not there yet; its name is on the disk on return, and content it has none."""
    with io_errors(f"make {path.name!r}"):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640))
    fsync(path.parent)


def append(path: Path, line: bytes, *, flush: bool = True) -> None:
    """Append one line; with ``flush`` it and the file's name are on the disk on return. Without, the file must have had
    lines already, or may be lost as a whole.

    A torn last line, which a power cut may leave, is ended first, so that it costs itself and not this one too. A line
    that failed is cut off again: it does not count, and whoever tries again makes it anew. Where even that fails the
    line may be read later; who must know for certain cuts the file back before the next (``cut``).
    """
    with io_errors(f"append to {path.name!r}"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        try:
            size = os.fstat(descriptor).st_size
            if flush and size == 0:
                _flush_name(path)  # before there is a line in it: one that stood there by mistake would be read
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            try:
                _write_all(descriptor, b"\n" * torn + line + b"\n")
                if flush:
                    with flushes.told():
                        os.fsync(descriptor)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)


def _flush_name(path: Path) -> None:
    """The name of a file without content is on the disk on return; else the file is not there any more."""
    try:
        fsync(path.parent)
    except StemdError:
        with suppress(OSError):
            path.unlink()
        raise


def cut(path: Path, size: int) -> None:
    """Cut a file that lines are appended to back to ``size`` bytes, if it is longer. Absent is fine."""
    with io_errors(f"cut {path.name!r}"), suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.fstat(descriptor).st_size > size:
                os.ftruncate(descriptor, size)
        finally:
            os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    """A disk that is nearly full takes a part and says so only when asked for the rest."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def set_mode(path: Path, mode: int) -> None:
    """``chmod``, but only where it changes something: a bit that was handed down need not be allowed to be set.

    A service may be forbidden to set the set-group-id bit (``RestrictSUIDSGID=``); then all but that bit is set.
    """
    if stat.S_IMODE(path.stat().st_mode) == mode:
        return
    try:
        path.chmod(mode)
    except PermissionError:
        if not mode & stat.S_ISGID:
            raise
        path.chmod(mode & ~stat.S_ISGID)


def remove_tree(root: Path) -> None:
    """Delete ``root`` and all below it; symbolic links are removed, never followed. Absent is fine."""
    with io_errors(f"remove {root.name!r}"), suppress(FileNotFoundError):
        if root.is_dir() and not root.is_symlink():
            shutil.rmtree(root)
        else:
            root.unlink()
