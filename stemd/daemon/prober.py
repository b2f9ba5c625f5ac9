"""Asks a process of its own how long recordings are: the daemon itself never looks into a stranger's file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from stemd.core.environment import scrubbed
from stemd.core.job import Length

#: The process ends after so many seconds without a question.
_IDLE = 60.0


class Prober:
    """One process at a time, started when first asked. Safe to use from any thread."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._asked = 0.0
        self._closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="probe")

    def length(self, path: Path) -> Length | None:
        """What a recording declares; ``None`` where the process cannot tell or died of it. Waits for the answer."""
        with self._lock:
            self._asked = time.monotonic()
            if self._closed:
                return None
            try:
                return self._ask(path)
            except (OSError, ValueError, KeyError, TypeError):
                self._end()
                return None

    def lengths(self, paths: list[Path], then: Callable[[], None]) -> Future[list[Length | None]]:
        """The same for several, without waiting; ``then`` is called when the answer is there."""
        future = self._thread.submit(lambda: [self.length(path) for path in paths])
        future.add_done_callback(lambda _: then())
        return future

    def trim(self, now: float) -> None:
        """End a process that nobody asks; ``now`` is monotonic seconds."""
        if self._process is not None and now - self._asked > _IDLE and self._lock.acquire(blocking=False):
            try:
                self._end()
            finally:
                self._lock.release()

    def close(self) -> None:
        self._closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._end()

    def _ask(self, path: Path) -> Length | None:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"path": os.fspath(path)}).encode() + b"\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())["length"]
        return Length(**answer) if answer else None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-m", "stemd.worker.probe"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=scrubbed(os.environ, 1),
                start_new_session=True,
            )
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout):
            with suppress(OSError):
                assert stream is not None
                stream.close()
