"""The daemon's slow look at its own promises, on a thread of its own: what is broken is counted and told."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Container

from stemd.core.config import Config
from stemd.ops import logs
from stemd.ops.metrics import Metrics
from stemd.spool import audit
from stemd.spool.audit import Auditor, Violation
from stemd.spool.halt import HaltedError
from stemd.spool.layout import Spool

#: Soonest after the start: recovery and the first jobs come first (seconds).
_FIRST = 60.0


class _StoppedError(Exception):
    """The daemon stops; no ``OSError``, which the audit would take for a fault of what it looks at."""


class SelfAudit:
    """Audits the spools every ``self_audit.every`` seconds. ``known`` tells which jobs belong in work/ now."""

    def __init__(
        self,
        spools: tuple[Spool, ...],
        config: Callable[[], Config],
        known: Callable[[], Container[str]],
        metrics: Metrics,
    ) -> None:
        self._spools, self._config, self._known, self._metrics = spools, config, known, metrics
        self._told: set[Violation] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="self-audit", daemon=True)

    def start(self) -> None:
        self._metrics.audited.set_to_current_time()  # one that never comes to its end is overdue, too
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        pause = min(_FIRST, self._every())
        while not self._stop.wait(pause):
            try:
                self._look()
            except (_StoppedError, HaltedError):
                return
            except Exception:
                logs.get().error("self_audit_failed", exc_info=True)
            pause = self._every()

    def _every(self) -> float:
        every = self._config().self_audit.every
        self._metrics.audit_every.set(every)
        return every

    def _look(self) -> None:
        started = time.monotonic()
        found = [violation for spool in self._spools for violation in self._one(spool)]
        if self._stop.is_set():
            return
        for violation in found:
            if violation not in self._told:
                self._metrics.violations.labels(violation.invariant).inc()
                logs.get().critical(
                    "invariant_violated",
                    invariant=violation.invariant,
                    path=violation.path,
                    reason=violation.message,
                    promised=audit.INVARIANTS[violation.invariant],
                )
        self._told = set(found)
        broken = Counter(violation.invariant for violation in found)
        for invariant in audit.INVARIANTS:
            self._metrics.broken.labels(invariant).set(broken[invariant])
        self._metrics.audited.set_to_current_time()
        logs.get().info("self_audit", violations=len(found), seconds=round(time.monotonic() - started, 1))

    def _one(self, spool: Spool) -> list[Violation]:
        tries = self._config().retry.tries
        return audit.confirmed(
            lambda: iter(list(Auditor(spool, tries, self._known(), self._pace).violations())), wait=5.0
        )

    def _pace(self, size: int) -> None:
        """Read no faster than ``self_audit.rate``; a stop ends the look at the next file."""
        if self._stop.wait(size / self._config().self_audit.rate):
            raise _StoppedError
