"""Runs: what workers say about the jobs they were given, and what follows from it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from stemd.core.errors import ErrorClass, StemdError
from stemd.core.job import Job, JobState
from stemd.daemon import placement, retry
from stemd.daemon.board import Board
from stemd.daemon.fetching import Fetching
from stemd.daemon.live import Live
from stemd.daemon.pool import Pool, Worker, WorkerState
from stemd.ops import logs
from stemd.spool import attempts

#: A worker that was asked to stop its job and has not by then is killed (seconds).
STOP_PATIENCE = 15.0


class Runs:
    """Starts runs and sees them to their end. The pool's owner."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self.fetching = Fetching()
        self.pool: Pool

    def start(self, live: Live, job: Job, worker: Worker | None) -> None:
        """Start a run, on a warm worker or a new one; the start is on the disk before the engine hears of it."""
        attempts.record_start(live.work.attempts, job.request.engine)
        self._board.metrics.wait.observe(max(0.0, time.time() - live.claimed_at))
        live.started, live.progress = time.monotonic(), 0.0
        # those of earlier runs are no news: only a further one forgives interruptions
        live.chunks = max(live.chunks, sum(1 for _ in live.work.chunks.glob("*.f32")))
        live.enter(JobState.RUNNING, "starting" if worker else "loading the model")
        live.log("started", attempt=live.attempts + 1, warm=worker is not None)
        if worker is not None:
            self._give(worker, live, job)
        else:
            config = self._board.config
            setup = placement.setup_for(job.request, config, live.ooms)
            try:
                self.pool.start(setup, placement.threads(config, job.request.engine), live.id)
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
        """Kill what runs beyond its time, or does not stop when asked to."""
        for worker in list(self.pool.workers):
            live = self._board.get(worker.job_id)
            if worker.kill_at is not None and now > worker.kill_at:
                self.pool.kill(worker, "stop")
            elif live is not None and live.job is not None and live.started is not None and live.stage != "load":
                limit = live.job.request.limits.time
                if limit is not None and now - live.started > limit:
                    self.pool.kill(worker, "time limit")

    def reconcile(self) -> None:
        """Go on with what runs on no worker: its end could not be written down when it came."""
        held = {worker.job_id for worker in self.pool.workers}
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
                worker.enter(WorkerState.STOPPING)
                self._failed(live, message)
            case "progress":
                if live is not None:
                    self._progressed(live, message)
            case "staged":
                self.pool.done(worker)
                if live is not None:
                    self._staged(live, message)
            case "failed":
                self.pool.done(worker)
                self._failed(live, message)
            case "cancelled":
                self.pool.done(worker)
                if live is not None:
                    self._stopped(live)

    def worker_died(self, worker: Worker, how: str) -> None:
        reason = "killed" if worker.killed_for else "stopped" if worker.state is WorkerState.STOPPING else "died"
        self._board.metrics.worker_exits.labels(reason).inc()
        logs.get().info("worker_ended", pid=worker.pid, how=how, reason=worker.killed_for or reason)
        live = self._board.get(worker.job_id)
        if live is None or live.job is None or live.state is not JobState.RUNNING:
            return
        if worker.killed_for == "stop":
            self._stopped(live)
        elif worker.killed_for == "time limit":
            limit = live.job.request.limits.time
            self._run_failed(live, StemdError("STEMD-R002", f"it ran longer than {limit:g} s"), None)
        else:
            self._run_failed(live, StemdError("STEMD-E005", f"the worker ended with {how}"), worker.stderr_tail())

    # ---- what follows

    def _progressed(self, live: Live, message: Mapping[str, Any]) -> None:
        if message["stage"] != live.stage:
            live.log("stage", stage=message["stage"], progress=message["fraction"])
        live.advance_progress(message["stage"], message["fraction"])
        if message["chunks"] > live.chunks:
            live.chunks = message["chunks"]
            attempts.record_checkpoint(live.work.attempts)
            live.log("checkpoint", chunks=live.chunks, progress=live.progress)

    def _give(self, worker: Worker, live: Live, job: Job) -> None:
        self.pool.run(worker, job.to_dict(), str(live.work.path), live.attempts + 1, live.ooms)

    def _ready(self, worker: Worker, message: Mapping[str, Any], live: Live | None) -> None:
        worker.facts = message["facts"]
        self.fetching.came(worker.setup.model)
        facts = {key: message[key] for key in ("engine", "model", "seconds")}
        logs.get().info("worker_ready", pid=worker.pid, **facts)
        if live is None or live.job is None:
            self.pool.done(worker)
        else:
            live.started = time.monotonic()  # what it took to fetch and load a model is not the job's time
            self._give(worker, live, live.job)

    def _staged(self, live: Live, message: Mapping[str, Any]) -> None:
        if live.cancelling:
            self._stopped(live)
            return
        attempts.record_end(live.work.attempts, "done")
        live.attempts += 1
        metrics, seconds = self._board.metrics, message["audio_seconds"]
        metrics.attempts.labels(live.engine, "done").inc()
        metrics.audio.labels(live.engine).inc(seconds)
        metrics.realtime.labels(live.engine).set(seconds / max(1e-3, message["resources"]["wall_seconds"]))
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

    def _failed(self, live: Live | None, message: Mapping[str, Any]) -> None:
        if live is not None:
            self._run_failed(live, StemdError.from_dict(message["error"]), message.get("trace"))

    def _run_failed(self, live: Live, error: StemdError, trace: str | None) -> None:
        waits = error.error_class is ErrorClass.MODEL_MISSING  # for something that is no fault of the job's
        attempts.record_end(live.work.attempts, "stop" if waits else "attempt", error.to_dict())
        if error.code == "STEMD-M001" and live.job is not None:
            self.fetching.failed(live.job.request.model)
        count = attempts.read(live.work.attempts)
        live.attempts, live.ooms = count.attempts, count.ooms
        self._board.metrics.attempts.labels(live.engine, error.error_class.value).inc()
        live.log("attempt_failed", code=error.code, message=error.message, attempt=count.attempts, trace=trace)
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

    def _stopped(self, live: Live) -> None:
        """A run was stopped on purpose: for good, or because the daemon goes and the next one resumes it."""
        attempts.record_end(live.work.attempts, "stop")
        if live.cancelling:
            self._board.give_up(live, StemdError("STEMD-P002"))
        else:
            live.enter(JobState.WAITING, "stopped; goes on when stemd does")
            live.log("requeued")
