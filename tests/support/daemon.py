"""A real daemon in a process of its own, on a temporary spool."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import yaml

from stemd.spool.layout import Spool

#: A busy machine may take ten times as long for everything, and who waits for what comes loses nothing (seconds).
PATIENCE = 120.0


def eventually(condition: Callable[[], Any], seconds: float = PATIENCE, what: str = "") -> Any:
    """Wait until ``condition()`` is true and return it; fail after ``seconds``, but never before ``PATIENCE``."""
    return within(max(seconds, PATIENCE), condition, what)


def within(seconds: float, condition: Callable[[], Any], what: str = "") -> Any:
    """The same where so many ``seconds`` are what is meant; looks for the last time when they are over."""
    deadline = time.monotonic() + seconds
    while True:
        late = time.monotonic() > deadline
        if value := condition():
            return value
        if late:
            raise AssertionError(f"not within {seconds:g} s: {what or condition}")
        time.sleep(0.02)


def documents(root: Path, pattern: str) -> dict[Path, dict[str, Any]]:
    """The JSON files below ``root``; what goes away while one looks is looked at once more, and is then not there."""
    while True:
        with suppress(FileNotFoundError):
            return {path: json.loads(path.read_text()) for path in root.glob(pattern)}


def ended(process: psutil.Process) -> bool:
    """Whether a process has ended, buried or not."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Daemon:
    """``stemd run`` with a small configuration; ``with`` starts it and, at the end, stops it."""

    RULES = Path(__file__).parents[2] / "config" / "prometheus"

    def __init__(self, root: Path, **settings: Any) -> None:
        self.home = root
        self.spool = Spool(root / "spool")
        self.spool.inbox.mkdir(parents=True, exist_ok=True)
        self.config = root / "stemd.yaml"
        self.log = root / "daemon.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.python = [sys.executable]
        self.configure(**settings)

    def configure(self, **settings: Any) -> None:
        base: dict[str, Any] = {
            "spool": str(self.spool.root),
            "defaults": {"model": "nano", "settle": "300ms", "settle_unprobed": "500ms"},
            "http": {"listen": "127.0.0.1:0"},
            "models": {"fetch": "never"},
            "paths": {name: str(self.home / name) for name in ("models", "engines", "run")},
            "alerts": dict.fromkeys(("canary", "disk", "resources")),  # a full or busy machine is no finding
            "retry": {"tries": 3, "base": "200ms", "cap": "1s"},
            "scaling": {"cpu_pressure": None, "memory_pressure": None},  # a busy one has workers all the same
        }
        for key, value in settings.items():
            base[key] = {**base[key], **value} if isinstance(base.get(key), dict) and isinstance(value, dict) else value
        self.config.write_text(yaml.safe_dump(base))

    def __enter__(self) -> Daemon:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is None:
            return
        for patience in (0.5, PATIENCE):  # the second word stops what runs; two at one time would be one
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=patience)
                return
        self.kill()

    def start(self, *, ready: bool = True) -> None:
        with self.log.open("ab") as log:
            before = len(self.events("ready"))
            self.process = subprocess.Popen(
                [*self.python, "-m", "stemd", "run", "-c", str(self.config)], stderr=log, stdout=log
            )
        if ready:
            eventually(lambda: self._alive() and len(self.events("ready")) > before, what="the daemon is ready")

    def _alive(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        return True

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, seconds: float = PATIENCE) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout=seconds)

    def once(self, seconds: float = 300.0) -> int:
        """``stemd run --once`` to its end."""
        command = [sys.executable, "-m", "stemd", "run", "--once", "-c", str(self.config)]
        with self.log.open("ab") as log:
            return subprocess.run(command, stderr=log, stdout=log, timeout=seconds, check=False).returncode

    def stemd(self, *args: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        """A command of the command line on this daemon's configuration."""
        command = [sys.executable, "-m", "stemd", *args, "-c", str(self.config)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=check)

    def ask(self, *args: str) -> Any:
        """The JSON answer of a command."""
        result = self.stemd(*args, "--json")
        return json.loads(result.stdout)

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log's events of one name."""
        return [line for line in self.told() if line.get("event") == name]

    def told(self) -> list[dict[str, Any]]:
        """All events in the log; a line that is still being written is not there yet."""
        lines = self.log.read_bytes().split(b"\n")[:-1]
        return [json.loads(line) for line in lines if line.startswith(b"{")]

    def http(self, path: str) -> tuple[int, str]:
        """Status and body of one GET."""
        address = self.events("http_listening")[-1]["address"]
        try:
            with urllib.request.urlopen(f"http://{address}{path}", timeout=PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, series: str) -> float:
        """The value of one series, such as ``stemd_jobs{state="running"}``."""
        found = re.search(rf"^{re.escape(series)} (\S+)$", self.http("/metrics")[1], re.MULTILINE)
        assert found, series
        return float(found[1])

    # ---- the spool

    def results(self) -> dict[str, dict[str, Any]]:
        """Finished folders by name, with their manifests."""
        assert self.process is None or self.process.poll() in {None, 0, -signal.SIGTERM, -signal.SIGKILL}, (
            self.log.read_text()
        )
        found = documents(self.spool.outbox, "*/*/manifest.json")
        return {path.parent.name: manifest for path, manifest in found.items()}

    def failures(self) -> dict[str, dict[str, Any]]:
        """Failed folders by the source's name, with their reports."""
        reports = documents(self.spool.orphan, "*/*/error.json")
        return {str(report["source"]["name"]): report for report in reports.values()}

    def states(self) -> dict[str, dict[str, Any]]:
        return {path.stem: status for path, status in documents(self.spool.status, "[!.]*.json").items()}

    def running(self) -> dict[str, Any] | None:
        """The status of a job that is separating now."""
        states = self.states().values()
        return next((s for s in states if s["state"] == "running" and s["stage"] == "separate"), None)

    def in_state(self, state: str) -> dict[str, Any] | None:
        """The status of a job in this state."""
        return next((status for status in self.states().values() if status["state"] == state), None)

    def job_called(self, title: str) -> str | None:
        """The id of the job with this title; its status file may follow what happens by a moment."""
        return next((job_id for job_id, status in self.states().items() if status["title"] == title), None)

    def worker(self) -> psutil.Process:
        assert self.process is not None
        daemon = psutil.Process(self.process.pid)

        def workers() -> list[psutil.Process]:
            with suppress(psutil.NoSuchProcess):
                return [child for child in daemon.children() if "stemd.worker" in child.cmdline()]
            return []

        found: list[psutil.Process] = eventually(workers, what="there is a worker")
        return found[0]

    def drop(self, source: Path, name: str | None = None) -> Path:
        """Put a recording in by one rename, as ``mv`` does."""
        target = self.spool.inbox / (name or source.name)
        hidden = self.home / "arriving"
        hidden.write_bytes(source.read_bytes())
        hidden.rename(target)
        return target
