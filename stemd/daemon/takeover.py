"""What a restart finds in work/, taken over: each job goes on from where the last daemon left it."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from stemd.core.errors import StemdError
from stemd.core.job import JobState
from stemd.daemon import retry
from stemd.daemon.board import Board
from stemd.daemon.live import Live
from stemd.daemon.room import of_job
from stemd.daemon.runs import Runs
from stemd.daemon.sealing import Sealer
from stemd.daemon.surviving import survives
from stemd.ops import logs
from stemd.spool import attempts, belongings, durable, ownership, recover
from stemd.spool.layout import Spool, WorkDir


class Takeover:
    """Brings recovered jobs onto the board. What could not be recovered is tried again by ``again``."""

    def __init__(self, board: Board, runs: Runs, sealer: Sealer) -> None:
        self._board, self._runs, self._sealer = board, runs, sealer
        self._stuck: list[tuple[Spool, WorkDir]] = []

    @property
    def stuck(self) -> int:
        """How many jobs in work/ could not be brought forward yet."""
        return len(self._stuck)

    def recovered(self, spool: Spool, found: recover.Recovered) -> None:
        """Take over one job that a restart found in work/.

        Raises:
            StemdError: the disk failed; unless the job is on the board by now, ``again`` goes on with it.
        """
        try:
            with durable.io_errors("take over what is in work/"):
                self._take_over(spool, found)
        except Exception:
            if self._board.folder(found.work.job_id) != found.work:
                self.left(spool, found.work)
            raise

    def _take_over(self, spool: Spool, found: recover.Recovered) -> None:
        self._board.metrics.recovered.labels(found.found.value).inc()
        job = found.job
        if found.found is recover.Found.STUCK and found.error is not None:
            reason = found.error.message
            logs.get().error("recovery_failed", job_uuid=found.work.job_id, code=found.error.code, reason=reason)
            user = self._owner_of_stuck(found.work)
            Live(spool, found.work, user, stage="stuck", reason=found.error).write_status()
            self.left(spool, found.work)
            return
        if found.found is recover.Found.ALBUM:
            self._board.await_album(spool, found.work.job_id)
            return
        live = Live(spool, found.work, job.user_id if job else self._owner(found.work), job)
        if job is not None:
            live.claimed_at, live.need = job.claimed_at, of_job(job)
        count = attempts.read(live.work.attempts)
        live.recall(count)
        if found.found is recover.Found.PUBLISHED:
            if job is not None:
                self._board.published(live, found.result or "")
            return
        if found.found is recover.Found.FAILED and found.error is not None:
            self._board.failed(live, found.result or "", found.error)
            return
        self._board.add(live)
        live.log("recovered", found=found.found.value, attempts=live.attempts, interruptions=live.interruptions)
        if job is None:
            live.changed()
            self._sealer.start(live)
        elif found.found is recover.Found.STAGED:
            live.spent = dict((durable.read_json(live.work.manifest) or {}).get("resources", {}))
            self._runs.publish(live)
        elif (verdict := retry.after_interruption(count)) is not None:
            self._board.give_up(live, verdict.error)
        else:
            self._restore_wait(live)

    def left(self, spool: Spool, work: WorkDir) -> None:
        """Nobody has what is in this folder: ``again`` goes on with it."""
        self._stuck.append((spool, work))

    def again(self) -> None:
        """What a restart could not bring forward may go on now, unless it is gone by now: it may have been erased."""
        for spool, work in list(self._stuck):
            self._stuck.remove((spool, work))
            if os.path.lexists(work.path):
                survives(self._bring_forward, spool, work)

    def _bring_forward(self, spool: Spool, work: WorkDir) -> None:
        if (found := recover.one(spool, work, self._board.folder)) is not None:
            self.recovered(spool, found)
            if found.following is not None:
                self._sealer.take_new(spool, found.following, self._owner(found.following))

    def _restore_wait(self, live: Live) -> None:
        wait = durable.read_json(live.work.not_before) or {"state": JobState.WAITING}
        if wait["state"] == JobState.RETRY_WAIT:
            live.state = JobState.RETRY_WAIT
            live.not_before = min(wait["not_before"], time.time() + self._board.config.retry.cap)
            live.reason = StemdError.from_dict(wait["reason"])
            live.changed()
        else:
            live.enter(JobState(wait["state"]), "held" if wait["state"] == JobState.HELD else "queued")

    def _owner(self, work: WorkDir) -> str:
        return ownership.of_claimed(self._board.config, work)

    def _owner_of_stuck(self, work: WorkDir) -> str:
        """As far as it can be told: the disk may refuse to."""
        with suppress(LookupError, TypeError, ValueError, StemdError, OSError):
            return belongings.owner(self._board.config, work) or self._owner(work)
        return self._board.config.defaults.user
