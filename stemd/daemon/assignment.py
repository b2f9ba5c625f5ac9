"""From the queue to the workers: who is next, whether anything is missing, and which worker takes it."""

from __future__ import annotations

import time

from stemd.core.config import Config
from stemd.core.errors import StemdError
from stemd.core.fairness import Shares
from stemd.core.job import Job, JobId, JobState
from stemd.core.policy import Defer, Refuse
from stemd.daemon import placement
from stemd.daemon.board import Board
from stemd.daemon.live import Live
from stemd.daemon.pool import Pool, WorkerState
from stemd.daemon.quotas import Quotas
from stemd.daemon.room import Room
from stemd.daemon.runs import Runs
from stemd.worker.setup import Setup

#: What a job waits for until it is there.
_AWAITED = frozenset({"STEMD-M001", "STEMD-E009", "STEMD-R004", "STEMD-P005"})


class Assignment:
    """Hands out the queue, and ends the workers that nobody needs."""

    def __init__(self, board: Board, pool: Pool, runs: Runs, room: Room, quotas: Quotas) -> None:
        self._board, self._pool, self._runs, self._room, self._quotas = board, pool, runs, room, quotas
        self._shares = Shares()

    @property
    def _config(self) -> Config:
        return self._board.config

    def assign(self) -> None:
        """Start what can start now, in the order of its turn."""
        queue = {live.id: live for live in self._board.in_state(JobState.WAITING) if live.job is not None}
        waiting = [placement.waiting(live) for live in queue.values()]
        full: set[Setup] = set()
        for each in self._shares.order(waiting, time.time(), self._config.scheduling.aging):
            live = queue[JobId(each.key)]
            assert live.job is not None
            setup = placement.setup_for(live.job.request, self._config, live.ooms)
            if (others := self._quotas.turn(live)) is not None:
                live.tell(others)
            elif setup not in full and not self._place(live, setup):
                full.add(setup)
            elif live.state is JobState.RUNNING:
                self._shares.started(live.user, each.cost)

    def _place(self, live: Live, setup: Setup) -> bool:
        """Start, defer or refuse one job; ``False`` when there is no worker for its kind now."""
        assert live.job is not None
        verdict = self._quotas.to_start(live)
        if isinstance(verdict, Defer | Refuse):
            self._quotas.rejected(verdict)
        if isinstance(verdict, Refuse):
            self._board.give_up(live, verdict.error)
            return True
        missing = verdict.error if isinstance(verdict, Defer) else self.missing(live, live.job)
        if missing is not None:
            if missing.code in _AWAITED:
                self._board.defer(live, missing)
            else:
                self._board.give_up(live, missing)
            return True
        worker = self._pool.idle(setup)
        if worker is not None or placement.room(self._pool, setup.engine, self._config):
            self._runs.start(live, live.job, worker)
            self._room.started(live)
            self._quotas.started(live)
            return True
        if (other := placement.replaceable(self._pool, setup.engine)) is not None:
            self._pool.stop(other)
        return False

    def waits_for(self, live: Live, job: Job) -> StemdError | None:
        """What a deferred job still waits for."""
        verdict = self._quotas.to_start(live)
        return verdict.error if isinstance(verdict, Defer) else self.missing(live, job)

    def missing(self, live: Live, job: Job) -> StemdError | None:
        """What keeps a job from starting: its engine, its model (unless its worker may fetch it), or the disk."""
        missing = placement.missing(job.request, self._config)
        if missing is not None and self._runs.fetching.allows(missing, job.request.model, self._config):
            missing = None
        elif missing is None and job.request.engine not in placement.WITH_STORE:
            missing = self._missed_by_plug_in(live, job)
        return missing or self._room.to_start(live)

    def _missed_by_plug_in(self, live: Live, job: Job) -> StemdError | None:
        """Only the engine itself knows where its models are: it is asked again after a while."""
        known = live.reason
        if known is None or known.code != "STEMD-M001" or not self._runs.fetching.rests(job.request.model):
            return None
        return known

    def trim(self, now: float) -> None:
        """End workers that idled too long or have done their share."""
        for worker in [worker for worker in self._pool.workers if worker.state is WorkerState.IDLE]:
            settings = self._config.engine(worker.setup.engine).workers
            spare = len(self._pool.of_engine(worker.setup.engine)) > settings.min
            if worker.jobs_done >= settings.jobs or (spare and now - worker.since > settings.idle):
                self._pool.stop(worker)
