"""What happens after a failure: never again, again later, or wait for something to be put right. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass

from stemd.core.errors import NEVER_RETRIED, ErrorClass, StemdError
from stemd.spool.attempts import MAX_INTERRUPTIONS, Count


@dataclass(frozen=True, slots=True)
class Again:
    """Try again after ``delay`` seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class Defer:
    """Wait until what is missing is there."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Into orphan/, with ``error``."""

    error: StemdError


Decision = Again | Defer | GiveUp


def backoff(attempt: int, base: float, cap: float, jitter: float) -> float:
    """Full-jitter exponential backoff in seconds: uniform in 0 … min(cap, base · 2^(attempt − 1)).

    ``jitter`` is the uniform number in [0, 1). Source: M. Brooker, "Exponential Backoff and Jitter", AWS, 2015.
    """
    return jitter * min(cap, base * 2.0 ** min(attempt - 1, 60))


def after_failure(
    error: StemdError, count: Count, *, tries: int, base: float, cap: float, jitter: float | None = None
) -> Decision:
    """Decide about a job whose last start ended with ``error``; ``count`` includes that end."""
    if error.error_class is ErrorClass.MODEL_MISSING:
        return Defer()
    allowed = min(2, tries) if error.error_class is ErrorClass.INTERNAL else tries
    if error.error_class in NEVER_RETRIED or count.attempts >= allowed:
        return GiveUp(error)
    return Again(backoff(count.attempts, base, cap, random.random() if jitter is None else jitter))  # noqa: S311


def after_interruption(count: Count) -> GiveUp | None:
    """Decide about a job whose daemon or machine went away under it: it goes on at once, but not for ever."""
    if count.interruptions <= MAX_INTERRUPTIONS:
        return None
    return GiveUp(StemdError("STEMD-E007", f"interrupted {count.interruptions} times without a checkpoint in between"))
