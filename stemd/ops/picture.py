"""The latest snapshot of the spool for many askers: however many ask how often, it costs the daemon little."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from stemd.ops.jobs import JobView
from stemd.ops.snapshot import Memory, Snapshot, Where, read_job, snapshot
from stemd.spool.layout import Spool

#: A look is believed for so many seconds, or for so many times what it took: at most a fiftieth of one core.
_LEAST, _TIMES = 1.0, 50.0


class Picture:
    """Looks when asked, but not more often than is cheap. May be asked from any thread."""

    def __init__(self, where: Callable[[], Where]) -> None:
        self._where = where
        self._memory = Memory()
        self._lock = threading.Lock()
        self._until = 0.0
        self._held: Snapshot | None = None

    def now(self) -> Snapshot:
        """The spool as it is, or was a moment ago.

        Raises:
            StemdError: as ``snapshot``.
        """
        with self._lock:
            started = time.monotonic()
            if self._held is None or started >= self._until:
                self._held = snapshot(self._where(), self._memory)
                ended = time.monotonic()
                self._until = ended + max(_LEAST, _TIMES * (ended - started))
            return self._held

    def job(self, job_id: str) -> JobView | None:
        """One job by its whole id, as it is now; ``None``: no spool has it."""
        for spool in map(Spool, self._where().spool):
            if (view := read_job(spool, job_id)) is not None:
                return view
        return next((job for job in self.now().jobs if job.job_uuid == job_id), None)
