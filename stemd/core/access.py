"""Who may do what: the roles of CONTRACT's users, as one table. Pure; who somebody is, is found out elsewhere.

Whoever owns a job may see, hear, steer and erase it. What a role may do beyond that stands in ``_BEYOND_OWN``.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from stemd.core.errors import StemdError

if TYPE_CHECKING:
    from stemd.core.config import Config

Role = Literal["user", "viewer", "operator", "admin"]


#: Whom the kernel names where a user namespace hides who it is (``/proc/sys/kernel/overflowuid``).
OVERFLOW = 65_534


class Action(StrEnum):
    """What somebody may want. The first four are about one job or one user's jobs, the others about the service."""

    SEE = "see"
    HEAR = "hear"
    STEER = "steer"
    ERASE = "erase"
    HEALTH = "health"
    OPERATE = "operate"
    PRUNE = "prune"
    AUDIT = "audit"


_OF_THE_OWNER = frozenset({Action.SEE, Action.HEAR, Action.STEER, Action.ERASE})
_BEYOND_OWN: Mapping[Role, frozenset[Action]] = {
    "user": frozenset(),
    "viewer": frozenset({Action.SEE, Action.HEALTH}),
    "operator": frozenset({Action.SEE, Action.STEER, Action.HEALTH, Action.OPERATE, Action.PRUNE}),
    "admin": frozenset(Action),
}


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who asks: a configured user's name (``None`` for root, the service itself and loopback) and role."""

    name: str | None
    role: Role

    def may(self, action: Action, owner: str | None = None) -> bool:
        """Whether this person may do ``action``; ``owner`` is the user whose job it is about, if it is about one."""
        own = owner is not None and owner == self.name and action in _OF_THE_OWNER
        return own or action in _BEYOND_OWN[self.role]

    def require(self, action: Action, owner: str | None = None) -> None:
        """Let the action pass.

        Raises:
            StemdError: STEMD-P003.
        """
        if not self.may(action, owner):
            what = f"{action.value} jobs of {owner}" if owner else action.value
            raise StemdError("STEMD-P003", f"{self.name or 'nobody known'} ({self.role}) may not {what}")


def by_uid(config: Config, uid: int, own: int) -> Person:
    """Who a process of the user ``uid`` is to a daemon that runs as ``own``: root and that user are admins.

    Raises:
        StemdError: STEMD-P003, no configured user has this uid, or it cannot be seen whose it is.
    """
    if uid in {0, own}:
        return Person(None, "admin")
    name = owner_by_uid(config, uid, own)
    if name is not None:
        return Person(name, config.users[name].role)
    if uid == OVERFLOW:
        message = f"the daemon sees you as uid {uid}, which is nobody's"
        remedy = "Install the drop-in 20-other-users.conf (docs/operating.md): with PrivateUsers= all look alike."
        raise StemdError("STEMD-P003", message, remedy=remedy)
    remedy = "Ask the operator to write your uid into `users.NAME.uid`, or run this as the service's user."
    raise StemdError("STEMD-P003", f"uid {uid} is no user of this daemon", remedy=remedy)


def owner_by_uid(config: Config, uid: int, own: int) -> str | None:
    """The configured user whose files those of ``uid`` are, to a daemon that runs as ``own``.

    Root's and the daemon's own are nobody's: they arrive for others, by a file server that runs as either.
    """
    if uid in {0, own, OVERFLOW}:
        return None
    return next((name for name, user in config.users.items() if user.uid == uid), None)


def by_token(config: Config, token: str) -> Person | None:
    """Who bears ``token``; how long the answer takes tells nothing about any user's."""
    digest, found = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest(), None
    for name, user in config.users.items():
        if user.token_sha256 is not None and hmac.compare_digest(digest, user.token_sha256):
            found = Person(name, user.role)
    return found
