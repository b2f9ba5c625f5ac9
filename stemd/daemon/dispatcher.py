"""The turn of the loop: take in what is complete, end waits, hand out what is queued. It decides when, others do it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable

from stemd.core.config import Config
from stemd.core.job import JobState
from stemd.daemon.admission import Admission
from stemd.daemon.assignment import Assignment
from stemd.daemon.board import Board
from stemd.daemon.live import Live
from stemd.daemon.pool import Pool, WorkerState
from stemd.daemon.prober import Prober
from stemd.daemon.quotas import Quotas
from stemd.daemon.room import Room
from stemd.daemon.runs import Runs
from stemd.daemon.scaling import Scaling
from stemd.daemon.scanner import Scanner
from stemd.daemon.sealing import Sealer
from stemd.daemon.surviving import PAUSE, REST, P, survives
from stemd.daemon.takeover import Takeover

#: How often what a deferred job misses is looked for again (seconds).
_DEFERRED_INTERVAL = 2.0
#: How often what the disk kept from being finished is tried again (seconds).
_AGAIN_INTERVAL = 30.0
#: Of very many deferred jobs so many are looked at in one turn, by lot: none keeps the others from their turn.
_DEFERRED_AT_ONCE = 200


class Dispatcher:
    """Moves jobs along. ``draining``: nothing new is taken or started; ``suspended``: nor looked at, while one erases.

    ``upkeep`` is called at each turn with the time (monotonic seconds). ``progressed``: the last turn went through
    scanning, starting and looking after what runs; what the disk refuses one job is no more than that job's trouble.
    """

    def __init__(
        self, board: Board, scanners: Iterable[Scanner], pool: Pool, runs: Runs, wake: Callable[[], None]
    ) -> None:
        self.board, self.pool, self.runs = board, pool, runs
        self.prober = Prober()
        self.room = Room(board, self.prober)
        scanners = list(scanners)
        self.quotas = Quotas(board, [scanner.spool for scanner in scanners])
        self.sealer = Sealer(board, self.prober, wake)
        self.admission = Admission(board, scanners, self.room, self.sealer, self.quotas)
        self.takeover = Takeover(board, runs, self.sealer)
        self.scaling = Scaling(board, pool, runs.forecast)
        self.assignment = Assignment(board, pool, runs, self.room, self.quotas, self.scaling)
        self.draining = self.suspended = False
        self.progressed = True
        self.upkeep: Callable[[float], None] = lambda now: None
        self._engines: set[str] = set()
        self._deferred_due = self._again_due = self._statuses_due = 0.0

    @property
    def config(self) -> Config:
        return self.board.config

    @property
    def scanners(self) -> list[Scanner]:
        return self.admission.scanners

    def survives(self, part: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> bool:
        """``surviving.survives``; and a job whose folder is gone is let go, at the cost of this part's turn."""
        try:
            return survives(part, *args, **kwargs)
        except FileNotFoundError:
            if not self.board.let_go_of_vanished(self.sealer.busy):
                raise
            return False

    def tick(self) -> float:
        """Do everything that is due; returns for how many seconds nothing more will be, unless something happens."""
        now = time.monotonic()
        takes = not (self.draining or self.suspended)
        well = self.survives(self._count_anew, now)
        if self.suspended:
            self.admission.rest()
        scanned = self.suspended or self.survives(self.admission.take_in, now, takes)
        for part in (self.sealer.tick, self.upkeep, self._end_waits, self._end_deferrals, self.scaling.look):
            well &= self.survives(part, now)
        started = not takes or self.survives(self._start, now)
        made = self.runs.has_made
        well &= self.survives(self.runs.finish_made)
        tended = self.survives(self.runs.enforce_limits, now)
        well &= self.survives(self.runs.reconcile)
        for part in (self.assignment.trim, self._try_again, self.prober.trim, self._tend_cards, self._write_statuses):
            well &= self.survives(part, now)
        self._count()
        self.progressed = scanned and started and tended
        if not (well and self.progressed):
            return PAUSE
        return 0.0 if made else self._pause(time.monotonic())  # an end makes room for others

    def _count_anew(self, now: float) -> None:
        self.room.count_anew()
        self.quotas.count_anew(now)
        self.admission.tell_of_room()

    def _start(self, now: float) -> None:
        self.assignment.assign()
        self.assignment.keep_loaded(now)

    def _tend_cards(self, now: float) -> None:
        self.pool.cards.tend([worker.setup for worker in self.pool.workers], now)

    def _try_again(self, now: float) -> None:
        if now >= self._again_due:
            self._again_due = now + _AGAIN_INTERVAL
            self.board.close_albums()
            if not self.suspended:  # what is being erased must not come forward under the deletion
                self.takeover.again()

    def _write_statuses(self, now: float) -> None:
        self._statuses_due = self.board.write_statuses(now)

    def _pause(self, now: float) -> float:
        due = [now + 1.0, self.runs.governor.next_look(), self._statuses_due]
        if not self.suspended:
            due += [scanner.due() for scanner in self.scanners]
        if (look := self.sealer.next_look()) is not None:
            due.append(look)
        waiting = self.board.in_state(JobState.RETRY_WAIT)
        waits = [live.not_before - time.time() for live in waiting if live.not_before]
        return max(0.0, min(min(due) - now, *waits, 1.0))

    def _end_waits(self, now: float) -> None:
        clock = time.time()
        for live in self.board.in_state(JobState.RETRY_WAIT):
            if (live.not_before is None or live.not_before <= clock) and not survives(self._end_wait, live):
                live.not_before = clock + REST

    def _end_wait(self, live: Live) -> None:
        if live.unended is not None:
            self.board.give_up(live, live.unended)
            return
        self.board.requeue(live, "queued again")
        if live.job is None:
            self.sealer.start(live)

    def _end_deferrals(self, now: float) -> None:
        if now < self._deferred_due:
            return
        self._deferred_due = now + _DEFERRED_INTERVAL
        deferred = self.board.in_state(JobState.DEFERRED)
        for live in random.sample(deferred, min(len(deferred), _DEFERRED_AT_ONCE)):
            if live.job is not None and self.assignment.waits_for(live, live.job) is None:
                self.board.requeue(live, "what was missing is there")
                live.log("undeferred")

    def _count(self) -> None:
        metrics, counts = self.board.metrics, self.board.count()
        for state in JobState:
            if not state.ended:
                metrics.jobs.labels(state.value).set(counts[state])
        kept_for: frozenset[str] = frozenset().union(*(scanner.kept_for for scanner in self.scanners))
        metrics.admission_paused.labels("backlog").set("STEMD-R006" in kept_for)
        metrics.admission_paused.labels("quota").set("STEMD-P005" in kept_for)
        metrics.admission_paused.labels("drain").set(self.draining)
        metrics.admission_paused.labels("room").set(bool(kept_for - {"STEMD-R006", "STEMD-P005"}))
        metrics.oldest_file.set(min((each.oldest for each in self.scanners if each.oldest is not None), default=0.0))
        for scanner in self.scanners:
            while scanner.newly_ignored:
                metrics.ignored_files.labels(scanner.newly_ignored.pop().value).inc()
        entries = [scanner.counts for scanner in self.scanners]
        for key in ("settling", "refused", "kept"):
            metrics.inbox_files.labels(key).set(sum(each[key] for each in entries))
        self._engines.update(self.config.engines, (worker.setup.engine for worker in self.pool.workers))
        for engine in self._engines:
            for kind in WorkerState:
                number = sum(w.setup.engine == engine and w.state is kind for w in self.pool.workers)
                metrics.workers.labels(engine, kind.value).set(number)
