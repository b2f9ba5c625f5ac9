"""Tell somebody by running a program of theirs: what it says comes last, and only its exit status decides."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from stemd.ops.post import NotTakenError

_SHOWN = 200
#: A killed program that hangs in a file system is left to itself after so many seconds.
_DYING = 5.0


def run_told(command: Sequence[str], body: bytes, timeout: float, environment: Mapping[str, str] | None = None) -> None:
    """Run ``command`` with ``body`` on its stdin. Files, not pipes: what it leaves in the background may keep them.

    It is run on a full disk too, of which it may be told: only what it says is lost then.

    Raises:
        NotTakenError: it cannot be run, took longer than ``timeout`` seconds, or did not exit with 0.
    """
    try:
        with os.fdopen(os.memfd_create("told"), "w+b") as told, _scratch() as said:
            told.write(body)
            told.seek(0)
            process = subprocess.Popen(
                command, stdin=told, stdout=subprocess.DEVNULL, stderr=said, env=environment, start_new_session=True
            )
            status = _status(process, timeout)
            said.seek(max(0, said.seek(0, os.SEEK_END) - _SHOWN))
            last = said.read(_SHOWN).decode(errors="replace")
    except OSError as error:
        raise NotTakenError(f"{command[0]}: {error.strerror}") from None
    if status != 0:
        raise NotTakenError(f"exit status {status}: {last}".strip())


def _scratch() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return Path(os.devnull).open("w+b")


def _status(process: subprocess.Popen[bytes], timeout: float) -> int:
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_DYING)
        raise NotTakenError(f"it ran longer than {timeout:g} s") from None
