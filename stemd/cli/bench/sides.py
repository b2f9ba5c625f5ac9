"""The sides: the ``demucs`` and ``spleeter`` commands as people call them, and a stemd daemon of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from stemd.cli.bench.figures import Run
from stemd.cli.bench.processes import environment, last_line, running, watch
from stemd.core.errors import StemdError
from stemd.core.job import printable
from stemd.spool.layout import Spool

_START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Demucs:
    """The ``demucs`` command with the model called ``model`` of ``repo``; it writes below ``out``."""

    model: str
    repo: Path
    out: Path
    threads: int

    def call(self, files: Sequence[Path]) -> Run:
        """One call for all ``files``.

        Raises:
            StemdError: STEMD-E006, it failed.
        """
        log = self.repo / "demucs.log"
        run, code = timed([*self._command(), *map(str, files)], log, self.threads)
        require("demucs", code, [self.result(file) for file in files], log)
        return run

    def result(self, file: Path) -> Path:
        """Where the stems of ``file`` are."""
        return self.out / self.model / file.stem

    def _command(self) -> list[str]:
        settings = ["-n", self.model, "--repo", str(self.repo), "-o", str(self.out)]
        return [sys.executable, "-P", "-m", "demucs", *settings, "-d", "cpu", "--shifts", "0", "--int24"]


@dataclass(frozen=True, slots=True)
class Spleeter:
    """The ``spleeter`` command of the environment whose Python is ``python``, with ``model`` of ``store``."""

    python: Path
    model: str
    store: Path
    out: Path
    threads: int

    def call(self, files: Sequence[Path]) -> Run:
        """One call for all ``files``.

        Raises:
            StemdError: STEMD-E006, it failed.
        """
        log = self.out.with_name("spleeter.log")
        words = ["separate", "-p", f"spleeter:{self.model}", "-o", str(self.out), *map(str, files)]
        extra = {"MODEL_PATH": str(self.store), "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
        run, code = timed([str(self.python), "-m", "spleeter", *words], log, self.threads, extra)
        require("spleeter", code, [self.out / file.stem for file in files], log)
        return run


def timed(
    command: Sequence[str], log: Path, threads: int, extra: Mapping[str, str] | None = None
) -> tuple[Run, int | None]:
    """A command from its start to its end, and its exit status."""
    started = time.perf_counter()
    with running(command, log, threads, extra) as process:
        run = watch(process, lambda: process.poll() is not None, started)
    return run, process.returncode


def require(program: str, code: int | None, results: Sequence[Path], log: Path) -> None:
    """Raise STEMD-E006 where a command failed or left no stems."""
    if code or not all(any(folder.glob("*.wav")) for folder in results):
        said = last_line(log.read_text(errors="replace"))
        raise StemdError("STEMD-E006", f"the {program} command failed: {printable(said)}", remedy="See its message.")


@dataclass(frozen=True, slots=True)
class Setting:
    """What a daemon shall do: defaults of its jobs, and what else its configuration says, by section."""

    defaults: Mapping[str, Any]
    store: Path
    sections: Mapping[str, Any] = field(default_factory=dict)

    def document(self, home: Path) -> dict[str, Any]:
        """The configuration of a daemon below ``home``; its state lies beside it."""
        output = {"format": "wav", "bit_depth": 24}
        paths = {"models": str(self.store), "run": str(home / "run"), "state": str(home.with_name("state"))}
        return {
            "spool": str(home / "spool"),
            "models": {"fetch": "never"},
            "retry": {"tries": 1},
            "http": {"listen": None},
            **self.sections,
            "paths": {**paths, **self.sections.get("paths", {})},
            "defaults": {"stems": "all", "output": output, **self.defaults},
        }


class Daemon:
    """A running daemon with an empty spool; its worker starts with the first file."""

    def __init__(self, spool: Spool, process: subprocess.Popen[bytes], log: Path) -> None:
        self.spool, self._process, self._log = spool, process, log

    @property
    def pid(self) -> int:
        return self._process.pid

    def seconds_between(self, one: str, other: str) -> float:
        """Seconds between the first events of these names in the log; both are there."""
        lines = (json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{"))
        times: dict[str, datetime] = {}
        for line in lines:
            times.setdefault(line["event"], datetime.fromisoformat(line["timestamp"]))
        return (times[other] - times[one]).total_seconds()

    def drop(self, files: Sequence[Path], prefix: str = "", glance: Callable[[], object] = lambda: None) -> Run:
        """Rename copies of ``files`` into the inbox and wait until the last result is in the outbox.

        ``glance`` is called at each look.

        Raises:
            StemdError: what a job ended with; STEMD-S017, the daemon ended.
        """
        ready = [self.spool.root.parent / f"{prefix}{file.name}" for file in files]
        for copy, file in zip(ready, files, strict=True):
            shutil.copyfile(file, copy)
        results = [self.result(file, prefix) for file in files]
        started = time.perf_counter()
        for copy in ready:
            os.rename(copy, self.spool.inbox / copy.name)  # noqa: PTH104  what `mv` does
        return watch(self._process, lambda: self._looked(results, glance), started)

    def result(self, file: Path, prefix: str = "") -> Path:
        """Where the stems of ``file`` are once they are there."""
        return self.spool.outbox / "everyone" / f"{prefix}{file.stem}"

    def _looked(self, results: Sequence[Path], glance: Callable[[], object]) -> bool:
        glance()
        return self._there(results)

    def _there(self, results: Sequence[Path]) -> bool:
        if all(map(os.path.isdir, results)):
            return True
        for failed in self.spool.orphan.glob("*/*/error.json"):
            raise StemdError.from_dict(json.loads(failed.read_text()))
        self.check()
        return False

    def check(self) -> None:
        """Raise STEMD-S017 where the daemon has ended."""
        if self._process.poll() is not None:
            said = last_line(self._log.read_text(errors="replace"))
            raise StemdError("STEMD-S017", f"the daemon ended: {printable(said)}", remedy="See its message.")


@contextmanager
def daemon(setting: Setting, home: Path, threads: int) -> Iterator[Daemon]:
    """A daemon that is ready and has no worker yet; everything of it lies below ``home``, but for its state.

    The state, beside ``home``, outlives it: with it, what is fast on this machine.
    """
    spool = Spool(home / "spool")
    spool.inbox.mkdir(parents=True)
    config, log = home / "stemd.yaml", home / "stemd.log"
    config.write_text(json.dumps(setting.document(home)))  # JSON is YAML
    command = [sys.executable, "-P", "-m", "stemd", "run", "--config", str(config)]
    with running(command, log, threads) as process:
        started = Daemon(spool, process, log)
        _await_ready(config, started)
        yield started


def _await_ready(config_file: Path, started: Daemon) -> None:
    from stemd.core.config import load
    from stemd.daemon import control

    config = load(config_file, environ=environment()).config
    deadline = time.monotonic() + _START_SECONDS
    while True:
        started.check()
        try:
            if control.request(config, {"op": "state"}).get("ready"):
                return
        except StemdError as error:
            if error.code != "STEMD-S017" or time.monotonic() > deadline:
                raise
        time.sleep(0.05)
