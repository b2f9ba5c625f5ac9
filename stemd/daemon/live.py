"""One unfinished job as the daemon holds it in memory; the spool has everything it needs to make this anew."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stemd.core.errors import StemdError
from stemd.core.job import Job, JobId, JobState, advance, encode_name
from stemd.core.room import Need
from stemd.ops import logs
from stemd.spool import sidecar
from stemd.spool.layout import Spool, WorkDir

_STATUS_INTERVAL = 1.0


@dataclass(slots=True, eq=False)
class Live:
    """A job in ``work/``. ``job`` is ``None`` until it is sealed; ``started`` is monotonic seconds.

    ``chunks`` is the most checkpoints it ever had, ``ooms`` how often it ran out of memory. ``unended`` is why it
    should be in orphan/ but could not be put there: the disk refused. ``need`` is what it was promised of the disk.
    """

    spool: Spool
    work: WorkDir
    user: str
    job: Job | None = None
    state: JobState = JobState.WAITING
    stage: str = "claimed"
    progress: float = 0.0
    attempts: int = 0
    ooms: int = 0
    interruptions: int = 0
    reason: StemdError | None = None
    not_before: float | None = None
    started: float | None = None
    cancelling: bool = False
    chunks: int = 0
    unended: StemdError | None = None
    need: Need = field(default_factory=Need)
    claimed_at: float = field(default_factory=time.time)
    _status_due: float = 0.0

    @property
    def id(self) -> JobId:
        return self.work.job_id

    @property
    def engine(self) -> str:
        return self.job.request.engine if self.job else "none"

    def enter(self, state: JobState, stage: str, *, reason: StemdError | None = None) -> None:
        """Change the state and say so in ``status/``."""
        self.state = advance(self.state, state)
        self.stage, self.reason = stage, reason
        if state is not JobState.RETRY_WAIT:
            self.not_before = None
        self.write_status()

    def tell(self, stage: str) -> None:
        """Say what a job in its present state waits for, where that is news."""
        if stage != self.stage:
            self.enter(self.state, stage)

    def advance_progress(self, stage: str, fraction: float) -> None:
        """Note progress; the status file follows about once a second."""
        self.stage, self.progress = stage, fraction
        if time.monotonic() >= self._status_due:
            self.write_status()

    def write_status(self, result: str | None = None) -> None:
        self._status_due = time.monotonic() + _STATUS_INTERVAL
        try:
            sidecar.write_status(self.spool, self.id, self._document(result))
        except (StemdError, OSError) as error:  # a cache for people: a full disk must not end the daemon
            logs.get().warning("status_not_written", job_uuid=self.id, reason=str(error))

    def log(self, event: str, **fields: Any) -> None:
        """One event, in the daemon's log and in the job's own."""
        facts = {"user_id": self.user, **({"engine": self.engine, "model": self.job.request.model} if self.job else {})}
        logs.get().info(event, job_uuid=self.id, **facts, **fields)
        if self.work.path.is_dir():
            logs.append_job_log(self.work.log, event, time.time(), job_uuid=self.id, **facts, **fields)

    def _document(self, result: str | None) -> dict[str, Any]:
        job = self.job
        return {
            "user_id": self.user,
            "state": self.state.value,
            "stage": self.stage,
            "progress": round(self.progress, 4),
            "engine": job.request.engine if job else None,
            "model": job.request.model if job else None,
            "title": job.title if job else None,
            "source": encode_name(job.source.name) if job else None,
            "source_sha256": job.source.sha256 if job else None,
            "attempts": self.attempts,
            "interruptions": self.interruptions,
            "reason": _reason(self.reason),
            "next_attempt_at": sidecar.iso(self.not_before) if self.not_before else None,
            "claimed_at": sidecar.iso(self.claimed_at),
            "result": result,
            "eta_seconds": self._eta(),
        }

    def _eta(self) -> float | None:
        if self.state is not JobState.RUNNING or self.started is None or self.progress < 0.02:
            return None
        elapsed = time.monotonic() - self.started
        return round(elapsed / self.progress * (1 - self.progress), 1)


def _reason(error: StemdError | None) -> Mapping[str, Any] | None:
    if error is None:
        return None
    return {"code": error.code, "class": error.error_class.value, "message": error.message, "remedy": error.remedy}
