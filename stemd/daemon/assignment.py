"""From the queue to the workers: who is next, whether anything is missing, and which worker takes it."""

from __future__ import annotations

import time
from enum import Enum, auto

from stemd.core.config import Config
from stemd.core.errors import DISK_TROUBLE, StemdError
from stemd.core.fairness import Shares
from stemd.core.job import Job, JobId, JobState
from stemd.core.policy import Defer, Refuse
from stemd.daemon import placement
from stemd.daemon.board import Board
from stemd.daemon.live import Live
from stemd.daemon.pool import Pool, Worker, WorkerState
from stemd.daemon.quotas import Quotas
from stemd.daemon.room import Room
from stemd.daemon.runs import Runs
from stemd.daemon.scaling import Scaling
from stemd.ops import logs
from stemd.worker.setup import Setup

#: What a job waits for until it is there.
_AWAITED = frozenset({"STEMD-M001", "STEMD-E009", "STEMD-R004", "STEMD-P005"})

#: How often those are gone through for whom there is no core (seconds).
_ALL_INTERVAL = 1.0


class _Placed(Enum):
    """What became of a job whose turn it is: ``RESERVES``: it waits for cores, and nothing behind it may take them."""

    DEALT_WITH = auto()
    FULL = auto()
    RESERVES = auto()


class Assignment:
    """Hands out the queue, and ends the workers that nobody needs."""

    def __init__(self, board: Board, pool: Pool, runs: Runs, room: Room, quotas: Quotas, scaling: Scaling) -> None:
        self._board, self._pool, self._runs = board, pool, runs
        self._room, self._quotas, self._scaling = room, quotas, scaling
        self._shares = Shares()
        self._all_due = 0.0

    @property
    def _config(self) -> Config:
        return self._board.config

    def assign(self) -> None:
        """Start what can start now, in the order of its turn.

        Now and then all that wait are gone through, and told what for; else only as long as a core is free.
        """
        if whole := time.monotonic() >= self._all_due:
            self._all_due = time.monotonic() + _ALL_INTERVAL
        elif self._scaling.free_cores < 1:
            return
        queue = {live.id: live for live in self._board.in_state(JobState.WAITING) if live.job is not None}
        waiting = [placement.waiting(live) for live in queue.values()]
        setups: dict[tuple[str, str, bool], Setup] = {}
        full: set[Setup] = set()
        for each in self._shares.order(waiting, time.time(), self._config.scheduling.aging):
            if not whole and self._scaling.free_cores < 1:
                break
            live = queue[JobId(each.key)]
            assert live.job is not None
            request = live.job.request
            kind = request.engine, request.model, live.ooms < 2
            if (setup := setups.get(kind)) is None:  # made once for all that wait for the same
                setup = setups[kind] = placement.setup_for(request, self._config, live.ooms)
            if (others := self._quotas.turn(live)) is not None:
                live.tell(others)
            elif setup not in full:
                placed = self._place(live, setup)
                if placed is _Placed.RESERVES:
                    break
                if placed is _Placed.FULL:
                    full.add(setup)
            if live.state is JobState.RUNNING:
                self._shares.started(live.user, each.cost)

    def _place(self, live: Live, setup: Setup) -> _Placed:
        """Start, defer or refuse one job, or say what it must wait for. Trouble with the disk is that job's alone."""
        try:
            return self._turn(live, setup)
        except StemdError as trouble:
            if trouble.error_class not in DISK_TROUBLE:
                raise
            if live.state is JobState.WAITING:  # what had begun is gone on with by ``Runs.reconcile``
                self._board.rest(live, trouble)
            return _Placed.DEALT_WITH

    def _turn(self, live: Live, setup: Setup) -> _Placed:
        assert live.job is not None
        verdict = self._quotas.to_start(live)
        if isinstance(verdict, Defer | Refuse):
            self._quotas.rejected(verdict)
        if isinstance(verdict, Refuse):
            self._board.give_up(live, verdict.error)
            return _Placed.DEALT_WITH
        missing = verdict.error if isinstance(verdict, Defer) else self.missing(live, live.job)
        # what is published in this turn makes room: the next one asks again
        soon = missing is not None and missing.code == "STEMD-R004" and self._runs.has_made
        if missing is not None and not soon:
            if missing.code in _AWAITED:
                self._board.defer(live, missing)
            else:
                self._board.give_up(live, missing)
            return _Placed.DEALT_WITH
        if soon or self._pool.coming(setup):
            return _Placed.FULL
        worker = self._pool.idle(setup)
        asked, free = self._scaling.asked_cores(live, worker), self._scaling.free_cores
        if asked is not None and asked > free:
            live.tell(f"waits for {asked} cores: {max(0, free)} are free")
            return _Placed.RESERVES
        if free < 1 or (worker is None and not self._may_start(live, setup)):
            return _Placed.FULL
        self._runs.start(live, live.job, worker, asked or min(free, self._scaling.share(live)))
        self._room.started(live)
        self._quotas.started(live)
        return _Placed.DEALT_WITH

    def _may_start(self, live: Live, setup: Setup) -> bool:
        """Whether one more process can be started for a job; if not, an idle one that is in its way is ended."""
        mine = [worker for worker in self._pool.workers if worker.setup.engine == setup.engine]
        if not self._scaling.may_add(setup.engine):
            self._replace(mine)
            return False
        if (lack := self._scaling.lacks_memory(setup)) is None:
            return True
        if not self._replace(self._pool.workers):
            live.tell(lack)
        return False

    def _replace(self, workers: list[Worker]) -> bool:
        """End one of these workers that has nothing to do; ``False`` where none has."""
        if (other := placement.replaceable(workers)) is not None:
            self._pool.stop(other)
        return other is not None

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
        """End workers that have done their share, idled too long, or hold memory that others need now."""
        for worker in [worker for worker in self._pool.workers if worker.state is WorkerState.IDLE]:
            if worker.jobs_done >= self._config.engine(worker.setup.engine).workers.jobs:
                self._pool.stop(worker)
        while (spare := self._scaling.spare(now)) is not None:
            self._pool.stop(spare)

    def keep_loaded(self, now: float) -> None:
        """Start what shall be there though nothing asks for it (``workers.min``)."""
        if (setup := self._scaling.to_keep(now)) is not None:
            try:
                self._pool.start(setup, self._scaling.free_cores)
            except OSError as error:
                logs.get().warning("worker_not_started", engine=setup.engine, reason=error.strerror)
