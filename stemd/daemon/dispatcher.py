"""The turn of the loop: take in what is complete, end waits, hand out what is queued. It decides when, others do it."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable

from stemd.core.config import Config
from stemd.core.errors import ErrorClass, StemdError
from stemd.core.fairness import Shares
from stemd.core.job import Job, JobId, JobState, new_job_id
from stemd.core.request import user_for
from stemd.core.room import Need
from stemd.daemon import placement, retry
from stemd.daemon.board import Board
from stemd.daemon.live import Live
from stemd.daemon.pool import Pool, WorkerState
from stemd.daemon.prober import Prober
from stemd.daemon.room import Room, of_job
from stemd.daemon.runs import Runs
from stemd.daemon.scanner import Scanner
from stemd.daemon.sealing import Sealer
from stemd.ops import logs
from stemd.spool import attempts, claim, durable, recover
from stemd.spool.intake import Candidate, Refusal
from stemd.spool.intents import Intent
from stemd.spool.layout import Spool, WorkDir
from stemd.worker.setup import Setup

#: How often what a deferred job misses is looked for again (seconds).
_DEFERRED_INTERVAL = 2.0
#: How often an album that the disk kept from being finished is tried again (seconds).
_ALBUMS_INTERVAL = 30.0
#: Of very many deferred jobs so many are looked at in one turn, by lot: none keeps the others from their turn.
_DEFERRED_AT_ONCE = 200
#: What a job waits for until it is there.
_AWAITED = frozenset({"STEMD-M001", "STEMD-E009", "STEMD-R004"})
#: How long the inbox is left alone after the disk refused a claim (seconds).
_AFTER_FAILED_CLAIM = 5.0


class Dispatcher:
    """Moves jobs along. ``draining``: nothing new is taken or started."""

    def __init__(
        self, board: Board, scanners: Iterable[Scanner], pool: Pool, runs: Runs, wake: Callable[[], None]
    ) -> None:
        self.board, self.pool, self.runs = board, pool, runs
        self.scanners = list(scanners)
        self.prober = Prober()
        self.room = Room(board, self.prober)
        self.sealer = Sealer(board, self.prober, wake)
        self.draining = False
        self._deferred_due = self._albums_due = 0.0
        self._ended = 0
        self._stuck: list[tuple[Spool, WorkDir]] = []
        self._shares = Shares()

    @property
    def config(self) -> Config:
        return self.board.config

    def tick(self) -> float:
        """Do everything that is due; returns for how many seconds nothing more will be, unless something happens."""
        now = time.monotonic()
        self.room.count_anew()
        self._tell_of_room()
        if not self.draining:
            self._take_in(now)
        self.sealer.tick(now)
        self._end_waits(now)
        if not self.draining:
            self._assign()
        self.runs.enforce_limits(now)
        self.runs.reconcile()
        self._trim(now)
        if now >= self._albums_due:
            self._albums_due = now + _ALBUMS_INTERVAL
            self.board.close_albums()
            self._recover_again()
        self.prober.trim(now)
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

    def _tell_of_room(self) -> None:
        """Every end of a job makes room."""
        ended = sum(self.board.ended.values())
        for scanner in self.scanners:
            if ended != self._ended and scanner.kept_for:
                scanner.look_again()
        self._ended = ended

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
        intent = scanner.intent(found.path)
        if intent is Intent.HOLD:
            scanner.keep(found.path, "held back: `stemd release` lets it in")
            return
        need = self._admit(scanner, found) if intent is None else Need()
        if need is None:
            return
        try:
            work = claim.claim(scanner.spool, found, new_job_id())
        except StemdError as error:
            if scanner.is_news(found.path):
                logs.get().error("claim_failed", path=found.path, code=error.code, reason=error.message)
            scanner.keep(found.path, error)
            if error.error_class is ErrorClass.DISK_FULL:
                scanner.postpone(_AFTER_FAILED_CLAIM)
            return
        claims.labels("claimed" if work else "lost").inc()
        if work is not None:
            live = Live(scanner.spool, work, self._user_of(found.door.name), need=need)
            self.board.add(live)
            live.write_status()
            live.log("claimed", name=found.path.name, inbox=found.door.name)
            if intent is Intent.CANCEL:
                scanner.decide(found.path, None)
                self.board.give_up(live, StemdError("STEMD-P002"))
            else:
                self.sealer.start(live)

    def _admit(self, scanner: Scanner, found: Candidate) -> Need | None:
        """What to promise an entry; ``None`` while there is no room for it, or too much waits before it."""
        try:
            answer = self._backlogged() or self.room.admit(scanner, found)
        except OSError:  # it is going, or being changed: the next look sees what has become of it
            return None
        if isinstance(answer, StemdError):
            if scanner.is_news(found.path):
                logs.get().warning("kept_back", path=found.path, code=answer.code, reason=answer.message)
            scanner.keep(found.path, answer)
            return None
        return answer

    def _backlogged(self) -> StemdError | None:
        waiting, most = len(self.board.jobs), self.config.scheduling.backlog
        return StemdError("STEMD-R006", f"{waiting} jobs are unfinished; {most} may be") if waiting >= most else None

    def _owner(self, work: WorkDir) -> str:
        """Whose a claimed entry is that has not been sealed."""
        origin = durable.read_json(work.origin) or {}
        return origin.get("user_id") or self._user_of(origin.get("inbox"))

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
            Live(spool, found.work, self.config.defaults.user, stage="stuck", reason=found.error).write_status()
            self._stuck.append((spool, found.work))
            return
        if found.found is recover.Found.ALBUM:
            self.board.await_album(spool, found.work.job_id)
            return
        live = Live(spool, found.work, job.user_id if job else self._owner(found.work), job)
        if job is not None:
            live.claimed_at, live.need = job.claimed_at, of_job(job)
        if found.found is recover.Found.PUBLISHED:
            if job is not None:
                self.board.published(live, found.result or "")
            return
        if found.found is recover.Found.FAILED and found.error is not None:
            self.board.failed(live, found.result or "", found.error)
            return
        count = attempts.read(live.work.attempts)
        live.attempts, live.interruptions, live.ooms = count.attempts, count.interruptions, count.ooms
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

    def _recover_again(self) -> None:
        """What a restart could not bring forward may go on now."""
        stuck, self._stuck = self._stuck, []
        for spool, work in stuck:
            if (found := recover.one(spool, work)) is not None:
                self.recovered(spool, found)
                if found.following is not None:
                    self.sealer.take_new(spool, found.following, self._owner(found.following))

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
            deferred = self.board.in_state(JobState.DEFERRED)
            for live in random.sample(deferred, min(len(deferred), _DEFERRED_AT_ONCE)):
                if live.job is not None and self._missing(live, live.job) is None:
                    self.board.requeue(live, "what was missing is there")
                    live.log("undeferred")

    def _assign(self) -> None:
        queue = {live.id: live for live in self.board.in_state(JobState.WAITING) if live.job is not None}
        waiting = [placement.waiting(live) for live in queue.values()]
        busy = Counter(live.user for live in self.board.in_state(JobState.RUNNING))
        full: set[Setup] = set()
        for each in self._shares.order(waiting, time.time(), self.config.scheduling.aging):
            live = queue[JobId(each.key)]
            assert live.job is not None
            setup = placement.setup_for(live.job.request, self.config, live.ooms)
            if (most := placement.most_running(self.config, live.user)) is not None and busy[live.user] >= most:
                live.tell(f"waits for its turn: {live.user} may have {most} running")
            elif setup not in full and not self._place(live, setup):
                full.add(setup)
            elif live.state is JobState.RUNNING:
                busy[live.user] += 1
                self._shares.started(live.user, each.cost)

    def _place(self, live: Live, setup: Setup) -> bool:
        """Start, defer or refuse one job; ``False`` when there is no worker for its kind now."""
        assert live.job is not None
        missing = self._missing(live, live.job)
        if missing is not None:
            if missing.code in _AWAITED:
                self.board.defer(live, missing)
            else:
                self.board.give_up(live, missing)
            return True
        worker = self.pool.idle(setup)
        if worker is not None or placement.room(self.pool, setup.engine, self.config):
            self.runs.start(live, live.job, worker)
            self.room.started(live)
            return True
        if (other := placement.replaceable(self.pool, setup.engine)) is not None:
            self.pool.stop(other)
        return False

    def _missing(self, live: Live, job: Job) -> StemdError | None:
        """What keeps a job from starting: its engine, its model (unless its worker may fetch it), or the disk."""
        missing = placement.missing(job.request, self.config)
        if missing is not None and self.runs.fetching.allows(missing, job.request.model, self.config):
            missing = None
        elif missing is None and job.request.engine not in placement.WITH_STORE:
            missing = self._missed_by_plug_in(live, job)
        return missing or self.room.to_start(live)

    def _missed_by_plug_in(self, live: Live, job: Job) -> StemdError | None:
        """Only the engine itself knows where its models are: it is asked again after a while."""
        known = live.reason
        if known is None or known.code != "STEMD-M001" or not self.runs.fetching.rests(job.request.model):
            return None
        return known

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
        kept_for: frozenset[str] = frozenset().union(*(scanner.kept_for for scanner in self.scanners))
        metrics.admission_paused.labels("backlog").set("STEMD-R006" in kept_for)
        metrics.admission_paused.labels("room").set(bool(kept_for - {"STEMD-R006"}))
        for key in ("settling", "refused", "kept"):
            metrics.inbox_files.labels(key).set(sum(scanner.counts[key] for scanner in self.scanners))
        for engine in self.config.engines:
            for kind in WorkerState:
                number = sum(w.setup.engine == engine and w.state is kind for w in self.pool.workers)
                metrics.workers.labels(engine, kind.value).set(number)
