"""What the answers are made from, in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from stemd.core.access import Person
from stemd.core.config import Config
from stemd.ops.health import Health
from stemd.ops.jobs import JobView
from stemd.ops.metrics import Metrics
from stemd.ops.picture import Picture
from stemd.ops.view import DaemonView

#: Called with who listens, to which job, and the file's name; see ``Listeners``.
Heard = Callable[[Person, JobView, str], None]
#: Called with who is refused (``None``: nobody known), what he wanted, and of which job.
Refused = Callable[[Person | None, str, JobView | None], None]


@dataclass(frozen=True)
class Site:
    """``view`` is the daemon's latest picture of itself, ``config`` the configuration in force.

    ``local``: only this machine can reach the port and no token is asked for. ``heard`` is told of each access to
    audio before a byte of it goes out, ``refused`` of what somebody wanted that is not his, and of tokens nobody has.
    """

    view: Callable[[], DaemonView]
    config: Callable[[], Config]
    health: Health
    metrics: Metrics
    local: bool
    heard: Heard = lambda person, job, name: None
    refused: Refused = lambda person, action, job: None
    picture: Picture = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "picture", Picture(self.config))
