"""What the daemon shows of itself: one immutable picture, replaced whole, read by the HTTP thread and the CLI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class DaemonView:
    """The daemon at one moment. ``loop_at`` is monotonic seconds of the last turn of its loop.

    ``engines`` says of each that a worker tried to load whether it ``loads``, with what it reported.
    """

    ready: bool = False
    reason: str = "starting"
    draining: bool = False
    loop_at: float = 0.0
    jobs: Mapping[str, int] = field(default_factory=dict)
    workers: tuple[Mapping[str, Any], ...] = ()
    inboxes: tuple[Mapping[str, Any], ...] = ()
    engines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    scaling: Mapping[str, Any] = field(default_factory=dict)
    alerts: tuple[Mapping[str, Any], ...] = ()
    limits: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "ready": self.ready,
            "reason": self.reason,
            "draining": self.draining,
            "jobs": dict(self.jobs),
            "workers": [dict(worker) for worker in self.workers],
            "scaling": dict(self.scaling),
            "inboxes": [dict(inbox) for inbox in self.inboxes],
            "engines": {name: dict(engine) for name, engine in self.engines.items()},
            "alerts": [dict(alert) for alert in self.alerts],
            "limits": dict(self.limits),
        }

    @property
    def sentence(self) -> str:
        """The state in one sentence."""
        if not self.ready:
            return f"not ready: {self.reason}"
        running, waiting = self.jobs.get("running", 0), self.jobs.get("waiting", 0)
        rest = sum(self.jobs.values()) - running - waiting
        found = f"{running} running, {waiting} waiting" + (f", {rest} otherwise held up" if rest else "")
        return f"draining: {found}" if self.draining else found
