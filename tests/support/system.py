"""What tests ask of the operating system: other users, other processes, other mounts."""

from __future__ import annotations

import ctypes
import fcntl
import os
import pickle
import shutil
import signal
import subprocess
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from stemd.core.errors import StemdError

#: A user and group without rights.
NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changing the user or mounting needs root")

_PR_SET_DUMPABLE = 4

#: Imported on first use by what runs in a child, which may not be allowed to read Python's own folder any more.
_LATE_IMPORTS = ("encodings.utf_8_sig", "encodings.idna", "html", "asyncio", "grp", "stemd.core.config.loading")


@contextmanager
def nested(top: Path, levels: int = 1200) -> Iterator[Path]:
    """Folders within one another, ``top`` and so many below: more than a path is long, or Python calls itself."""
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("a", dir_fd=here)
        here, before = os.open("a", os.O_RDONLY, dir_fd=here), here
        os.close(before)
    os.close(here)
    try:
        yield top
    finally:
        subprocess.run(["rm", "-rf", str(top)], check=True)


def in_child(
    function: Callable[[], Any], *, uid: int | None = None, group: int | None = None, seconds: int = 120
) -> Any:
    """Call ``function`` in a forked child, as user ``uid`` if given, in ``group`` (else one like it).

    An error in the child is raised here: a ``StemdError`` as itself, any other as ``AssertionError`` with its trace.
    """
    for name in _LATE_IMPORTS:
        import_module(name)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        signal.alarm(seconds)
        os.write(writer, pickle.dumps(_answer(function, uid, group)))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 0, f"the child ended with {status}" + (" (it hung)" if status == -signal.SIGALRM else "")
    kind, value = pickle.loads(data)
    if kind == "stemd":
        raise StemdError.from_dict(value)
    assert kind == "ok", value
    return value


def _answer(function: Callable[[], Any], uid: int | None, group: int | None) -> tuple[str, Any]:
    try:
        if uid is not None:
            os.setgroups([])
            os.setgid(uid if group is None else group)
            os.setuid(uid)
            # a process that changed its user may not look at its own /proc, one that was started as this user may
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1)
        return "ok", function()
    except StemdError as error:
        return "stemd", error.to_dict()
    except BaseException:
        return "raised", traceback.format_exc()


@pytest.fixture
def public_path() -> Iterator[Path]:
    """A temporary folder that every user can reach; pytest's own are private (each start of it sees to that)."""
    with tempfile.TemporaryDirectory(prefix="stemd-test-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@contextmanager
def no_other_oom() -> Iterator[None]:
    """No other test's process is ended for want of memory during the block.

    The kernel counts these for the whole machine, and stemd takes a worker that is killed meanwhile for one of them.
    """
    with Path(tempfile.gettempdir(), f"stemd-test-oom-{os.getuid()}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def mounted(*arguments: str | Path) -> Iterator[None]:
    """``mount ARGUMENTS…`` for the block; the last argument is the mount point. Skips the test where it is refused."""
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"mount is refused here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(arguments[-1])], check=True)


@contextmanager
def dead_share(path: Path) -> Iterator[None]:
    """A FUSE mount over ``path`` whose server was killed: to whoever looks, the endpoint is not connected.

    Skips the test where there is no FUSE, or no ``bindfs``.
    """
    if shutil.which("bindfs") is None or not Path("/dev/fuse").exists():
        pytest.skip("a mount that dies needs /dev/fuse and the bindfs program")
    server = subprocess.Popen(
        ["bindfs", "-f", "-o", "nonempty,attr_timeout=0", str(path), str(path)], stderr=subprocess.PIPE, text=True
    )
    try:
        for _ in range(200):
            if path.is_mount():
                break
            if server.poll() is not None:
                assert server.stderr is not None
                pytest.skip(f"a FUSE mount is refused here: {server.stderr.read().strip()}")
            time.sleep(0.05)
        server.kill()
        server.wait()
        yield
    finally:
        server.kill()
        server.communicate()
        subprocess.run(["umount", "-l", str(path)], check=False, capture_output=True)


@contextmanager
def tiny_disk(path: Path, size: str = "256k") -> Iterator[Path]:
    """A file system of its own that is soon full."""
    path.mkdir()
    with mounted("-t", "tmpfs", "-o", f"size={size},mode=0755", "tmpfs", path):
        yield path


def fill(folder: Path) -> Path:
    """Use up all that is left on a (tiny) disk."""
    path = folder / "ballast"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return path
