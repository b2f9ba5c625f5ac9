"""Between claim and queue: read the job's description and hash its source, or split an album into its jobs.

On threads, because it may take minutes.
"""

from __future__ import annotations

import random
import time
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from stemd.core.config import Config
from stemd.core.errors import DISK_TROUBLE, StemdError
from stemd.core.job import Job, JobId, JobState, Length, decode_name
from stemd.core.room import Need
from stemd.daemon import retry
from stemd.daemon.board import Board
from stemd.daemon.live import Live
from stemd.daemon.prober import Prober
from stemd.daemon.room import of_job
from stemd.ops import logs
from stemd.spool import album, claim, deliver, sidecar
from stemd.spool.intake import Kind
from stemd.spool.layout import Spool, WorkDir

Result = tuple[WorkDir, Job] | Literal["split"] | None

#: How soon a claimed file that somebody still writes is looked at again (seconds).
_AGAIN = 1.0


class Sealer:
    """Turns claimed entries into queued jobs."""

    def __init__(self, board: Board, prober: Prober, wake: Callable[[], None]) -> None:
        self._board, self._prober, self._wake = board, prober, wake
        board.take_follower = self.take_new
        self._running: dict[JobId, Future[Result]] = {}
        self._again: dict[JobId, float] = {}
        self._failures: Counter[JobId] = Counter()
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="seal")

    def start(self, live: Live) -> None:
        future = self._threads.submit(_seal, live.spool, live.work, self._board.config, self._prober.length)
        self._running[live.id] = future
        future.add_done_callback(lambda _: self._wake())

    def busy(self, live: Live) -> bool:
        """Whether a thread is at the job's folder now."""
        return live.id in self._running

    def next_look(self) -> float | None:
        return min(self._again.values(), default=None)

    def tick(self, now: float) -> None:
        """Take what is ready; ``now`` is monotonic seconds."""
        for job_id in [job_id for job_id, due in self._again.items() if due <= now]:
            del self._again[job_id]
            if (live := self._board.get(job_id)) is not None:
                self.start(live)
        for job_id in [job_id for job_id, future in self._running.items() if future.done()]:
            future = self._running.pop(job_id)
            if (live := self._board.get(job_id)) is not None:
                self._take(live, future)

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _take(self, live: Live, future: Future[Result]) -> None:
        try:
            result = future.result()
        except claim.AcknowledgedError as known:
            self._acknowledge(live, known.job_id)
        except StemdError as error:
            self._failed(live, error)
        except Exception as error:
            self._take_members(live)
            live.log("seal_crashed", level="error", trace="".join(traceback.format_exception(error)))
            self._board.give_up(live, StemdError("STEMD-X001", f"{type(error).__name__}: {error}"))
        else:
            if result == "split":
                self._split(live)
                return
            if result is not None and self._board.get(result[0].job_id) not in {None, live}:
                self._refuse(live, result[0])
                return
            if result is not None:
                self._adopt(live, *result)
            if live.cancelling:
                self._board.give_up(live, StemdError("STEMD-P002"))
            elif result is None:
                self._later(live, "still open for writing", _AGAIN)

    def _failed(self, live: Live, error: StemdError) -> None:
        """A fault of the job ends it; one of the disk may pass."""
        self._take_members(live)
        self._failures[live.id] += 1
        policy = self._board.config.retry
        passing = error.error_class in DISK_TROUBLE
        if live.cancelling or not passing or self._failures[live.id] >= policy.tries:
            self._board.give_up(live, StemdError("STEMD-P002") if live.cancelling else error)
        else:
            delay = retry.backoff(self._failures[live.id], policy.base, policy.cap, random.random())  # noqa: S311
            self._later(live, error.message, delay)

    def _later(self, live: Live, why: str, seconds: float) -> None:
        live.enter(JobState.WAITING, why)
        self._again[live.id] = time.monotonic() + seconds

    def _adopt(self, live: Live, work: WorkDir, job: Job) -> None:
        """The job has its description now, and perhaps the identity that it asks for."""
        if work.path != live.work.path:
            self._drop(live)
            live.work = work
            self._board.add(live)
        live.job, live.user, live.need = job, job.user_id, of_job(job)
        live.enter(JobState.WAITING, "queued")
        live.log(
            "queued",
            title=job.title,
            stems=job.request.stems,
            sha256=job.source.sha256,
            compliance=sidecar.compliance(job, time.time()),
        )
        self._board.tell("accepted", live, names={"name": job.source.name, "sha256": job.source.sha256})

    def _refuse(self, live: Live, work: WorkDir) -> None:
        """The identity that the job was given is that of an unfinished one, of which nothing was seen on the disk."""
        alone = claim.apart(live.spool, work)
        self._drop(live)
        live.work = alone
        self._board.add(live)
        self._board.give_up(live, StemdError("STEMD-S011", f"job_uuid {work.job_id} is at work"))

    def _split(self, live: Live) -> None:
        """The album is no job any more: it waits, off the board, for the jobs it has been split into."""
        self._take_members(live)
        live.log("album_split")
        self._drop(live)
        self._board.await_album(live.spool, live.id)

    def _take_members(self, live: Live) -> None:
        """Take over the jobs that an album has been split into so far, whatever becomes of the rest."""
        for work in album.members(live.spool, live.work):
            if self._board.get(work.job_id) is not None:
                continue
            member = Live(live.spool, work, live.user, claimed_at=live.claimed_at, need=live.need)
            live.need = Need()  # what the album was promised as a whole, until the first of its jobs knows its own
            self._announce(member, album=live.id)
            if live.cancelling:
                self._board.give_up(member, StemdError("STEMD-P002"))
            else:
                self.start(member)

    def take_new(self, spool: Spool, work: WorkDir, user: str) -> None:
        """Take a job that came out of another one."""
        live = Live(spool, work, user)
        self._announce(live, follows=claim.read_origin(work)["follows"])
        self.start(live)

    def _announce(self, live: Live, **facts: Any) -> None:
        self._board.add(live)
        live.changed()
        origin = claim.read_origin(live.work)
        live.log("claimed", name=decode_name(origin["name"]), inbox=origin["inbox"], **facts)

    def _acknowledge(self, live: Live, known: JobId) -> None:
        """The same job again: the existing one stands, this drop is let go."""
        live.log("acknowledged", known_job=known)
        self._board.metrics.claims.labels("duplicate").inc()
        try:
            deliver.let_go(live.spool, live.work, known)
        except StemdError as error:  # marked or not: the next start finishes it
            logs.get().error("duplicate_not_removed", job_uuid=live.id, code=error.code, reason=error.message)
        self._drop(live)
        self._board.close_albums()

    def _drop(self, live: Live) -> None:
        """Forget the id under which the job was claimed."""
        live.spool.status_file(live.id).unlink(missing_ok=True)
        del self._board.jobs[live.id]


def _seal(spool: Spool, work: WorkDir, config: Config, length: Callable[[Path], Length | None]) -> Result:
    """Seal a claimed entry or, where it is an album, split it; ``None`` while somebody still writes to it."""
    if claim.read_origin(work)["kind"] == Kind.ALBUM.value:
        return "split" if album.split(spool, work, config) else None
    return claim.seal(spool, work, config, length)
