"""An ordered end: a signal only notes it, and the loop, between two turns, does what it asks for."""

from __future__ import annotations

import time

from stemd.core.job import JobState
from stemd.daemon.dispatcher import Dispatcher
from stemd.daemon.runs import STOP_PATIENCE
from stemd.ops import logs

#: After the patience with them, runs that do not stop hold up the end no longer than this (seconds).
_MARGIN = 10.0


class Stopping:
    """Nothing new is started, what runs may finish until the drain is over; a second order waits for nothing."""

    def __init__(self) -> None:
        self._due: float | None = None
        self._at_once = self._interrupted = False

    @property
    def ordered(self) -> bool:
        return self._due is not None

    def order(self, drain: float) -> None:
        """Stop, ``drain`` seconds from now at the latest; given again, now. Safe in a signal handler, at any time."""
        now = time.monotonic()
        self._at_once = self._due is not None
        self._due = now + drain if self._due is None else min(self._due, now)

    def done(self, dispatcher: Dispatcher) -> bool:
        """Whether nothing runs any more, or what does is given up; it is interrupted when the drain is over."""
        assert self._due is not None
        dispatcher.draining = True  # a ``stemd resume`` comes too late
        if self._at_once:
            self._at_once = False
            for worker in list(dispatcher.pool.workers):
                dispatcher.pool.kill(worker, "stop")
        running, over = dispatcher.board.in_state(JobState.RUNNING), time.monotonic() - self._due
        if running and over > STOP_PATIENCE + _MARGIN:  # even a kill ends nothing that hangs in the kernel
            logs.get().warning("left_running", jobs=[live.id for live in running])
            return True
        if running and over > 0 and not self._interrupted:
            self._interrupted = True
            for live in running:
                dispatcher.runs.interrupt(live)
        return not running
