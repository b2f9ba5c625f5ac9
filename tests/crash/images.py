"""File systems in image files whose power can be cut.

The cut is the ``FS_IOC_SHUTDOWN`` ioctl with "no log flush" (ext4 and XFS, fs/xfs/libxfs/xfs_fs.h): from that instant
nothing reaches the image any more, what is in memory only is lost at the unmount, and the next mount replays the
journal as after a power failure.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_GOING_DOWN = 0x8004587D
_NO_LOG_FLUSH = 2

#: What is tried: file system, size of the image in MiB (XFS takes no less than 300), options of the mount. The options
#: make ext4 as forgetful as it may be: no commit by time, no flush of what replaces something, no order of data.
FILE_SYSTEMS = {
    "ext4": ("ext4", 64, "commit=600,noauto_da_alloc"),
    "ext4-writeback": ("ext4", 64, "commit=600,noauto_da_alloc,data=writeback,nodelalloc"),
    "xfs": ("xfs", 300, ""),
}

_libc = ctypes.CDLL(None, use_errno=True)


def cut(folder: Path) -> None:
    """Cut the power of the file system ``folder`` is on."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(descriptor, _GOING_DOWN, struct.pack("I", _NO_LOG_FLUSH))
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Image:
    """A mounted image of ``FILE_SYSTEMS[name]``. ``mount`` is its root."""

    name: str
    device: str
    mount: Path
    kind: str
    options: str

    def flush(self) -> None:
        """Everything that was written so far is on the disk."""
        descriptor = os.open(self.mount, os.O_RDONLY | os.O_DIRECTORY)
        try:
            assert _libc.syncfs(descriptor) == 0
        finally:
            os.close(descriptor)

    def cut(self) -> None:
        cut(self.mount)

    def power_up(self, patience: float = 120.0) -> None:
        """Unmount and mount again, which replays the journal; waits so many seconds for who still uses it."""
        deadline = time.monotonic() + patience
        while _libc.umount2(os.fsencode(self.mount), 0) != 0:
            if ctypes.get_errno() != errno.EBUSY or time.monotonic() > deadline:
                _checked(-1, "umount")
            time.sleep(0.02)
        self.mount_now()

    def mount_now(self) -> None:
        place = os.fsencode(self.mount)
        _checked(_libc.mount(self.device.encode(), place, self.kind.encode(), 0, self.options.encode()), "mount")


def _checked(status: int, what: str) -> None:
    """Calls of their own instead of mount(8) and umount(8): these are made thousands of times."""
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


@contextmanager
def image(folder: Path, name: str, mount: Path) -> Iterator[Image]:
    """A new file system of ``FILE_SYSTEMS`` in a file in ``folder``, mounted at ``mount``; skips where it cannot be."""
    kind, size, options = FILE_SYSTEMS[name]
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    if shutil.which(f"mkfs.{kind}") is None or shutil.which("losetup") is None:
        pytest.skip(f"mkfs.{kind} or losetup is not installed")
    with tempfile.NamedTemporaryFile(dir=_in_memory(size) or folder, suffix=".img") as file:
        file.truncate(size << 20)
        subprocess.run([f"mkfs.{kind}", "-q", file.name], check=True)
        # the device keeps the file, which has no name any more: nothing is left behind, however the test ends
        loop = subprocess.run(["losetup", "-f", "--show", file.name], capture_output=True, text=True, check=False)
    if loop.returncode != 0:
        pytest.skip(f"no loop device: {loop.stderr.strip()}")
    device = loop.stdout.strip()
    made = Image(name, device, mount, kind, options)
    try:
        mount.mkdir(parents=True, exist_ok=True)
        try:
            made.mount_now()
        except OSError as error:
            pytest.skip(f"{error.strerror} (refused here)")
        try:
            yield made
        finally:
            subprocess.run(["umount", "-l", str(mount)], check=True)
    finally:
        subprocess.run(["losetup", "-d", device], check=True)


def _in_memory(size: int) -> Path | None:
    """Where an image of so many MiB costs the machine's real disk nothing: these tests flush all the time."""
    memory = Path("/dev/shm")
    try:
        state = os.statvfs(memory)
    except OSError:
        return None
    return memory if state.f_bavail * state.f_frsize > (2 * size) << 20 else None
