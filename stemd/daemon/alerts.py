"""Watches the daemon for what it should raise an alarm about: hears of ends, looks at the machine, asks the rules."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

from stemd.core.alerting import SEVERITIES, Alert, Book, History, State, firing
from stemd.core.config import Config
from stemd.core.errors import ErrorClass
from stemd.core.job import Outcome
from stemd.daemon.board import Board
from stemd.daemon.live import Live
from stemd.ops.metrics import Metrics
from stemd.ops.sinks import Sinks

_INTERVAL = 2.0
_ABORTS = frozenset({ErrorClass.ENGINE_CRASH, ErrorClass.ABANDONED, ErrorClass.TIMEOUT})


class Alarm:
    """Owns the history and the book. ``look`` is for the loop's thread; it never waits for a receiver.

    ``free`` says what share of the fullest disk is free, ``canary_at`` when the canary last came through, ``draining``
    whether nothing is started, on purpose: then only what is at work can be late.
    """

    def __init__(
        self,
        board: Board,
        metrics: Metrics,
        free: Callable[[], float | None],
        canary_at: Callable[[], float | None] = lambda: None,
        draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self._board, self._metrics = board, metrics
        self._free, self._canary_at, self._draining = free, canary_at, draining
        self._history, self._book, self._sinks = History(), Book(), Sinks()
        self._busy_since: float | None = None
        self._next_look = 0.0
        board.on_end.append(self._ended)
        board.on_failure.append(self._failed)
        psutil.cpu_percent()  # the first call only begins to measure

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """What fires now."""
        return tuple(self._book.firing.values())

    def stop(self) -> None:
        self._sinks.stop()

    def look(self, now: float) -> None:
        """Ask the rules, if it is time; ``now`` is monotonic seconds."""
        if now < self._next_look:
            return
        self._next_look = now + _INTERVAL
        clock, config = time.time(), self._board.config
        self._history.forget(clock)
        news, again = self._book.take(firing(config.alerts, self._history, self._state(config, clock), clock), clock)
        self._sinks.tell(config.alerts.sinks, news)
        self._sinks.tell(config.alerts.sinks, again, again=True)
        for name in SEVERITIES:
            self._metrics.alerts_firing.labels(name).set(name in self._book.firing)

    def _state(self, config: Config, clock: float) -> State:
        draining = self._draining()
        ages = tuple(
            clock - live.since
            for live in self._board.jobs.values()
            if not live.waits_on_purpose and (live.at_work or not draining)
        )
        return State(ages, self._busy(config, clock), self._free(), self._canary_at())

    def _busy(self, config: Config, clock: float) -> float | None:
        """Since when the machine is at a limit without a pause."""
        rule = config.alerts.resources
        cpu, memory = psutil.cpu_percent() / 100, psutil.virtual_memory().percent / 100
        busy = rule is not None and (cpu > rule.cpu or memory > rule.memory)
        self._busy_since = (self._busy_since or clock) if busy else None
        return self._busy_since

    def _ended(self, live: Live, outcome: Outcome) -> None:
        if outcome is not Outcome.CANCELLED and not live.is_canary:
            clock = time.time()
            self._history.ended.append((clock, outcome is Outcome.DONE, max(0.0, clock - live.since)))

    def _failed(self, live: Live, kind: ErrorClass) -> None:
        if kind is ErrorClass.OOM:
            self._history.ooms.append(time.time())
        elif kind in _ABORTS:
            self._history.aborts.append(time.time())
