"""The processes that compute for all workers of a graphics card: there while one of those is, started again for them.

What they do is ``stemd.engines.cards``; a worker waits for its card's by itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from stemd.core.config import Config
from stemd.core.environment import scrubbed
from stemd.ops import logs
from stemd.worker.setup import Setup

#: A process that nobody uses is ended after so long; one that ends by itself is not started sooner again (seconds).
_IDLE, _REST = 60.0, 5.0
_NVIDIA = Path("/dev/nvidia0")


@dataclass(slots=True)
class _Running:
    setup: Setup
    threads: int
    process: subprocess.Popen[bytes]
    since: float
    used: float
    missed: bool = False


class Cards:
    """All of one daemon's."""

    def __init__(self) -> None:
        self._running: dict[str, _Running] = {}

    def want(self, setup: Setup, threads: int) -> None:
        """A worker is about to be started that will ask for its card's process.

        Raises:
            OSError: it cannot be started.
        """
        known = self._running.get(setup.card)
        if known is None or known.process.poll() is not None:
            self._start(setup, threads)

    def tend(self, setups: Iterable[Setup], now: float) -> None:
        """End what no worker needs any longer, start again what ended by itself. ``now``: monotonic seconds."""
        needed = {setup.card for setup in setups}
        for address, running in list(self._running.items()):
            if address in needed:
                running.used = now
            if now - running.used > _IDLE:
                self._end(self._running.pop(address))
            elif running.process.poll() is not None and address in needed:
                if not running.missed:
                    running.missed = True
                    logs.get().error("card_process_died", status=running.process.returncode, pid=running.process.pid)
                if now - running.since > _REST:
                    with suppress(OSError):  # it is tried again at the next turn
                        self._start(running.setup, running.threads)

    def close(self) -> None:
        """End them all."""
        while self._running:
            self._end(self._running.popitem()[1])

    def _start(self, setup: Setup, threads: int) -> None:
        names = ("model", "store", "device", "precision", "tuning", "together")
        wish = json.dumps({name: getattr(setup, name) for name in names})
        process = subprocess.Popen(
            [sys.executable, "-I", "-m", "stemd.engines.cards", setup.card, wish],
            stdin=subprocess.PIPE,  # it ends with it
            stdout=subprocess.DEVNULL,
            env=scrubbed(os.environ, threads),
            start_new_session=True,
        )
        now = time.monotonic()
        self._running[setup.card] = _Running(setup, threads, process, now, now)
        logs.get().info("card_process_started", model=setup.model, device=setup.device, pid=process.pid)

    def _end(self, running: _Running) -> None:
        if running.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(running.process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):  # it hangs in its driver
            running.process.wait(timeout=5)
        if running.process.stdin is not None:
            running.process.stdin.close()
        Path(running.setup.card).unlink(missing_ok=True)


def address(config: Config, setup: Setup) -> str:
    """Where the process listens that computes for ``setup``; empty where the worker computes by itself."""
    shared = config.engine(setup.engine).shared
    if setup.engine != "demucs" or shared == "never" or (shared == "auto" and not _has_card(setup.device)):
        return ""
    kind = [str(config.spool[0]), setup.model, setup.store, setup.device, setup.precision, setup.together]
    name = hashlib.sha256(json.dumps(kind).encode()).hexdigest()[:12]
    return str(config.run_of(config.spool[0]) / f"card-{name}.sock")


def _has_card(device: str) -> bool:
    """A guess without torch; where it is wrong the process says so, and workers compute by themselves."""
    return device.startswith("cuda") or (device == "auto" and _NVIDIA.exists() and not _without_cuda())


def _without_cuda() -> bool:
    try:
        return version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return True
