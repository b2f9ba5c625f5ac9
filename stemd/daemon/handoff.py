"""Hands ended jobs over, on threads of its own: the queue is on the disk, this only goes through it.

What is not taken is tried again with backoff, at a restart at once, and given up after `handoff.keep`.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from stemd.core.config import Config
from stemd.core.errors import StemdError
from stemd.daemon import retry
from stemd.ops import logs
from stemd.ops.metrics import Metrics
from stemd.ops.post import NotTakenError
from stemd.ops.receivers import receivers
from stemd.spool import durable, handover, sidecar
from stemd.spool.layout import Spool

#: How long between two looks at the queue where nobody wakes us (seconds).
_INTERVAL = 5.0
#: The waits between tries (seconds): full jitter, doubled each time up to the cap.
_BASE, _CAP = 2.0, 600.0
#: Receivers that are spoken to at a time.
_AT_ONCE = 4


class Handing:
    """Goes through what is to be handed over. ``pending`` is how much there is, as of the last look."""

    def __init__(self, spools: tuple[Spool, ...], config: Callable[[], Config], metrics: Metrics) -> None:
        self._spools, self._config, self._metrics = spools, config, metrics
        self._tries: dict[Path, int] = {}
        self._not_before: dict[Path, float] = {}
        self._running: set[Path] = set()
        self._lock = threading.Lock()
        self._wake, self._stopping = threading.Event(), False
        self.pending = 0
        self._threads = [
            threading.Thread(target=self._run, name=f"handoff-{number}", daemon=True) for number in range(_AT_ONCE)
        ]

    def prepare(self) -> None:
        """Make the queue's folder where a hand-over is configured, and let go of an empty one where none is."""
        wanted = bool(receivers(self._config().handoff))
        for spool in self._spools:
            folder = handover.folder(spool)
            if wanted and not folder.is_dir():
                folder.mkdir(mode=0o700)
                durable.fsync(spool.root)
            elif not wanted and folder.is_dir():
                with suppress(OSError):
                    folder.rmdir()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """A job has ended."""
        self._wake.set()

    def stop(self) -> None:
        """End soon; what a receiver is told at this moment is told again by the next daemon if it does not take it."""
        self._stopping = True
        self._wake.set()
        deadline = time.monotonic() + 5
        for thread in self._threads:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))

    def settled(self, soon: float) -> bool:
        """Whether nothing is under way or will be tried within ``soon`` seconds."""
        limit = time.monotonic() + soon
        with self._lock:
            waiting = [path for spool in self._spools for path in handover.waiting(spool)]
            return not self._running and all(self._not_before.get(path, 0.0) > limit for path in waiting)

    def _run(self) -> None:
        while not self._stopping:
            try:
                if not self._one():
                    self._wake.wait(self._pause())
                    self._wake.clear()
            except Exception:
                logs.get().error("handoff_failed", exc_info=True)
                time.sleep(1)

    def _pause(self) -> float:
        now = time.monotonic()
        with self._lock:
            return max(0.05, min([_INTERVAL, *(due - now for due in self._not_before.values())]))

    def _one(self) -> bool:
        """Hand one over, if one is due."""
        taken = self._take()
        if taken is None:
            return False
        spool, path, document = taken
        try:
            self._hand_over(spool, path, document)
        finally:
            with self._lock:
                self._running.discard(path)
        return True

    def _take(self) -> tuple[Spool, Path, dict[str, Any]] | None:
        """The next one that is due, marked as under way."""
        with self._lock:
            waiting = [(spool, path) for spool in self._spools for path in handover.waiting(spool)]
            self.pending = len(waiting)
            self._metrics.handoffs_pending.set(len(waiting))
            self._forget_gone({path for _, path in waiting})
            now = time.monotonic()
            for spool, path in waiting:
                if path in self._running or self._not_before.get(path, 0.0) > now:
                    continue
                document = durable.read_json(path)
                if document is not None and handover.due(spool, document):
                    self._running.add(path)
                    return spool, path, document
        return None

    def _forget_gone(self, present: set[Path]) -> None:
        for path in [path for path in self._tries if path not in present]:
            del self._tries[path]
            self._not_before.pop(path, None)

    def _hand_over(self, spool: Spool, path: Path, document: dict[str, Any]) -> None:
        settings = self._config().handoff
        for name, receiver in receivers(settings).items():
            if name in document.get("_taken", ()):
                continue
            started = time.monotonic()
            facts = {"job_uuid": document["job_uuid"], "user_id": document["user_id"], "receiver": name}
            try:
                receiver(spool, path, document)
            except NotTakenError as error:
                self._not_taken(path, document, facts, str(error), settings.keep)
                return
            document["_taken"] = [*document.get("_taken", ()), name]
            self._metrics.handoffs.labels("taken").inc()
            logs.get().info("handed_over", **facts, seconds=round(time.monotonic() - started, 3))
            if path.exists():  # else it was forgotten meanwhile: then it stays forgotten
                durable.write_json(path, document)
        _moved(spool, document)
        path.unlink(missing_ok=True)
        durable.fsync(path.parent)

    def _not_taken(self, path: Path, document: dict[str, Any], facts: dict[str, Any], reason: str, keep: float) -> None:
        self._metrics.handoffs.labels("not_taken").inc()
        age = time.time() - datetime.fromisoformat(document["ended_at"]).timestamp()
        if age > keep:
            self._metrics.handoffs.labels("given_up").inc()
            logs.get().error("handoff_given_up", **facts, reason=reason, hours=round(age / 3600, 1))
            path.unlink(missing_ok=True)
            return
        with self._lock:
            self._tries[path] = tries = self._tries.get(path, 0) + 1
            delay = retry.backoff(tries, _BASE, _CAP, random.random())  # noqa: S311
            self._not_before[path] = time.monotonic() + delay
        logs.get().warning("not_handed_over", **facts, reason=reason, tries=tries, again_in=round(delay, 1))


def _moved(spool: Spool, document: dict[str, Any]) -> None:
    """Where the finished folder was moved, `stemd list` shall find it."""
    if document.get("_moved") and document["result"] == document["_moved"]:
        status = sidecar.read_status(spool.status_file(document["job_uuid"]))
        if status is not None:
            with suppress(StemdError, OSError):
                sidecar.write_status(spool, document["job_uuid"], {**status, "result": document["result"]})
