"""What a user may ask for, and how much of it; pure.

``permit`` is about kind: engines and models. ``admit`` is about amount: the user's quota against what he has had.
``turn`` is about now: what waits in the queue because others of the same user run. Priorities and limits are not
refused but lowered to what is allowed, where the request is made (``stemd.core.request``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemd.core.errors import StemdError

if TYPE_CHECKING:
    from stemd.core.config import Config
    from stemd.core.config.people import Quota
    from stemd.core.job import Job, Request

_HOUR = 3600.0
_GIB = 2**30
#: The quotas that stop a job, and what a person does about each. The others only make it wait for its turn.
REMEDIES = {
    "waiting": "Nothing: it goes on by itself as jobs of this user end.",
    "audio_per_day": "Nothing: it goes on by itself as the last 24 hours move on.",
    "cpu_per_day": "Nothing: it goes on by itself as the last 24 hours move on.",
    "outbox": "Take finished folders out of the user's outbox; it goes on by itself within a minute.",
}


@dataclass(frozen=True, slots=True)
class Usage:
    """What one user has: jobs that run and that wait, bytes promised to the running ones, and of the last 24 hours
    seconds of audio (that which runs now included) and of CPU; bytes in the outbox, ``None`` while they are counted.
    """

    running: int = 0
    waiting: int = 0
    memory: int = 0
    audio: float = 0.0
    cpu: float = 0.0
    outbox: int | None = None


@dataclass(frozen=True, slots=True)
class Admit:
    """Nothing hinders it."""


@dataclass(frozen=True, slots=True)
class Defer:
    """Not now: it waits where it is, and goes on by itself."""

    error: StemdError


@dataclass(frozen=True, slots=True)
class Refuse:
    """Not at all."""

    error: StemdError


Verdict = Admit | Defer | Refuse


def permit(config: Config, user: str, request: Request) -> None:
    """Let a request through if ``users.USER.engines`` and ``models`` allow it; who is not configured may use all.

    Raises:
        StemdError: STEMD-P004.
    """
    known = config.users.get(user)
    if known is None:
        return
    for what, wanted, allowed in (
        ("engine", request.engine, known.engines),
        ("model", request.model, known.models),
    ):
        if allowed is not None and wanted not in allowed:
            raise StemdError("STEMD-P004", f"{user} may not use {what} {wanted!r}; allowed: {', '.join(allowed)}")


def admit(user: str, job: Job | None, usage: Usage, config: Config) -> Verdict:
    """Whether the user's quota lets a job start; without a ``job``: whether it lets another entry be claimed."""
    quota = config.quota_of(user)
    if quota is None:
        return Admit()
    audio = seconds_of(job) if job else 0.0
    if quota.audio_per_day is not None and audio > quota.audio_per_day:
        message = f"it is {_hours(audio)} long; {user} may have {_hours(quota.audio_per_day)} in 24 hours"
        return Refuse(StemdError("STEMD-P006", message, detail={"quota": "audio_per_day"}))
    found = next(_exceeded(quota, usage, audio, at_door=job is None), None)
    if found is None:
        return Admit()
    name, facts = found
    refused = quota.over == "refuse"
    remedy = "Later, or after some room was made: `stemd retry JOB`." if refused else REMEDIES[name]
    error = StemdError("STEMD-P005", f"{user} {facts} ({name})", remedy=remedy, detail={"quota": name})
    return Refuse(error) if refused else Defer(error)


def _exceeded(quota: Quota, usage: Usage, audio: float, *, at_door: bool) -> Iterator[tuple[str, str]]:
    """Each quota that is used up, with the facts."""
    if at_door and quota.waiting is not None and usage.waiting >= quota.waiting:
        yield "waiting", f"has {usage.waiting} jobs waiting; {quota.waiting} may be"
    most = quota.audio_per_day
    if most is not None and (usage.audio + audio > most or usage.audio >= most):
        more = f", and this is {_hours(audio)}" if audio else ""
        yield "audio_per_day", f"has had {_hours(usage.audio)} of {_hours(most)} audio in 24 hours{more}"
    if quota.cpu_per_day is not None and usage.cpu >= quota.cpu_per_day:
        yield "cpu_per_day", f"has had {_hours(usage.cpu)} of {_hours(quota.cpu_per_day)} CPU time in 24 hours"
    if quota.outbox is not None and usage.outbox is not None and usage.outbox >= quota.outbox:
        yield "outbox", f"has {_gib(usage.outbox)} of {_gib(quota.outbox)} in the outbox"


def turn(user: str, request: Request, usage: Usage, config: Config) -> str | None:
    """Why a job waits in the queue for others of its user to end, or ``None``."""
    quota = config.quota_of(user)
    if quota is None:
        return None
    if quota.running is not None and usage.running >= quota.running:
        return f"waits for its turn: {user} may have {quota.running} running"
    if quota.memory is not None and usage.running and usage.memory + memory_of(quota, request) > quota.memory:
        return f"waits for its turn: all running jobs of {user} may have {_gib(quota.memory)} of memory"
    return None


def memory_of(quota: Quota | None, request: Request) -> int:
    """What a running job takes of its user's memory quota: its limit; without one, all there is."""
    most = quota.memory if quota else None
    return min(filter(None, (request.limits.memory, most)), default=0)


def seconds_of(job: Job) -> float:
    """How much audio a job counts for; what could not be read counts for none until it is done."""
    return job.source.length.seconds if job.source.length else 0.0


def _hours(seconds: float) -> str:
    return f"{seconds / _HOUR:.3g} h" if seconds >= _HOUR else f"{seconds / 60:.3g} min"


def _gib(count: int) -> str:
    return f"{count / _GIB:.3g} GiB" if count >= _GIB / 10 else f"{count / 2**20:.3g} MiB"
