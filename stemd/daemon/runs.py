"""Runs: what workers say about the jobs they were given, and what follows from it."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stemd.core.errors import ErrorClass, StemdError
from stemd.core.job import Job, JobState, Limits
from stemd.core.limits import Action, Breach, Limit, Usage, breaches, explained, shown
from stemd.daemon import placement, retry
from stemd.daemon.board import Board
from stemd.daemon.fetching import Fetching
from stemd.daemon.forecast import Forecast
from stemd.daemon.governor import Governor
from stemd.daemon.live import Live
from stemd.daemon.pool import Pool, Worker, WorkerState
from stemd.ops import logs
from stemd.spool import attempts, sidecar

#: A worker that was asked to stop its job and has not by then is killed (seconds).
STOP_PATIENCE = 15.0
#: A worker that loads its model and has said nothing for so long hangs (seconds): that takes a minute at worst, and
#: what is fetched tells of its progress.
LOAD_PATIENCE = 600.0


class Runs:
    """Starts runs and sees them to their end. The pool's owner.

    ``loads`` says of each engine how its last worker came up: whether it ``loads``, with which ``model``, ``at`` what
    time, and the ``facts`` or the ``error`` it reported.
    """

    def __init__(self, board: Board, governor: Governor | None = None) -> None:
        self._board = board
        self.governor = governor or Governor("never", lambda engine: placement.limits_of(board.config, engine))
        self.fetching = Fetching()
        self.loads: dict[str, Mapping[str, Any]] = {}
        self.forecast = Forecast()
        self._made: deque[tuple[Live, Mapping[str, Any]]] = deque()
        self.pool: Pool

    def start(self, live: Live, job: Job, worker: Worker | None, threads: int) -> None:
        """Start a run, on a warm worker or a new one; the start is on the disk before the engine hears of it."""
        if worker is not None and not self.governor.fits(worker, job.request.limits):
            self.pool.stop(worker)  # what it holds is beyond what the job may have: a new one takes its place
            worker = None
        attempts.record_start(live.work.attempts, job.request.engine)
        if live.waited is None:
            live.waited = max(0.0, time.time() - live.since)
            self._board.metrics.wait.observe(live.waited)
        live.started, live.progress = time.monotonic(), 0.0
        # those of earlier runs are no news: only a further one forgives interruptions
        live.chunks = max(live.chunks, sum(1 for _ in live.work.chunks.glob("*.f32")))
        if live.chunks:
            self._board.metrics.chunk_resumes.labels(live.engine).inc()
        live.enter(JobState.RUNNING, "starting" if worker else "loading the model")
        live.log("started", attempt=live.attempts + 1, warm=worker is not None, threads=threads)
        if worker is not None:
            worker.threads = threads
            self._give(worker, live, job)
        else:
            setup = placement.setup_for(job.request, self._board.config, live.ooms)
            try:
                self.pool.start(setup, threads, live.id)
            except OSError as error:
                self._run_failed(live, StemdError("STEMD-E005", f"no worker can be started: {error.strerror}"), None)

    def interrupt(self, live: Live) -> None:
        """Stop a run between two segments, or at once while its worker is still loading."""
        for worker in self.pool.workers:
            if worker.job_id == live.id:
                if worker.state is WorkerState.BUSY:
                    self.pool.cancel(worker)
                    worker.kill_at = time.monotonic() + STOP_PATIENCE
                else:
                    self.pool.kill(worker, "stop")

    def enforce_limits(self, now: float) -> None:
        """Kill what runs beyond a limit, does not stop when asked to, or never comes to its job."""
        for worker in list(self.pool.workers):
            if worker.kill_at is not None and now > worker.kill_at:
                self.pool.kill(worker, "stop")
        for worker in self.pool.loading():
            if now > worker.heard + LOAD_PATIENCE:
                said = f"the worker loaded {worker.setup.model} and said nothing for {LOAD_PATIENCE:g} seconds"
                error = StemdError("STEMD-E005", said)
                self._came_up(worker, loads=False, error=error.to_dict())
                self.pool.kill(worker, "hung while loading", error)
        for worker in self.governor.look(self.pool.workers, now):
            live = self._board.get(worker.job_id)
            if live is None or live.started is None or worker.killed_for is not None:
                continue
            begun = worker.state is WorkerState.BUSY
            seconds = now - live.started if begun else None
            for breach in breaches(_told(worker, live), worker.usage, seconds, self.governor.enforced(worker)):
                self._met(worker, live, breach)

    def _met(self, worker: Worker, live: Live, breach: Breach) -> None:
        """A limit was met: told once for each run, and the end of the run where it is a hard one."""
        if breach.error is not None:
            self.pool.kill(worker, f"{breach.limit} limit", breach.error)
        elif (breach.limit, breach.action) not in worker.met:
            worker.met.add((breach.limit, breach.action))
            self._board.metrics.limits_hit.labels(live.engine, breach.limit.value, breach.action.value).inc()
            live.log("limit_hit", limit=breach.limit.value, action=breach.action.value, message=breach.message)

    @property
    def has_made(self) -> bool:
        """Whether workers have staged something that is not published yet."""
        return bool(self._made)

    def finish_made(self) -> None:
        """Publish what workers have staged: after the queue was handed out, so that they are busy meanwhile. What was
        let go of since is nobody's."""
        while self._made:
            live, message = self._made.popleft()
            if self._board.get(live.id) is live:
                self._staged(live, message)

    def reconcile(self) -> None:
        """Go on with what runs on no worker: its end could not be written down when it came."""
        held = {worker.job_id for worker in self.pool.workers} | {live.id for live, _ in self._made}
        for live in self._board.in_state(JobState.RUNNING):
            if live.id not in held and live.cancelling:
                self._board.give_up(live, StemdError("STEMD-P002"))
            elif live.id not in held:
                self._board.requeue(live, "its run ended unrecorded")

    # ---- the pool's owner

    def worker_said(self, worker: Worker, message: Mapping[str, Any]) -> None:
        live = self._board.get(worker.job_id)
        match message["event"]:
            case "ready":
                self._ready(worker, message, live)
            case "unready":
                self.governor.measure(worker)
                worker.enter(WorkerState.STOPPING)
                self._came_up(worker, loads=False, error=message["error"])
                if live is None:
                    code, reason = message["error"]["code"], message["error"]["message"]
                    logs.get().warning("worker_unready", pid=worker.pid, code=code, reason=reason)
                self._failed(live, message, worker)
            case "progress":
                self._heard(worker)
                if live is not None:
                    self._progressed(live, message)
            case "staged":
                self._measured(worker, live, message["resources"]["peak_rss_bytes"])
                self.pool.done(worker)
                self.forecast.learn(worker.setup, message)
                if live is not None:
                    self._made.append((live, message))
                    if self._board.config.quota_of(live.user) is not None:
                        self.finish_made()  # what it took of the quota decides on its user's next job
            case "failed":
                self._measured(worker, live)
                self.pool.done(worker)
                self._failed(live, message, worker)
            case "cancelled":
                self.governor.measure(worker)
                self.pool.done(worker)
                if live is not None:
                    self._stopped(live, worker.usage.cpu_seconds)

    def worker_died(self, worker: Worker, how: str) -> None:
        reason = "killed" if worker.killed_for else "stopped" if worker.state is WorkerState.STOPPING else "died"
        self._board.metrics.worker_exits.labels(reason).inc()
        facts = {"pid": worker.pid, "how": how, "reason": worker.killed_for or reason}
        if reason == "died" or worker.sentence is not None:  # nobody had asked it to
            logs.get().warning("worker_ended", **facts)
        else:
            logs.get().info("worker_ended", **facts)
        live = self._board.get(worker.job_id)
        if live is None or live.job is None or live.state is not JobState.RUNNING:
            return
        if worker.killed_for == "stop":
            began = worker.state is WorkerState.BUSY  # what it takes to load a model is not the job's
            self._stopped(live, worker.usage.cpu_seconds if began else 0.0)
            return
        self._count(live, worker.usage)
        self._board.ran(live, 0.0, worker.usage.cpu_seconds)
        if worker.sentence is not None:
            self._run_failed(live, worker.sentence, None)
        else:
            error = StemdError("STEMD-E005", f"the worker ended with {how}")
            self._run_failed(live, explained(error, worker.limits, worker.usage), worker.stderr_tail())

    # ---- what follows

    def _heard(self, worker: Worker) -> None:
        """It gets on with it; where it fetches a model, so do those that wait for the same one."""
        worker.heard = time.monotonic()
        for other in self.pool.loading():
            if worker.state is WorkerState.STARTING and other.setup.model == worker.setup.model:
                other.heard = worker.heard

    def _progressed(self, live: Live, message: Mapping[str, Any]) -> None:
        if message["stage"] != live.stage:
            live.log("stage", stage=message["stage"], progress=message["fraction"])
        live.advance_progress(message["stage"], message["fraction"])
        if message["chunks"] > live.chunks:
            self._board.metrics.chunks.labels(live.engine).inc(message["chunks"] - live.chunks)
            live.chunks = message["chunks"]
            if attempts.read(live.work.attempts).interruptions > 1:  # this run counts as one until it ends
                attempts.record_checkpoint(live.work.attempts)
            live.log("checkpoint", chunks=live.chunks, progress=live.progress)

    def _measured(self, worker: Worker, live: Live | None, peak: int = 0) -> None:
        """A run is over: look at its worker for the last time."""
        if live is not None:
            self.governor.measure(worker)
            self._count(live, worker.usage, peak)

    def _count(self, live: Live, usage: Usage, peak: int = 0) -> None:
        self._board.metrics.job_cpu.labels(live.engine).observe(usage.cpu_seconds)
        self._board.metrics.job_peak.labels(live.engine).observe(max(usage.peak, peak))

    def _give(self, worker: Worker, live: Live, job: Job) -> None:
        limits = job.request.limits
        if not self.governor.fits(worker, limits):
            held = f"the worker holds {shown(worker.usage.memory)} with the model loaded"
            self.pool.done(worker)
            self._run_failed(live, StemdError("STEMD-R005", f"{held}; its limit is {shown(limits.memory or 0)}"), None)
            return
        self.governor.confine(worker, self._in_force(job, worker.threads), live.work.path)
        self.pool.run(worker, job.job_uuid, str(live.work.path), live.attempts + 1, live.ooms)

    def _came_up(self, worker: Worker, **how: Any) -> None:
        self.loads[worker.setup.engine] = {"model": worker.setup.model, "at": sidecar.iso(time.time()), **how}

    def _ready(self, worker: Worker, message: Mapping[str, Any], live: Live | None) -> None:
        self._came_up(worker, loads=True, facts=message["facts"])
        worker.facts, worker.threaded = message["facts"], message["threaded"]
        self.forecast.learn(worker.setup, message)
        self.fetching.came(worker.setup.model)
        facts = {key: message[key] for key in ("engine", "model", "seconds")}
        logs.get().info("worker_ready", pid=worker.pid, **facts)
        if live is None or live.job is None or live.state is not JobState.RUNNING:
            self.pool.done(worker)
        else:
            live.started = time.monotonic()  # what it took to fetch and load a model is not the job's time
            self._give(worker, live, live.job)

    def _staged(self, live: Live, message: Mapping[str, Any]) -> None:
        if live.cancelling:
            self._stopped(live, message["resources"]["cpu_seconds"])
            return
        attempts.record_end(live.work.attempts, "done")
        live.attempts += 1
        metrics, seconds = self._board.metrics, message["audio_seconds"]
        metrics.attempts.labels(live.engine, "done").inc()
        metrics.audio.labels(live.engine).inc(seconds)
        for stage, took in message["timings"].items():
            metrics.stage_seconds.labels(live.engine, stage).observe(took)
        metrics.realtime.labels(live.engine).set(seconds / max(1e-3, message["resources"]["wall_seconds"]))
        self._board.ran(live, seconds, message["resources"]["cpu_seconds"])
        live.spent = {**message["resources"], "audio_seconds": seconds}
        live.log("separated", **{key: message[key] for key in ("resources", "timings", "files", "warnings")})
        self.publish(live)

    def publish(self, live: Live) -> None:
        """Publish a staged result; a failure before it is visible is a failed attempt like any other."""
        try:
            self._board.publish(live)
        except StemdError as error:
            if live.work.published.exists() or not live.work.partial.exists():
                raise RuntimeError("published, but not confirmed: a restart decides what is left to do") from error
            self._run_failed(live, error, None)

    def _in_force(self, job: Job, threads: int) -> Limits:
        """The job's limits; where it has none of the CPU, its worker's share of the machine, if the kernel keeps it."""
        limits = job.request.limits
        if limits.cpu is None and Limit.CPU in self.governor.kernel:
            return replace(limits, cpu=float(threads)) if threads < len(os.sched_getaffinity(0)) else limits
        return limits

    def _failed(self, live: Live | None, message: Mapping[str, Any], worker: Worker) -> None:
        if live is not None:
            if cpu := message.get("cpu_seconds"):
                self._board.ran(live, 0.0, cpu)
            told = StemdError.from_dict(message["error"])
            error = explained(told, worker.limits, worker.usage)
            if error is not told:  # the kernel took something from it, or refused it: what is left is in no good state
                worker.enter(WorkerState.STOPPING)
                self.pool.kill(worker, "half of it is gone")
            self._run_failed(live, error, message.get("trace"))

    def _run_failed(self, live: Live, error: StemdError, trace: str | None) -> None:
        waits = error.error_class is ErrorClass.MODEL_MISSING  # for something that is no fault of the job's
        attempts.record_end(live.work.attempts, "stop" if waits else "attempt", error.to_dict())
        if error.code == "STEMD-M001" and live.job is not None:
            self.fetching.failed(live.job.request.model)
        count = attempts.read(live.work.attempts)
        live.attempts, live.ooms = count.attempts, count.ooms
        metrics = self._board.metrics
        metrics.attempts.labels(live.engine, error.error_class.value).inc()
        if error.error_class is ErrorClass.OOM:
            metrics.ooms.labels(live.engine).inc()
        if (limit := error.detail.get("limit")) is not None:
            metrics.limits_hit.labels(live.engine, limit, Action.STOPPED.value).inc()
            live.log("limit_hit", limit=limit, action=Action.STOPPED.value, message=error.message)
        for listener in self._board.on_failure:
            listener(live, error.error_class)
        told = {"code": error.code, "message": error.message, "attempt": count.attempts, "trace": trace}
        live.log("attempt_failed", level="warning", **told)
        policy = self._board.config.retry
        if live.cancelling:
            self._board.give_up(live, StemdError("STEMD-P002"))
            return
        match retry.after_failure(error, count, tries=policy.tries, base=policy.base, cap=policy.cap):
            case retry.Defer():
                self._board.defer(live, error)
            case retry.GiveUp(error=final):
                self._board.give_up(live, final)
            case retry.Again(delay=delay):
                self._board.wait(live, error, delay)

    def _stopped(self, live: Live, cpu: float) -> None:
        """A run was stopped on purpose: for good, or because the daemon goes and the next one resumes it.

        ``cpu``: seconds that it took, which are its user's however it ended.
        """
        self._board.ran(live, 0.0, cpu)
        attempts.record_end(live.work.attempts, "stop")
        if live.cancelling:
            self._board.give_up(live, StemdError("STEMD-P002"))
        else:
            live.enter(JobState.WAITING, "stopped; goes on when stemd does")
            live.log("requeued")


def _told(worker: Worker, live: Live) -> Limits:
    """The limits that going beyond is told of. A share of the cores (``cpu: auto``) is not one that somebody set."""
    return replace(worker.limits, cpu=live.job.request.limits.cpu if live.job is not None else None)
