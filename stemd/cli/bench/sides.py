"""The two sides: the ``demucs`` command as people call it, and a stemd daemon of its own for dropped files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stemd.cli.bench.figures import Run
from stemd.cli.bench.processes import environment, last_line, running, watch
from stemd.core.errors import StemdError
from stemd.core.job import printable
from stemd.spool.layout import Spool

_CONFIG = """\
spool: {spool}
defaults: {{engine: demucs, model: {model}, stems: all, output: {{format: wav, bit_depth: 24}}}}
engines: {{demucs: {{device: cpu}}}}
models: {{fetch: never}}
paths: {{models: {store}, run: {run}, state: {state}}}
retry: {{tries: 1}}
http: {{listen: null}}
"""
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
        started = time.perf_counter()
        with running([*self._command(), *map(str, files)], log, self.threads) as process:
            run = watch(process, lambda: process.poll() is not None, started)
        missing = [file.name for file in files if not any(self.result(file).glob("*.wav"))]
        if process.returncode or missing:
            said = last_line(log.read_text(errors="replace"))
            raise StemdError("STEMD-E006", f"the demucs command failed: {printable(said)}", remedy="See its message.")
        return run

    def loop(self, files: Sequence[Path]) -> Run:
        """One call for each of ``files``, as a shell's loop makes them."""
        runs = [self.call([file]) for file in files]
        return Run(sum(run.seconds for run in runs), max(run.peak_rss for run in runs))

    def result(self, file: Path) -> Path:
        """Where the stems of ``file`` are."""
        return self.out / self.model / file.stem

    def _command(self) -> list[str]:
        settings = ["-n", self.model, "--repo", str(self.repo), "-o", str(self.out)]
        return [sys.executable, "-P", "-m", "demucs", *settings, "-d", "cpu", "--shifts", "0", "--int24"]


class Daemon:
    """A running daemon with an empty spool; its worker starts with the first file."""

    def __init__(self, spool: Spool, process: subprocess.Popen[bytes], log: Path) -> None:
        self._spool, self._process, self._log = spool, process, log

    def drop(self, files: Sequence[Path], prefix: str = "") -> Run:
        """Rename copies of ``files`` into the inbox and wait until the last result is in the outbox.

        Raises:
            StemdError: what a job ended with; STEMD-S017, the daemon ended.
        """
        ready = [self._spool.root.parent / f"{prefix}{file.name}" for file in files]
        for copy, file in zip(ready, files, strict=True):
            copy.write_bytes(file.read_bytes())
        results = [self.result(file, prefix) for file in files]
        started = time.perf_counter()
        for copy in ready:
            os.rename(copy, self._spool.inbox / copy.name)  # noqa: PTH104  what `mv` does
        return watch(self._process, lambda: self._there(results), started)

    def result(self, file: Path, prefix: str = "") -> Path:
        """Where the stems of ``file`` are once they are there."""
        return self._spool.outbox / "everyone" / f"{prefix}{file.stem}"

    def _there(self, results: Sequence[Path]) -> bool:
        if all(map(os.path.isdir, results)):
            return True
        for failed in self._spool.orphan.glob("*/*/error.json"):
            raise StemdError.from_dict(json.loads(failed.read_text()))
        self.check()
        return False

    def check(self) -> None:
        """Raise STEMD-S017 where the daemon has ended."""
        if self._process.poll() is not None:
            said = last_line(self._log.read_text(errors="replace"))
            raise StemdError("STEMD-S017", f"the daemon ended: {printable(said)}", remedy="See its message.")


@contextmanager
def daemon(model: str, store: Path, home: Path, threads: int) -> Iterator[Daemon]:
    """A daemon that is ready and has no worker yet; everything of it lies below ``home``, but for its state.

    The state, beside ``home``, outlives it: with it, what is fast on this machine.
    """
    spool = Spool(home / "spool")
    spool.inbox.mkdir(parents=True)
    config, log = home / "stemd.yaml", home / "stemd.log"
    places = {"spool": spool.root, "store": store, "run": home / "run", "state": home.with_name("state")}
    quoted = {key: json.dumps(str(path)) for key, path in places.items()}
    config.write_text(_CONFIG.format(model=json.dumps(model), **quoted))
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
