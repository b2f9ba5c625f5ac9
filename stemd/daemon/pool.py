"""The worker processes: started fresh (never forked), spoken to over pipes, replaced when they die.

The pool knows processes and messages; what a job is and what its end means is the dispatcher's business.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from stemd.core.environment import scrubbed
from stemd.core.errors import StemdError
from stemd.core.job import Limits
from stemd.core.limits import Action, Limit, Usage
from stemd.daemon.cards import Cards
from stemd.worker import wire
from stemd.worker.setup import Setup

_STDERR_TAIL = 8192


class WorkerState(Enum):
    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    STOPPING = "stopping"


class Owner(Protocol):
    """Who the pool reports to."""

    def worker_said(self, worker: Worker, message: Mapping[str, Any]) -> None:
        """A message arrived."""

    def worker_died(self, worker: Worker, how: str) -> None:
        """The process is gone; ``how`` says by what exit status or signal. ``worker.job_id`` is still set."""


class Keeper(Protocol):
    """Who keeps workers within their limits."""

    def born(self, worker: Worker) -> None:
        """Its process has just been started."""

    def kill(self, worker: Worker) -> None:
        """It is being ended by force: so is all that it started."""

    def buried(self, worker: Worker) -> None:
        """Its process has ended; the owner is told next."""


@dataclass(slots=True, eq=False)
class Worker:
    """One process. ``job_id`` is set while it is ``BUSY``; times are of the monotonic clock, seconds.

    ``limits`` are those in force for it now, ``usage`` is what the governor saw last, ``met`` are the limits it met
    since they were set. ``sentence`` is why it is being killed, where that is the job's fault.
    ``threads`` are those of its job, or of its last one. ``threaded``: each job may have another number.
    ``heard`` is when it, or another that waits for the same model, last said something.
    """

    setup: Setup
    process: subprocess.Popen[bytes]
    state: WorkerState = WorkerState.STARTING
    job_id: str | None = None
    threads: int = 1
    threaded: bool = True
    since: float = field(default_factory=time.monotonic)
    heard: float = field(default_factory=time.monotonic)
    facts: Mapping[str, Any] = field(default_factory=dict)
    killed_for: str | None = None
    kill_at: float | None = None
    jobs_done: int = 0
    limits: Limits = field(default_factory=Limits)
    usage: Usage = field(default_factory=Usage)
    met: set[tuple[Limit, Action]] = field(default_factory=set)
    sentence: StemdError | None = None
    decoder: wire.Decoder = field(default_factory=wire.Decoder)
    stderr: deque[bytes] = field(default_factory=deque)

    @property
    def pid(self) -> int:
        return self.process.pid

    def enter(self, state: WorkerState, job_id: str | None = None) -> None:
        self.state, self.job_id, self.since = state, job_id, time.monotonic()

    def stderr_tail(self) -> str:
        return b"".join(self.stderr)[-_STDERR_TAIL:].decode(errors="replace")


class Pool:
    """All worker processes of one daemon."""

    def __init__(self, selector: selectors.BaseSelector, owner: Owner, keeper: Keeper | None = None) -> None:
        self._selector, self._owner, self._keeper = selector, owner, keeper
        self.workers: list[Worker] = []
        self.cards = Cards()

    def idle(self, setup: Setup) -> Worker | None:
        """A worker that has this model loaded and nothing to do."""
        return next((w for w in self.workers if w.state is WorkerState.IDLE and w.setup == setup), None)

    def of_engine(self, engine: str) -> list[Worker]:
        """The engine's workers that are not on their way out."""
        return [w for w in self.workers if w.setup.engine == engine and w.state is not WorkerState.STOPPING]

    def coming(self, setup: Setup) -> bool:
        """Whether a worker for whatever comes first is loading this model."""
        return any(w.job_id is None and w.setup == setup for w in self.loading())

    def loading(self) -> list[Worker]:
        """The workers that load their model, and may go on."""
        return [w for w in self.workers if w.state is WorkerState.STARTING and w.killed_for is None]

    def start(self, setup: Setup, threads: int, job_id: str | None = None) -> Worker:
        """Start a process that loads ``setup``, for a job or for what comes first; it reports ready or unready.

        Raises:
            OSError: none can be started.
        """
        if setup.card:
            self.cards.want(setup, threads)
        process = subprocess.Popen(
            [sys.executable, "-I", "-m", "stemd.worker", setup.to_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=scrubbed(os.environ, threads),
            start_new_session=True,
        )
        worker = Worker(setup, process, job_id=job_id, threads=threads)
        if self._keeper is not None:
            self._keeper.born(worker)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        os.set_blocking(process.stdin.fileno(), False)  # whoever does not read must not hold up everybody else
        for stream, handle in ((process.stdout, self._on_message), (process.stderr, self._on_stderr)):
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream.fileno(), selectors.EVENT_READ, _bind(handle, worker))
        self.workers.append(worker)
        return worker

    def run(self, worker: Worker, job_id: str, work: str, attempt: int, ease: int = 0) -> None:
        """Give an idle worker a job, for ``worker.threads`` threads; the caller has recorded the start durably."""
        worker.enter(WorkerState.BUSY, job_id)
        how = {"attempt": attempt, "ease": ease, "threads": worker.threads}
        self._send(worker, {"op": "run", "job_uuid": job_id, "work": work, **how})

    def cancel(self, worker: Worker) -> None:
        """Ask a busy worker to stop between two segments."""
        self._send(worker, {"op": "cancel"})

    def stop(self, worker: Worker) -> None:
        """Let an idle or starting worker end by itself."""
        worker.enter(WorkerState.STOPPING)
        self._send(worker, {"op": "exit"})

    def kill(self, worker: Worker, why: str, sentence: StemdError | None = None) -> None:
        """End a worker and whatever it started, now. ``why`` is kept for the explanation of its death."""
        worker.killed_for, worker.sentence = why, sentence
        if self._keeper is not None:
            self._keeper.kill(worker)
        with suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)

    def done(self, worker: Worker) -> None:
        """The worker's job is over; it may take another one, unless it is being killed already."""
        worker.jobs_done += worker.state is WorkerState.BUSY
        worker.kill_at = None
        worker.enter(WorkerState.STOPPING if worker.killed_for else WorkerState.IDLE)

    def _send(self, worker: Worker, message: Mapping[str, Any]) -> None:
        assert worker.process.stdin is not None
        line, taken = wire.encode(message), 0
        try:
            taken = os.write(worker.process.stdin.fileno(), line)
        except BrokenPipeError:
            return  # its death arrives as the end of its output
        except BlockingIOError:
            pass
        if taken < len(line):
            self.kill(worker, "did not listen")

    def _on_message(self, worker: Worker) -> None:
        assert worker.process.stdout is not None
        data = _read(worker.process.stdout.fileno())
        if data == b"":
            self._bury(worker)
            return
        trouble: StemdError | None = None
        try:
            for message in worker.decoder.feed(data or b""):
                if not isinstance(message.get("event"), str):
                    raise wire.WireError(f"no event: {str(message)[:80]}")
                try:
                    self._owner.worker_said(worker, message)
                except StemdError as error:  # what the worker said after that counts all the same
                    trouble = error
        except wire.WireError as error:
            self.kill(worker, f"spoke nonsense: {error}")
        if trouble is not None:
            raise trouble

    def _on_stderr(self, worker: Worker) -> None:
        assert worker.process.stderr is not None
        data = _read(worker.process.stderr.fileno())
        if data == b"":
            self._selector.unregister(worker.process.stderr.fileno())
        elif data:
            worker.stderr.append(data[-_STDERR_TAIL:])
            while sum(map(len, worker.stderr)) > 2 * _STDERR_TAIL:
                worker.stderr.popleft()

    def _bury(self, worker: Worker) -> None:
        """The worker closed its end: wait for the process, free the pipes, tell the owner."""
        try:
            status = worker.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.kill(worker, "closed its wire without ending")
            status = worker.process.wait()
        for stream in (worker.process.stdout, worker.process.stderr, worker.process.stdin):
            assert stream is not None
            if stream.fileno() in self._selector.get_map():
                self._selector.unregister(stream.fileno())
            with suppress(BrokenPipeError):
                stream.close()
        self.workers.remove(worker)
        if self._keeper is not None:
            self._keeper.buried(worker)
        self._owner.worker_died(worker, _explain(status))


def _bind(handle: Callable[[Worker], None], worker: Worker) -> Callable[[], None]:
    return lambda: handle(worker)


def _read(descriptor: int) -> bytes | None:
    """What is there to read: ``b""`` at the end of the stream, ``None`` when there is nothing now."""
    try:
        return os.read(descriptor, 1 << 16)
    except BlockingIOError:
        return None


def _explain(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    return f"signal {signal.Signals(-status).name}"
