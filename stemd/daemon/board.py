"""All unfinished jobs of one daemon, and the ways a job ends. Everyone who changes a job's fate goes through here."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from stemd.core.config import Config
from stemd.core.errors import DISK_TROUBLE, ErrorClass, StemdError
from stemd.core.job import JobId, JobState, Outcome
from stemd.daemon import placement
from stemd.daemon.live import Level, Live
from stemd.daemon.surviving import REST
from stemd.ops import logs
from stemd.ops.metrics import Metrics
from stemd.spool import album, deliver, durable
from stemd.spool.layout import Spool, WorkDir


class Board:
    """The jobs in memory. ``ended`` counts what ended since the start, by outcome.

    ``albums`` are those whose jobs are out but have not all ended, with their spools. ``take_follower`` is called for a
    job that follows one that has just been published, each ``on_end`` for every job that has ended, each ``on_failure``
    for a run that failed, ``ran`` for a run that ended (seconds of audio and of CPU), ``delivered`` for a result in the
    outbox. ``tell`` is what the audit trail hears: an event, its job, facts.
    """

    def __init__(self, config: Config, metrics: Metrics) -> None:
        self.config, self.metrics = config, metrics
        self.jobs: dict[JobId, Live] = {}
        self.albums: dict[JobId, Spool] = {}
        self.ended: dict[Outcome, int] = dict.fromkeys(Outcome, 0)
        self.on_failure: list[Callable[[Live, ErrorClass], None]] = []
        self.on_end: list[Callable[[Live, Outcome], None]] = []
        self.tell: Callable[..., None] = lambda event, live, **facts: None
        self.take_follower: Callable[[Spool, WorkDir, str], None] = lambda spool, work, user: None
        self.ran: Callable[[Live, float, float], None] = lambda live, audio, cpu: None
        self.delivered: Callable[[Live, Path], None] = lambda live, folder: None

    def add(self, live: Live) -> None:
        self.jobs[live.id] = live

    def get(self, job_id: str | None) -> Live | None:
        return self.jobs.get(JobId(job_id)) if job_id else None

    def folder(self, job_id: JobId) -> WorkDir | None:
        """Where the unfinished job of this id is at work."""
        live = self.jobs.get(job_id)
        return live.work if live is not None else None

    def in_state(self, state: JobState) -> list[Live]:
        return [live for live in self.jobs.values() if live.state is state]

    def count(self) -> Counter[JobState]:
        """How many jobs are in each state."""
        return Counter([live.state for live in self.jobs.values()])

    def let_go_of_vanished(self, busy: Callable[[Live], bool]) -> bool:
        """Forget the jobs whose folders somebody took out of work/; whether there were any. That of a spool which is
        gone as a whole is another matter, and that of a ``busy`` one may just be getting another name."""
        gone = [each for each in self.jobs.values() if not busy(each) and _is_gone(each)]
        for live in gone:
            del self.jobs[live.id]
            with suppress(OSError):
                live.spool.status_file(live.id).unlink()  # as after a restart
            live.log_elsewhere("job_vanished", level="error", state=live.state.value, stage=live.stage)
        return bool(gone)

    def write_statuses(self, now: float) -> float:
        """Write the status files that are due; returns when the next one is (monotonic seconds)."""
        following = math.inf
        for live in self.jobs.values():
            if (due := live.status_due) is None:
                continue
            if due <= now:
                live.write_status()
            else:
                following = min(following, due)
        return following

    def requeue(self, live: Live, stage: str) -> None:
        """Back into the queue, whatever it waited for.

        Raises:
            StemdError: STEMD-S014, the note that it waits cannot be taken away.
        """
        with durable.io_errors("end a job's wait"):
            live.work.not_before.unlink(missing_ok=True)
        if live.waits_on_purpose:
            live.count_anew()
        live.enter(JobState.WAITING, stage)

    def defer(self, live: Live, reason: StemdError) -> None:
        """Wait until what is missing is there."""
        live.enter(JobState.DEFERRED, "waiting for what is missing", reason=reason)
        level: Level = "info" if reason.error_class is ErrorClass.QUOTA else "warning"
        live.log("deferred", level=level, code=reason.code, reason=reason.message, remedy=reason.remedy)

    def wait(self, live: Live, error: StemdError, delay: float) -> None:
        """Try again in ``delay`` seconds; a restart remembers it."""
        self.metrics.retries.labels(error.error_class.value).inc()
        not_before = time.time() + delay
        wait = {"state": JobState.RETRY_WAIT.value, "not_before": not_before, "reason": error.to_dict()}
        with suppress(StemdError):  # the note is for a restart; without it the job is tried again sooner
            durable.write_json(live.work.not_before, wait)
        live.not_before = not_before
        live.enter(JobState.RETRY_WAIT, "waiting to try again", reason=error)
        live.log("retry_scheduled", code=error.code, seconds=round(delay, 1))

    def rest(self, live: Live, trouble: StemdError) -> None:
        """The disk refuses what the job's turn needs: the next ones' turn comes, this one's again in a while."""
        self.wait(live, trouble, min(REST, self.config.retry.cap))

    def give_up(self, live: Live, error: StemdError) -> None:
        """Into orphan/, with the reason; an earlier reason that the disk did not take stands."""
        error = live.unended or error
        level: Level = "info" if _outcome(error) is Outcome.CANCELLED else "error"
        live.log("giving_up", level=level, code=error.code, message=error.message, remedy=error.remedy)
        close = partial(self._close_log, live, _outcome(error), error)
        try:
            target = deliver.to_orphan(live.spool, live.work, error, live.user, close)
        except StemdError as trouble:
            if trouble.error_class not in DISK_TROUBLE:
                raise
            self._stall(live, error, trouble)
            return
        self.failed(live, str(target), error)

    def failed(self, live: Live, target: str, error: StemdError) -> None:
        """The job is in orphan/."""
        self.metrics.orphans.labels(error.error_class.value).inc()
        self._end(live, _outcome(error), target, error)

    def _stall(self, live: Live, error: StemdError, trouble: StemdError) -> None:
        """The disk does not even take the explanation of ``error``: keep the job as it is and come back to it."""
        live.unended, live.not_before = error, time.time() + REST
        live.enter(JobState.RETRY_WAIT, "the disk refuses", reason=trouble)
        live.log("stalled", level="error", code=trouble.code, reason=trouble.message)

    def publish(self, live: Live) -> None:
        """Make a staged result visible.

        Raises:
            StemdError: it could not be; the job is still in work/, unpublished.
        """
        assert live.job is not None
        live.enter(JobState.PUBLISHING, "publishing")
        following: list[WorkDir] = []
        close = partial(self._close_log, live, Outcome.DONE, None)
        target = deliver.to_outbox(live.spool, live.work, live.job, following.append, close)
        self.published(live, str(target))
        self.delivered(live, target)
        for work in following:
            self.take_follower(live.spool, work, live.user)

    def published(self, live: Live, target: str) -> None:
        """The result is in the outbox."""
        live.progress = 1.0
        self._end(live, Outcome.DONE, target, None)

    def await_album(self, spool: Spool, album_id: JobId) -> None:
        """Tell of an album in its ``album.json`` as soon as its last job has ended."""
        self.albums[album_id] = spool
        self.close_albums()

    def close_albums(self) -> None:
        """Finish the albums whose jobs have all ended; what the disk refuses is tried again at the next call."""
        for album_id, spool in list(self.albums.items()):
            try:
                folder = album.finish(spool, spool.job(album_id))
            except StemdError as error:
                logs.get().error("album_not_finished", job_uuid=album_id, code=error.code, reason=error.message)
                continue
            if folder is not None:
                del self.albums[album_id]
                logs.get().info("album_ended", job_uuid=album_id, result=str(folder))

    def _close_log(self, live: Live, outcome: Outcome, error: StemdError | None, log: Path) -> None:
        """The canonical line, in the log that goes with the job: where to is decided only after it."""
        live.log_here(log, "job_ended", **live.ending(outcome, error))

    def _end(self, live: Live, outcome: Outcome, target: str, error: StemdError | None) -> None:
        """The last word on a job: its final status, and the canonical line of the log."""
        live.state, live.stage = JobState(outcome.value), "ended"
        live.reason, live.not_before = error, None
        live.write_status(target)
        if self.jobs.get(live.id) is live:  # not another spool's, whose restart is still to tell them apart
            del self.jobs[live.id]
        self.ended[outcome] += 1
        ending = live.ending(outcome, error)
        if not live.is_canary:
            self.metrics.completed.labels(placement.label(live.engine), outcome.value).inc()
            self.metrics.end_to_end.observe(ending["seconds"])
        live.log_elsewhere("job_ended", **ending, result=target)
        for listener in self.on_end:
            listener(live, outcome)
        self.tell("ended", live, outcome=outcome.value, attempts=live.attempts, code=error.code if error else None)
        self.close_albums()


def _is_gone(live: Live) -> bool:
    """Whether the job's folder, and not all of its spool, is gone; a disk that says nothing of it has not said so."""
    with suppress(OSError):
        try:
            live.work.path.lstat()
        except FileNotFoundError:
            return live.spool.work.is_dir()
    return False


def _outcome(error: StemdError) -> Outcome:
    return Outcome.CANCELLED if error.code == "STEMD-P002" else Outcome.FAILED
