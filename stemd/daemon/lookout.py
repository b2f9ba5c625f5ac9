"""Looks about once a second at what no event tells: is each spool, and each inbox, still the one that was opened?"""

from __future__ import annotations

from collections.abc import Sequence

from stemd.daemon.scanner import Scanner
from stemd.daemon.watcher import Mode
from stemd.ops import logs
from stemd.ops.metrics import Metrics
from stemd.spool import probes

_INTERVAL = 1.0


class Lookout:
    """Made once the spools are locked: what is at their roots then is what must stay there."""

    def __init__(self, scanners: Sequence[Scanner], metrics: Metrics) -> None:
        self._scanners, self._metrics = scanners, metrics
        self._identities = [(scanner.spool, probes.identity(scanner.spool)) for scanner in scanners]
        self._told: dict[str, Mode] = {}
        self._lost = 0
        self._next_look = 0.0
        self.tell()

    def spools(self) -> None:
        """Make sure that every spool is still there.

        Raises:
            StemdError: STEMD-S020.
        """
        for spool, identity in self._identities:
            probes.still_there(spool, identity)

    def look(self, now: float) -> None:
        """Look at everything, if a second has passed; ``now`` is monotonic seconds.

        Raises:
            StemdError: STEMD-S020.
        """
        if now < self._next_look:
            return
        self._next_look = now + _INTERVAL
        self.spools()
        for scanner in self._scanners:
            for inbox in scanner.watcher.renew():
                logs.get().warning("inbox_replaced", inbox=inbox, mode=scanner.watcher.modes[inbox].name)
        self.tell()

    def tell(self) -> None:
        """Log and count what is new: how inboxes are watched, and that events were lost."""
        for scanner in self._scanners:
            for inbox, mode in scanner.watcher.modes.items():
                if self._told.get(inbox) != mode:
                    self._told[inbox] = mode
                    logs.get().info("watching", inbox=inbox, mode=mode.name, why=mode.why or None)
                    for name in ("events", "poll"):
                        self._metrics.watch_mode.labels(inbox, name).set(name == mode.name)
        lost = sum(scanner.watcher.overflows for scanner in self._scanners)
        if lost > self._lost:
            remedy = "Nothing is lost by it; if it happens often, raise fs.inotify.max_queued_events."
            logs.get().warning("watch_overflow", times=lost - self._lost, remedy=remedy)
            self._metrics.overflows.inc(lost - self._lost)
            self._lost = lost
