"""What there is: room on the disks, engines, models, failed jobs. Measured now and then, on a thread of its own.

A disk that does not answer may keep this thread for minutes; the loop goes on, and `scan_last_success` tells.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from stemd.core.config import Config
from stemd.core.errors import ErrorClass, StemdError
from stemd.engines import base, environments, models
from stemd.ops import logs
from stemd.ops.metrics import Metrics
from stemd.spool import durable
from stemd.spool.layout import Spool

_INTERVAL = 10.0
#: What an engine imports that need not be installed with stemd.
_NEEDS = {"demucs": ("torch",)}


class Stock:
    """Keeps the gauges of what there is. ``free_share`` is that of the fullest disk of a spool, once it is known."""

    def __init__(self, spools: tuple[Spool, ...], config: Callable[[], Config], metrics: Metrics) -> None:
        self._spools, self._config, self._metrics = spools, config, metrics
        self._orphans: dict[Path, str] = {}
        self.free_share: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stock", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while True:
            try:
                self.take()
            except Exception:
                logs.get().error("stock_failed", exc_info=True)
            if self._stop.wait(_INTERVAL):
                return

    def take(self) -> None:
        """Measure everything once."""
        config = self._config()
        self._measure_disks(config)
        for name in base.names():
            self._metrics.engine_up.labels(name).set(_is_up(name, config))
        for entry in models.catalogue(config.paths.models):
            if entry.engine in base.names():
                self._metrics.model_present.labels(entry.engine, entry.name).set(entry.whole)
        self._count_orphans()

    def _measure_disks(self, config: Config) -> None:
        roots = [spool.root for spool in self._spools]
        places = {"spool": roots, "state": [config.state_of(root) for root in roots], "models": [config.paths.models]}
        for role, paths in places.items():
            found = [os.statvfs(_existing(path)) for path in paths]
            self._metrics.free_bytes.labels(role).set(min(each.f_bavail * each.f_frsize for each in found))
            self._metrics.free_inodes.labels(role).set(min(each.f_favail for each in found))
            if role == "spool":
                self.free_share = min(each.f_bavail / max(1, each.f_blocks) for each in found)

    def _count_orphans(self) -> None:
        found = dict(self._classes())
        self._orphans = found
        count = Counter(found.values())
        for each in ErrorClass:
            self._metrics.orphan_jobs.labels(each.value).set(count[each.value])

    def _classes(self) -> Mapping[Path, str]:
        """The class of each folder in orphan/; one that is known is not read again."""
        found: dict[Path, str] = {}
        for spool in self._spools:
            for folder in spool.orphan.glob("[!_.]*/[!.]*"):
                known = self._orphans.get(folder)
                with suppress(OSError):
                    report = None if known else durable.read_json(folder / "error.json")
                    known = known or (str(report.get("class")) if report else None)
                if known:
                    found[folder] = known
        return found


def _is_up(engine: str, config: Config) -> bool:
    """Whether what the engine imports is installed, or its own environment is; nothing is loaded for that."""
    if not environments.own_environment(engine):
        return all(find_spec(package) is not None for package in _NEEDS.get(engine, ()))
    try:
        environments.Environment(engine, config.environment(engine)).require()
    except StemdError:
        return False
    return True


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(each for each in (path, *path.parents) if each.exists())
