"""``/health``: what an operator asks first, answered without loading an engine."""

from __future__ import annotations

import platform
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from stemd import __version__
from stemd.core.config import Config
from stemd.core.errors import StemdError
from stemd.engines import base, environments, models
from stemd.ops.view import DaemonView
from stemd.spool.layout import Spool

_PACKAGES = ("torch", "demucs", "numpy", "scipy", "soundfile", "watchdog", "psutil", "starlette", "uvicorn")
_PROGRAMS = ("ffmpeg", "ffprobe")
#: Who asks first waits so long for the versions of programs (seconds).
_ASKED_FOR = 1.0


def package_version(name: str) -> str | None:
    """The installed version of a distribution, ``None`` when it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def program_version(name: str) -> str | None:
    """The version a program of the ffmpeg family states, ``None`` when it is not installed or does not run."""
    try:
        said = subprocess.run([name, "-version"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return next(iter(said.split()[2:3]), None)


class Health:
    """Collects the document; what cannot change while the daemon runs is asked once."""

    def __init__(self, config: Config, spools: tuple[Spool, ...], store: Path) -> None:
        self._config, self._spools, self._store = config, spools, store
        self._started = time.time()
        self._packages = {name: package_version(name) for name in _PACKAGES}
        self._programs: dict[str, str | None] = dict.fromkeys(_PROGRAMS)
        self._asking: threading.Thread | None = None
        self._lock = threading.Lock()
        self._process = psutil.Process()
        self._names = base.names()

    def document(self, view: DaemonView) -> dict[str, Any]:
        """One JSON document; ``status`` is ``ok`` or ``unavailable``."""
        return {
            "status": "ok" if view.ready else "unavailable",
            "summary": view.sentence,
            "version": __version__,
            "python": platform.python_version(),
            "uptime_seconds": round(time.time() - self._started, 1),
            "daemon": {"pid": self._process.pid, "rss_bytes": self._process.memory_info().rss},
            "engines": self._engines(view),
            "packages": self._packages,
            "programs": self._versions(),
            "memory": _memory(),
            "spools": [_disk(spool) for spool in self._spools],
            **{key: value for key, value in view.to_dict().items() if key not in {"ready", "engines", "workers"}},
            "workers": [{"rss_bytes": _rss(worker.get("pid")), **worker} for worker in view.workers],
        }

    def _versions(self) -> dict[str, str | None]:
        """Versions of the programs, asked once: ``None`` where one is not installed, or hangs and has not answered."""
        with self._lock:
            if self._asking is None:
                self._asking = threading.Thread(target=self._ask, name="programs", daemon=True)
                self._asking.start()
        self._asking.join(_ASKED_FOR)
        return dict(self._programs)

    def _ask(self) -> None:
        for name in _PROGRAMS:
            self._programs[name] = program_version(name)

    def _engines(self, view: DaemonView) -> dict[str, Any]:
        entries = models.catalogue(self._store)
        return {
            name: self._engine(name, view.engines.get(name, {}), [each for each in entries if each.engine == name])
            for name in self._names
        }

    def _engine(self, name: str, last: Mapping[str, Any], entries: Sequence[models.Entry]) -> dict[str, Any]:
        """``loads``: how it came up last, ``None`` where no worker has tried yet."""
        found = [{"name": entry.name, "present": entry.whole} for entry in entries]
        known = {key: last.get(key) for key in ("loads", "model", "at", "facts", "error")}
        if not environments.own_environment(name):
            return {**known, "models": found}
        place = environments.Environment(name, self._config.environment(name))
        error = None
        try:
            place.require()
        except StemdError as missing:
            error = missing.to_dict()
            known |= {"loads": False, "error": error}
        environment = {"versions": place.versions(), "error": error}
        return {**known, "models": found, "environment": environment}


def _disk(spool: Spool) -> dict[str, Any]:
    usage = shutil.disk_usage(spool.root)
    return {"root": str(spool.root), "free_bytes": usage.free, "total_bytes": usage.total}


def _memory() -> dict[str, int]:
    memory = psutil.virtual_memory()
    return {"total_bytes": memory.total, "available_bytes": memory.available}


def _rss(pid: Any) -> int | None:
    """Memory of a worker; ``None`` where it has just ended."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except (psutil.Error, TypeError, ValueError):
        return None
