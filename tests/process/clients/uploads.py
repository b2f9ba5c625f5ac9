"""What the tests of all clients share: recordings unlike each other, transfers that are cut off, and the verdict."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import wave
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from stemd.spool import lease
from stemd.spool.settle import Writers
from tests.support.daemon import Daemon, eventually
from tests.support.spools import violations

#: Seconds without change after which a daemon in these tests takes a file, where no pause is to be bridged …
QUICK = "300ms"
#: … and where a transfer that was cut off must be resumed before it is up, on a machine that may be busy.
PATIENT = "8s"


def daemon_for(root: Path, settle: str = QUICK, *, watch: str = "auto", **settings: Any) -> Daemon:
    """A daemon whose engine costs nothing."""
    defaults = {"engine": "stub", "model": "stub", "settle": settle, "settle_unprobed": settle, "watch": watch}
    return Daemon(root, defaults=defaults, **settings)


def recording(path: Path, seconds: float = 2.0) -> Path:
    """A stereo wav of noise that is like no other (176 kB per second): no transfer can shrink or guess it."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(44_100)
        file.writeframes(os.urandom(round(seconds * 44_100) * 4))
    return path


def recordings(folder: Path, *names: str, seconds: float = 2.0) -> dict[str, Path]:
    """A recording of each name."""
    folder.mkdir(exist_ok=True)
    return {name: recording(folder / name, seconds) for name in names}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(*command: str | Path, stdin: str | None = None, **options: Any) -> str:
    """Run a client to its good end; returns what it said."""
    words = list(map(str, command))
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=300, check=False, **options)
    assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def run_together(commands: Iterable[Sequence[str | Path]]) -> None:
    """Run clients side by side, each to its good end."""
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda command: run(*command), commands))


@contextmanager
def started(command: Sequence[str | Path], stdin: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A client in a process group of its own, which is killed at the end."""
    words = list(map(str, command))
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as client:
        try:
            assert client.stdin is not None
            client.stdin.write((stdin or "").encode())
            client.stdin.close()
            yield client
        finally:
            with suppress(ProcessLookupError):
                os.killpg(client.pid, signal.SIGKILL)


def cut_off(
    command: Sequence[str | Path],
    half_way: Callable[[], object],
    how: signal.Signals = signal.SIGKILL,
    stdin: str | None = None,
) -> None:
    """Start a client and end it, with all the processes it started, once it is ``half_way``."""
    with started(command, stdin) as client:
        eventually(lambda: client.poll() is not None or half_way(), 60, f"{command} is half-way")
        assert client.poll() is None, f"{command} ended before it could be cut off"
        os.killpg(client.pid, how)
        client.wait(timeout=120)


def beyond(folder: Path, pattern: str, size: int) -> Callable[[], bool]:
    """Whether a file below ``folder`` that matches has grown beyond ``size`` bytes."""

    def grown() -> bool:
        with suppress(FileNotFoundError):  # temporary names come and go
            return any(path.stat().st_size > size for path in folder.glob(pattern))
        return False

    return grown


def nobody_writes(path: Path) -> bool:
    """Whether no process has ``path`` open for writing."""
    return lease.writers_of_file(path) is Writers.NONE


def curl_protocols() -> frozenset[str]:
    """What the installed curl speaks; nothing where there is none."""
    if shutil.which("curl") is None:
        return frozenset()
    said = subprocess.run(["curl", "--version"], capture_output=True, text=True, check=False).stdout
    return frozenset(re.search(r"^Protocols: (.*)$", said, re.MULTILINE)[1].split())


def finished(daemon: Daemon) -> dict[str, str]:
    """The SHA-256 of the source in each finished folder, by the folder's name."""
    folders = {path.parent for path in daemon.spool.outbox.glob("*/*/manifest.json")}
    return {folder.name: sha256(next((folder / "source").iterdir())) for folder in folders}


def expect(daemon: Daemon, songs: dict[str, Path], seconds: float = 120.0) -> None:
    """Wait until every recording has its finished folder; there must be exactly these, whole, and nothing else."""
    wanted = {Path(name).stem: sha256(path) for name, path in songs.items()}
    eventually(lambda: len(daemon.results()) + len(daemon.failures()) >= len(wanted), seconds, f"all of {set(wanted)}")
    eventually(lambda: not any(daemon.spool.work.iterdir()), 30, "work/ is empty")
    assert daemon.failures() == {}
    assert finished(daemon) == wanted
    assert len(daemon.events("claimed")) == len(wanted)
    assert violations(daemon.spool, [path.read_bytes() for path in songs.values()]) == []
    assert [path.name for path in daemon.spool.inbox.iterdir() if not path.name.startswith(".")] == []
