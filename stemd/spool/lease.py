"""The writer probe: does anybody hold this file open for writing?

A read lease (``fcntl`` ``F_SETLEASE``) is refused with EAGAIN while a writer exists. It needs the file's owner or
CAP_LEASE, and means nothing on network and FUSE file systems. SIGIO must be ignored before the first lease: a writer
that opens the file while the lease is held would otherwise end the process.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import struct
from collections.abc import Iterator
from ctypes import CDLL, byref, create_string_buffer
from functools import lru_cache
from itertools import chain
from pathlib import Path

from stemd.spool.settle import Writers

#: ``f_type`` of file systems on which a lease says nothing (statfs(2)): NFS, SMB1, CIFS, SMB2, FUSE, 9p, AFS, Ceph.
REMOTE = frozenset({0x6969, 0x517B, 0xFF534D42, 0xFE534D42, 0x65735546, 0x01021997, 0x5346414F, 0x00C36400})

_libc = CDLL(None, use_errno=True)


def filesystem_type(path: Path) -> int:
    """The ``f_type`` of the file system ``path`` is on (first word of ``struct statfs``)."""
    buffer = create_string_buffer(256)
    if _libc.statfs(os.fsencode(path), byref(buffer)) != 0:
        return 0
    return int(struct.unpack_from("@l", buffer.raw)[0]) & 0xFFFFFFFF


@lru_cache(maxsize=64)
def _remote(device: int, folder: str) -> bool:
    return filesystem_type(Path(folder)) in REMOTE


def writers_of_file(path: Path) -> Writers:
    """Probe one regular file; a file that vanished has no writers we could meet."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return Writers.NONE
    except OSError:
        return Writers.UNKNOWN
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or _remote(facts.st_dev, str(path.parent)):
            return Writers.UNKNOWN
        return _lease(descriptor)
    finally:
        os.close(descriptor)


def _lease(descriptor: int) -> Writers:
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return Writers.SOME if error.errno == errno.EAGAIN else Writers.UNKNOWN
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return Writers.NONE


def writers(*paths: Path) -> Writers:
    """Probe files, and every file below folders: ``SOME`` wins over ``UNKNOWN``, ``UNKNOWN`` over ``NONE``."""
    answer = Writers.NONE
    for path in chain.from_iterable(map(_files, paths)):
        one = writers_of_file(path)
        if one is Writers.SOME:
            return one
        if one is Writers.UNKNOWN:
            answer = one
    return answer


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, _, names in os.walk(path):
        yield from (Path(folder, name) for name in names)


def ignore_lease_signal() -> None:
    """Ignore SIGIO in this process; must come before the first probe."""
    signal.signal(signal.SIGIO, signal.SIG_IGN)
