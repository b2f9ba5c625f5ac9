"""``/health``: what an operator asks first, answered without loading an engine."""

from __future__ import annotations

import platform
import shutil
import time
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

_PACKAGES = ("torch", "demucs", "numpy", "soundfile", "watchdog", "psutil")


def package_version(name: str) -> str | None:
    """The installed version of a distribution, ``None`` when it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


class Health:
    """Collects the document; what cannot change while the daemon runs is asked once."""

    def __init__(self, config: Config, spools: tuple[Spool, ...], store: Path) -> None:
        self._config, self._spools, self._store = config, spools, store
        self._started = time.time()
        self._packages = {name: package_version(name) for name in _PACKAGES}
        self._programs = {name: shutil.which(name) is not None for name in ("ffmpeg", "ffprobe")}
        self._process = psutil.Process()

    def document(self, view: DaemonView) -> dict[str, Any]:
        """One JSON document; ``status`` is ``ok`` or ``unavailable``."""
        return {
            "status": "ok" if view.ready else "unavailable",
            "summary": view.sentence,
            "version": __version__,
            "python": platform.python_version(),
            "uptime_seconds": round(time.time() - self._started, 1),
            "daemon": {"pid": self._process.pid, "rss_bytes": self._process.memory_info().rss},
            "engines": {name: self._engine(name) for name in base.names()},
            "packages": self._packages,
            "programs": self._programs,
            "spools": [_disk(spool) for spool in self._spools],
            **{key: value for key, value in view.to_dict().items() if key != "ready"},
        }

    def _engine(self, name: str) -> dict[str, Any]:
        if not environments.own_environment(name):
            return {"models": self._models(name)}
        place = environments.Environment(name, self._config.environment(name))
        try:
            place.require()
            error = None
        except StemdError as missing:
            error = missing.to_dict()
        return {"models": self._models(name), "environment": {"versions": place.versions(), "error": error}}

    def _models(self, engine: str) -> list[dict[str, Any]]:
        return [
            {"name": entry.name, "present": entry.folder is not None}
            for entry in models.catalogue(self._store)
            if entry.engine == engine
        ]


def _disk(spool: Spool) -> dict[str, Any]:
    usage = shutil.disk_usage(spool.root)
    return {"root": str(spool.root), "free_bytes": usage.free, "total_bytes": usage.total}
