"""What a user may ask for; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stemd.core.errors import StemdError

if TYPE_CHECKING:
    from stemd.core.config import Config
    from stemd.core.job import Request


def admit(config: Config, user: str, request: Request) -> None:
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
