"""What is to be heeded about a job: purpose, region, whether it may be erased, and legal holds. Pure rules.

What is written into a job's records when it is accepted says what applied then. Whether something may be deleted is
decided by what the configuration says *now*: otherwise no hold could ever be laid on what is there already, or lifted.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stemd.core.config import Config


def marks(config: Config, inbox: str | None, user: str) -> dict[str, Any]:
    """The marks of a job that ``user`` drops into ``inbox``; its term is added where it is known when it ends."""
    own, box, operator = _layers(config, inbox, user)
    return {
        "purpose": own.purpose or box.purpose or operator.purpose,
        "region": own.region or box.region or operator.region,
        "erasable": erasable(config, inbox, user),
        "legal_hold": held(config, inbox, user),
    }


def held(config: Config, inbox: str | None, user: str | None, job: str | None = None) -> bool:
    """Whether a legal hold lies on what this is about: then it is neither pruned nor erased."""
    layers = _layers(config, inbox, user)
    return any(layer.legal_hold for layer in layers) or (job is not None and job in config.compliance.held_jobs)


def erasable(config: Config, inbox: str | None, user: str | None) -> bool:
    """Whether it may be erased on request: not where anybody says that there is a duty to keep it."""
    return all(layer.erasable is not False for layer in _layers(config, inbox, user))


def _layers(config: Config, inbox: str | None, user: str | None) -> tuple[Any, Any, Any]:
    known = config.users.get(user) if user else None
    return (
        known.compliance if known else _unchanged(),
        config.inbox(inbox or None).compliance,
        config.compliance,
    )


@cache
def _unchanged() -> Any:
    from stemd.core.config.jobs import ComplianceChange

    return ComplianceChange()
