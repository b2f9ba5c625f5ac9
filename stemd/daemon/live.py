"""One unfinished job as the daemon holds it in memory; the spool has everything it needs to make this anew."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from stemd.core.canary import is_canary
from stemd.core.errors import ErrorClass, StemdError
from stemd.core.job import Job, JobId, JobState, Outcome, advance, encode_name
from stemd.core.room import Need
from stemd.ops import logs
from stemd.spool import durable, sidecar
from stemd.spool.attempts import Count
from stemd.spool.layout import Spool, WorkDir

Level = Literal["info", "warning", "error"]

#: How old a status file grows while its job's progress is all that is new, and how young it stays otherwise (seconds).
_PROGRESS_INTERVAL, _STATUS_INTERVAL = 1.0, 0.1


@dataclass(slots=True, eq=False)
class Live:
    """A job in ``work/``. ``job`` is ``None`` until it is sealed; ``started`` is monotonic seconds.

    ``counted_from`` is when it was last put back or let go on, since when its waiting counts (later by what was drained
    since then); before that it is the claim. ``waited`` are the seconds from there to its first start, ``spent`` what
    its last run used. ``chunks`` is the most checkpoints it ever had, ``ooms`` how often it ran out of memory.
    ``unended`` is why it should be in orphan/ but could not be put there: the disk refused. ``need`` is what it was
    promised of the disk, ``cpu`` the CPU seconds that its runs have told of.
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
    waited: float | None = None
    spent: dict[str, Any] = field(default_factory=dict)
    unended: StemdError | None = None
    need: Need = field(default_factory=Need)
    cpu: float = 0.0
    claimed_at: float = field(default_factory=time.time)
    counted_from: float | None = None
    _written: float = 0.0
    _unwritten: float | None = None
    _door: str | None = None

    @property
    def id(self) -> JobId:
        return self.work.job_id

    @property
    def engine(self) -> str:
        return self.job.request.engine if self.job else "none"

    @property
    def inbox(self) -> str | None:
        """By which it came: before it is sealed its origin says so, which goes with it when it ends."""
        if self.job is not None:
            return self.job.inbox
        if self._door is None:
            origin = durable.read_json(self.work.origin)
            self._door = None if origin is None else str(origin.get("inbox") or "")
        return self._door

    @property
    def is_canary(self) -> bool:
        """Whether it is the service's own trial: in no statistics."""
        return is_canary(self.job)

    @property
    def since(self) -> float:
        """From when its waiting, and how long it takes in all, counts. Its turn is that of its claim all the same."""
        return self.claimed_at if self.counted_from is None else self.counted_from

    @property
    def waits_on_purpose(self) -> bool:
        """Whether somebody wants it to wait: who holds it, or who gave its user a quota. Nobody is late then."""
        by_quota = self.reason is not None and self.reason.error_class is ErrorClass.QUOTA
        return self.state is JobState.HELD or (self.state is JobState.DEFERRED and by_quota)

    @property
    def at_work(self) -> bool:
        """Whether somebody has begun with it, and it waits for nothing."""
        return self.state in {JobState.RUNNING, JobState.PUBLISHING}

    def count_less(self, seconds: float) -> None:
        """So much of its waiting was on purpose and does not count."""
        self.counted_from = min(time.time(), self.since + seconds)

    def count_anew(self) -> None:
        """Its waiting counts from now."""
        self.counted_from, self.waited = time.time(), None

    def recall(self, count: Count) -> None:
        """Take over what an earlier daemon wrote down of its attempts."""
        self.attempts, self.interruptions, self.ooms = count.attempts, count.interruptions, count.ooms
        self.counted_from = count.put_back_at
        if count.begun_at is not None:
            self.waited = max(0.0, count.begun_at - self.since)

    def enter(self, state: JobState, stage: str, *, reason: StemdError | None = None) -> None:
        """Change the state; ``status/`` follows at the end of the loop's turn."""
        self.state = advance(self.state, state)
        self.stage, self.reason = stage, reason
        if state is not JobState.RETRY_WAIT:
            self.not_before = None
        self.changed()

    def tell(self, stage: str) -> None:
        """Say what a job in its present state waits for, where that is news."""
        if stage != self.stage:
            self.enter(self.state, stage)

    def advance_progress(self, stage: str, fraction: float) -> None:
        """Note progress; the status file follows about once a second, and soon where the stage is another one."""
        news = stage != self.stage
        self.stage, self.progress = stage, fraction
        if news or time.monotonic() >= self._written + _PROGRESS_INTERVAL:
            self.changed()

    def changed(self) -> None:
        """What the status file says is not so any more; of several changes in a row it shows the last."""
        if self._unwritten is None:
            self._unwritten = self._written + _STATUS_INTERVAL

    @property
    def status_due(self) -> float | None:
        """When the status file is to be written (monotonic seconds); ``None``: it is as it should be."""
        return self._unwritten

    def write_status(self, result: str | None = None) -> None:
        """Write the status file now."""
        self._written, self._unwritten = time.monotonic(), None
        try:
            sidecar.write_status(self.spool, self.id, self._document(result))
        except (StemdError, OSError) as error:  # a cache for people: a full disk must not end the daemon
            logs.get().warning("status_not_written", job_uuid=self.id, reason=str(error))

    def log(self, event: str, *, level: Level = "info", **fields: Any) -> None:
        """One event, in the daemon's log, where ``level`` says whether somebody should look, and in the job's own."""
        self.log_elsewhere(event, level=level, **fields)
        if self.work.path.is_dir():
            self.log_here(self.work.log, event, **fields)

    def log_elsewhere(self, event: str, *, level: Level = "info", **fields: Any) -> None:
        """One event, in the daemon's log only."""
        getattr(logs.get(), level)(event, **self._who, **fields)

    def log_here(self, path: Path, event: str, **fields: Any) -> None:
        """One event, in the job's own log only, which is at ``path``."""
        logs.append_job_log(path, event, time.time(), **self._who, **fields)

    @property
    def _who(self) -> dict[str, Any]:
        engine = {"engine": self.engine, "model": self.job.request.model} if self.job else {}
        return {"job_uuid": self.id, "user_id": self.user, **engine}

    def ending(self, outcome: Outcome, error: StemdError | None) -> dict[str, Any]:
        """What the canonical line says; what is not known is left out."""
        return {
            "outcome": outcome.value,
            "attempts": self.attempts,
            "seconds": round(max(0.0, time.time() - self.since), 3),
            **self._summary(),
            **({"code": error.code, "class": error.error_class.value} if error else {}),
        }

    def _summary(self) -> dict[str, Any]:
        job = self.job
        length = job.source.length if job else None
        wall, audio = (
            self.spent.get("wall_seconds"),
            self.spent.get("audio_seconds", length.seconds if length else None),
        )
        facts = {
            "stems": job.request.stems if job else None,
            "format": job.request.output.format if job else None,
            "options": dict(job.request.options) if job and job.request.options else None,
            "audio_seconds": audio,
            "wait_seconds": None if self.waited is None else round(self.waited, 3),
            "realtime": round(audio / wall, 3) if audio and wall else None,
            "interruptions": self.interruptions or None,
            **{key: self.spent.get(key) for key in ("wall_seconds", "cpu_seconds", "peak_rss_bytes")},
        }
        return {key: value for key, value in facts.items() if value is not None}

    def _document(self, result: str | None) -> dict[str, Any]:
        job = self.job
        return {
            "user_id": self.user,
            "inbox": self.inbox,
            "state": self.state.value,
            "stage": self.stage,
            "progress": round(self.progress, 4),
            "engine": job.request.engine if job else None,
            "model": job.request.model if job else None,
            "title": job.title if job else None,
            "source": encode_name(job.source.name) if job else None,
            "source_sha256": job.source.sha256 if job else None,
            "cpu_seconds": round(self.cpu, 3),
            "attempts": self.attempts,
            "interruptions": self.interruptions,
            "reason": _reason(self.reason),
            "next_attempt_at": sidecar.iso(self.not_before) if self.not_before else None,
            "claimed_at": sidecar.iso(self.claimed_at),
            "compliance": sidecar.compliance(job, time.time()) if job else None,
            "result": result,
            "audio_seconds": round(self._audio, 3) if self._audio else None,
            "eta_seconds": self._eta(),
            "realtime_factor": self._speed(),
        }

    @property
    def _audio(self) -> float | None:
        length = self.job.source.length if self.job else None
        return length.seconds if length else None

    def _eta(self) -> float | None:
        if (elapsed := self._elapsed()) is None:
            return None
        return round(elapsed / self.progress * (1 - self.progress), 1)

    def _speed(self) -> float | None:
        """Seconds of audio in a second, so far."""
        if (elapsed := self._elapsed()) is None or not self._audio:
            return None
        return round(self._audio * self.progress / max(elapsed, 1e-3), 2)

    def _elapsed(self) -> float | None:
        """How long it has run, once it has come far enough to tell from."""
        if self.state is not JobState.RUNNING or self.started is None or self.progress < 0.02:
            return None
        return time.monotonic() - self.started


def _reason(error: StemdError | None) -> Mapping[str, Any] | None:
    if error is None:
        return None
    return {"code": error.code, "class": error.error_class.value, "message": error.message, "remedy": error.remedy}
