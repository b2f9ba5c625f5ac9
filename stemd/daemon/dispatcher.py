"""The turn of the loop: take in what is complete, end waits, hand out what is queued. It decides when, others do it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from stemd.core.config import Config
from stemd.core.errors import StemdError
from stemd.core.job import JobState, new_job_id
from stemd.core.request import user_for
from stemd.daemon import placement, retry
from stemd.daemon.board import Board
from stemd.daemon.live import Live
from stemd.daemon.pool import Pool, WorkerState
from stemd.daemon.runs import Runs
from stemd.daemon.scanner import Scanner
from stemd.daemon.sealing import Sealer
from stemd.ops import logs
from stemd.spool import attempts, claim, durable, recover
from stemd.spool.intake import Candidate, Refusal
from stemd.spool.layout import Spool
from stemd.worker.setup import Setup

#: How often what a deferred job misses is looked for again (seconds).
_DEFERRED_INTERVAL = 2.0
#: How long the inbox is left alone after the disk refused a claim (seconds).
_AFTER_FAILED_CLAIM = 5.0


class Dispatcher:
    """Moves jobs along. ``draining``: nothing new is taken or started."""

    def __init__(
        self, board: Board, scanners: Iterable[Scanner], pool: Pool, runs: Runs, wake: Callable[[], None]
    ) -> None:
        self.board, self.pool, self.runs = board, pool, runs
        self.scanners = list(scanners)
        self.sealer = Sealer(board, wake)
        self.draining = False
        self._deferred_due = 0.0

    @property
    def config(self) -> Config:
        return self.board.config

    def tick(self) -> float:
        """Do everything that is due; returns for how many seconds nothing more will be, unless something happens."""
        now = time.monotonic()
        if not self.draining:
            self._take_in(now)
        self.sealer.tick(now)
        self._end_waits(now)
        if not self.draining:
            self._assign()
        self.runs.enforce_limits(now)
        self.runs.reconcile()
        self._trim(now)
        self._count()
        return self._pause(time.monotonic())

    def _pause(self, now: float) -> float:
        due = [now + 1.0]
        if not self.draining:
            due += [scanner.due() for scanner in self.scanners]
        if (look := self.sealer.next_look()) is not None:
            due.append(look)
        waiting = self.board.in_state(JobState.RETRY_WAIT)
        waits = [live.not_before - time.time() for live in waiting if live.not_before]
        return max(0.0, min(min(due) - now, *waits, 1.0))

    # ---- in

    def _take_in(self, now: float) -> None:
        metrics = self.board.metrics
        for scanner in self.scanners:
            if now >= scanner.due():
                with metrics.scan_seconds.time():
                    for found in scanner.scan():
                        self._take(scanner, found)
                metrics.scan_success.set_to_current_time()

    def _take(self, scanner: Scanner, found: Candidate | Refusal) -> None:
        claims = self.board.metrics.claims
        if isinstance(found, Refusal):
            claims.labels("refused").inc()
            logs.get().warning("entry_refused", path=found.path, code=found.error.code, reason=found.error.message)
            return
        try:
            work = claim.claim(scanner.spool, found, new_job_id())
        except StemdError as error:
            logs.get().error("claim_failed", path=found.path, code=error.code, reason=error.message)
            scanner.postpone(_AFTER_FAILED_CLAIM)
            return
        claims.labels("claimed" if work else "lost").inc()
        if work is not None:
            live = Live(scanner.spool, work, self._user_of(found.door.name))
            self.board.add(live)
            live.write_status()
            live.log("claimed", name=found.path.name, inbox=found.door.name)
            self.sealer.start(live)

    def _user_of(self, inbox: str | None) -> str:
        try:
            return user_for(self.config, inbox)
        except StemdError:
            return self.config.defaults.user

    def recovered(self, spool: Spool, found: recover.Recovered) -> None:
        """Take over one job that a restart found in work/."""
        self.board.metrics.recovered.labels(found.found.value).inc()
        job = found.job
        if found.found is recover.Found.STUCK and found.error is not None:
            reason = found.error.message
            logs.get().error("recovery_failed", job_uuid=found.work.job_id, code=found.error.code, reason=reason)
            return
        live = Live(spool, found.work, job.user_id if job else self.config.defaults.user, job)
        if job is not None:
            live.claimed_at = job.claimed_at
        if found.found is recover.Found.PUBLISHED:
            if job is not None:
                self.board.published(live, found.result or "")
            return
        if found.found is recover.Found.FAILED and found.error is not None:
            self.board.failed(live, found.result or "", found.error)
            return
        count = attempts.read(live.work.attempts)
        live.attempts, live.interruptions = count.attempts, count.interruptions
        self.board.add(live)
        live.log("recovered", found=found.found.value, attempts=live.attempts, interruptions=live.interruptions)
        if job is None:
            live.write_status()
            self.sealer.start(live)
        elif found.found is recover.Found.STAGED:
            self.runs.publish(live)
        elif (verdict := retry.after_interruption(count)) is not None:
            self.board.give_up(live, verdict.error)
        else:
            self._restore_wait(live)

    def _restore_wait(self, live: Live) -> None:
        wait = durable.read_json(live.work.not_before) or {"state": JobState.WAITING}
        if wait["state"] == JobState.RETRY_WAIT:
            live.state = JobState.RETRY_WAIT
            live.not_before = min(wait["not_before"], time.time() + self.config.retry.cap)
            live.reason = StemdError.from_dict(wait["reason"])
            live.write_status()
        else:
            live.enter(JobState(wait["state"]), "held" if wait["state"] == JobState.HELD else "queued")

    # ---- on

    def _end_waits(self, now: float) -> None:
        clock = time.time()
        for live in self.board.in_state(JobState.RETRY_WAIT):
            if live.not_before is None or live.not_before > clock:
                continue
            if live.unended is not None:
                self.board.give_up(live, live.unended)
                continue
            self.board.requeue(live, "queued again")
            if live.job is None:
                self.sealer.start(live)
        if now >= self._deferred_due:
            self._deferred_due = now + _DEFERRED_INTERVAL
            for live in self.board.in_state(JobState.DEFERRED):
                if live.job is not None and placement.missing(live.job.request, self.config) is None:
                    self.board.requeue(live, "what was missing is there")
                    live.log("undeferred")

    def _assign(self) -> None:
        queue = [live for live in self.board.in_state(JobState.WAITING) if live.job is not None]
        full: set[Setup] = set()
        for live in sorted(queue, key=placement.order):
            assert live.job is not None
            setup = placement.setup_for(live.job.request, self.config)
            if setup not in full and not self._place(live, setup):
                full.add(setup)

    def _place(self, live: Live, setup: Setup) -> bool:
        """Start, defer or refuse one job; ``False`` when there is no worker for its kind now."""
        assert live.job is not None
        missing = placement.missing(live.job.request, self.config)
        if missing is not None:
            if missing.code == "STEMD-M001":
                self.board.defer(live, missing)
            else:
                self.board.give_up(live, missing)
            return True
        worker = self.pool.idle(setup)
        if worker is not None or placement.room(self.pool, setup.engine, self.config):
            self.runs.start(live, live.job, worker)
            return True
        if (other := placement.replaceable(self.pool, setup.engine)) is not None:
            self.pool.stop(other)
        return False

    # ---- upkeep

    def _trim(self, now: float) -> None:
        """End workers that idled too long or have done their share."""
        for worker in [worker for worker in self.pool.workers if worker.state is WorkerState.IDLE]:
            settings = self.config.engine(worker.setup.engine).workers
            spare = len(self.pool.of_engine(worker.setup.engine)) > settings.min
            if worker.jobs_done >= settings.jobs or (spare and now - worker.since > settings.idle):
                self.pool.stop(worker)

    def _count(self) -> None:
        metrics = self.board.metrics
        for state in JobState:
            if not state.ended:
                metrics.jobs.labels(state.value).set(len(self.board.in_state(state)))
        for key in ("settling", "refused"):
            metrics.inbox_files.labels(key).set(sum(scanner.counts[key] for scanner in self.scanners))
        for engine in self.config.engines:
            for kind in WorkerState:
                number = sum(w.setup.engine == engine and w.state is kind for w in self.pool.workers)
                metrics.workers.labels(engine, kind.value).set(number)
