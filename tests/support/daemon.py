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


def eventually(condition: Callable[[], Any], seconds: float = 120.0, what: str = "") -> Any:
    """Wait until ``condition()`` is true and return it; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds:g} s: {what or condition}")


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
            "alerts": {"canary": None},
            "retry": {"tries": 3, "base": "200ms", "cap": "1s"},
        }
        for key, value in settings.items():
            base[key] = {**base[key], **value} if isinstance(base.get(key), dict) and isinstance(value, dict) else value
        self.config.write_text(yaml.safe_dump(base))

    def __enter__(self) -> Daemon:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.terminate()
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def start(self, *, ready: bool = True) -> None:
        with self.log.open("ab") as log:
            mark = log.tell()
            self.process = subprocess.Popen(
                [*self.python, "-m", "stemd", "run", "-c", str(self.config)], stderr=log, stdout=log
            )
        if ready:
            eventually(
                lambda: self._alive() and '"event": "ready"' in self.log.read_text()[mark:], 60, "the daemon is ready"
            )

    def _alive(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        return True

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, seconds: float = 60.0) -> int:
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
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=check)

    def ask(self, *args: str) -> Any:
        """The JSON answer of a command."""
        result = self.stemd(*args, "--json")
        return json.loads(result.stdout)

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log's events of one name."""
        lines = (json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{"))
        return [line for line in lines if line.get("event") == name]

    def http(self, path: str) -> tuple[int, str]:
        """Status and body of one GET."""
        address = self.events("http_listening")[-1]["address"]
        try:
            with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
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
        assert self.process is None or self.process.poll() in {None, 0, -signal.SIGKILL}, self.log.read_text()
        found = self.spool.outbox.glob("*/*/manifest.json")
        return {path.parent.name: json.loads(path.read_text()) for path in found}

    def failures(self) -> dict[str, dict[str, Any]]:
        """Failed folders by the source's name, with their reports."""
        reports = [json.loads(path.read_text()) for path in self.spool.orphan.glob("*/*/error.json")]
        return {str(report["source"]["name"]): report for report in reports}

    def states(self) -> dict[str, dict[str, Any]]:
        return {path.stem: json.loads(path.read_text()) for path in self.spool.status.glob("[!.]*.json")}

    def running(self) -> dict[str, Any] | None:
        """The status of a job that is separating now."""
        states = self.states().values()
        return next((s for s in states if s["state"] == "running" and s["stage"] == "separate"), None)

    def in_state(self, state: str) -> dict[str, Any] | None:
        """The status of a job in this state."""
        return next((status for status in self.states().values() if status["state"] == state), None)

    def worker(self) -> psutil.Process:
        assert self.process is not None
        daemon = psutil.Process(self.process.pid)

        def workers() -> list[psutil.Process]:
            with suppress(psutil.NoSuchProcess):
                return [child for child in daemon.children() if "stemd.worker" in child.cmdline()]
            return []

        found: list[psutil.Process] = eventually(workers, 30, "there is a worker")
        return found[0]

    def drop(self, source: Path, name: str | None = None) -> Path:
        """Put a recording in by one rename, as ``mv`` does."""
        target = self.spool.inbox / (name or source.name)
        hidden = self.home / "arriving"
        hidden.write_bytes(source.read_bytes())
        hidden.rename(target)
        return target
