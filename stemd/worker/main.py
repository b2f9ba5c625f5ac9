"""One worker process: load the model once, then take one job at a time and report over the wire.

The daemon may kill it at any moment and it may die of anything: it writes only below the job's own folder, and what
it leaves there is resumed or thrown away by whoever comes next. It never outlives the daemon.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from stemd.core.errors import StemdError
from stemd.core.job import Job
from stemd.engines.base import (
    CancelledError,
    Engine,
    Mixer,
    ModelInfo,
    OnCard,
    Portable,
    Progress,
    Threaded,
    TrackStats,
    Tunable,
    create,
)
from stemd.engines.faults import LostError
from stemd.spool import durable, joblock
from stemd.spool.layout import WorkDir
from stemd.worker import usage, wire
from stemd.worker.load import load
from stemd.worker.rlimits import files_within
from stemd.worker.run import Run, run_job
from stemd.worker.setup import Setup

_PR_SET_PDEATHSIG = 1
_PROGRESS_INTERVAL = 0.5
#: What Python says when the system refuses a thread, and what a thread's stack takes (bytes).
_THREAD, _STACK = "can't start new thread", 8 << 20
#: The length of a usual song (seconds).
_USUAL = 300.0


class Link:
    """The worker's end of the wire: messages out, and in from a thread of its own so that a cancel is heard at once."""

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self.jobs: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self.cancelled = threading.Event()
        threading.Thread(target=self._listen, name="wire", daemon=True).start()

    def send(self, event: str, **fields: Any) -> None:
        self._outgoing.write(wire.encode({"event": event, **fields}))
        self._outgoing.flush()

    def _listen(self) -> None:
        try:
            decoder = wire.Decoder()
            while data := os.read(self._incoming.fileno(), 1 << 16):
                for message in decoder.feed(data):
                    self._heard(message)
            os._exit(0)
        finally:
            os._exit(1)  # who hears nothing any more must not stay: the daemon sees an end, and no deaf worker

    def _heard(self, message: Mapping[str, Any]) -> None:
        match message["op"]:
            case "run":
                self.cancelled.clear()
                self.jobs.put(dict(message))
            case "cancel":
                self.cancelled.set()
            case "exit":
                self.jobs.put(None)


class Reporter:
    """Passes progress on, not more often than a person can follow, and stops the separation when asked to.

    ``chunks`` is the folder of checkpoints: how many there are goes along.
    """

    def __init__(self, link: Link, job_id: str, chunks: Path) -> None:
        self._link, self._job_id, self._chunks = link, job_id, chunks
        self._stage, self._next = "", 0.0

    def __call__(self, progress: Progress) -> None:
        if self._link.cancelled.is_set():
            raise CancelledError
        now = time.monotonic()
        if progress.stage != self._stage or now >= self._next:
            self._stage, self._next = progress.stage, now + _PROGRESS_INTERVAL
            self._link.send(
                "progress",
                job_uuid=self._job_id,
                stage=progress.stage,
                fraction=round(progress.fraction, 4),
                chunks=sum(1 for _ in self._chunks.glob("*.f32")),
            )


def main() -> None:
    """Serve until told to exit, or until the daemon is gone."""
    setup = Setup.from_json(sys.argv[1])
    _die_with_parent()
    link = Link(sys.stdin.buffer, _own_output())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    started = time.monotonic()
    try:
        engine = create(setup.engine, Path(setup.environment) if setup.environment else None)
        if setup.card and isinstance(engine, OnCard):
            engine.compute_on(Path(setup.card))
        model = load(engine, setup, link.send)
        tuned = _tuned(engine, setup)
    except Exception as error:
        link.send("unready", error=_as_stemd_error(error).to_dict(), trace=_trace(error))
        return
    facts = {"version": engine.version, **engine.facts(), **tuned}
    link.send(
        "ready",
        engine=setup.engine,
        model=model.name,
        facts=facts,
        seconds=round(time.monotonic() - started, 3),
        memory=_estimate(engine, model),
        threaded=isinstance(engine, Threaded),
    )
    while (message := link.jobs.get()) is not None and _serve(link, engine, model, message):
        pass
    engine.close()


def _tuned(engine: Engine | Mixer, setup: Setup) -> dict[str, Any]:
    """Let the engine find out what is fast here; the first worker on a machine takes seconds for it, others none."""
    if not isinstance(engine, Tunable):
        return {}
    if isinstance(engine, Portable):
        engine.prefer_runtime(setup.runtime)
    found = engine.tune(setup.precision, Path(setup.tuning) if setup.tuning else None)
    return {"tuning": {key: value for key, value in found.items() if key != "trials"}}


def _serve(link: Link, engine: Engine | Mixer, model: ModelInfo, message: Mapping[str, Any]) -> bool:
    """One job; whatever happens is reported. ``False`` where the engine cannot do another one in this process."""
    job_id, work = message["job_uuid"], WorkDir(Path(message["work"]))
    cpu = usage.cpu_seconds()
    if isinstance(engine, Threaded):
        os.environ["OMP_NUM_THREADS"] = str(message["threads"])  # what works beside the engine goes by it
        engine.use_threads(message["threads"])
    try:
        job = _read(work)
        with joblock.hold(work), files_within(job.request.limits.disk):
            run = Run(message["attempt"], message["ease"])
            report = run_job(engine, model, job, work, run, Reporter(link, job_id, work.chunks))
    except CancelledError:
        link.send("cancelled", job_uuid=job_id)
    except Exception as error:
        link.send(
            "failed",
            job_uuid=job_id,
            error=_as_stemd_error(error).to_dict(),
            trace=_trace(error),
            cpu_seconds=round(usage.cpu_seconds() - cpu, 3),
        )
        return not isinstance(error, LostError)
    else:
        link.send("staged", job_uuid=job_id, **report)
    return True


def _read(work: WorkDir) -> Job:
    """The job as its folder has it.

    Raises:
        StemdError: STEMD-S014.
    """
    if (record := durable.read_json(work.job)) is None:
        raise StemdError("STEMD-S014", f"{work.job} cannot be read")
    return Job.from_dict(record)


def _estimate(engine: Engine | Mixer, model: ModelInfo) -> int | None:
    """What the engine says it needs for a usual song with its own options (bytes); ``None`` where it cannot say."""
    if isinstance(engine, Mixer):
        return None
    try:
        engine.lanes({}, model.stems)
        return int(engine.memory(TrackStats(round(_USUAL * model.sample_rate), 0.0, 0.1, 1.0)))
    except Exception:  # of a plug-in; its jobs will tell what is wrong with it
        return None


def _as_stemd_error(error: Exception) -> StemdError:
    if isinstance(error, StemdError):
        return error
    if isinstance(error, MemoryError) or (_THREAD in str(error) and _memory_is_out()):
        return StemdError("STEMD-R001", "the worker ran out of memory")
    return StemdError("STEMD-X001", f"{type(error).__name__}: {error}")


def _memory_is_out() -> bool:
    """Whether there is no room for a thread's stack: else it was their number that stood in the way."""
    try:
        mmap.mmap(-1, _STACK).close()
    except OSError:
        return True
    return False


def _trace(error: Exception) -> str | None:
    """Where an unexpected error came from; an expected one says all there is in its message."""
    return None if isinstance(error, StemdError) else traceback.format_exc()[-8000:]


def _own_output() -> BinaryIO:
    """Keep standard output for the wire and send what libraries print to standard error."""
    own = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return own


def _die_with_parent() -> None:
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent or parent == 1:
        os._exit(0)
