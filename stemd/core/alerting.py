"""When stemd itself raises an alarm: rules on what has happened lately and on how things are. Pure; times in seconds.

Each rule looks at a ``History`` and a ``State`` and says why it fires, or nothing. ``Book`` makes of that what is told:
an alert fires once, is resolved once, and those who want it (Alertmanager) are reminded while it lasts.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from stemd.core.config.alerts import Alerts, Events

#: The alerts there are, with their severity; the names are a metric's labels.
SEVERITIES: Final[Mapping[str, str]] = {
    "failure_ratio": "warning",
    "latency_p95": "warning",
    "oom": "warning",
    "aborts": "warning",
    "resources": "warning",
    "disk": "warning",
    "canary": "critical",
}
#: Of fewer failed jobs no ratio is made: one bad file on a quiet day is no alarm.
_FEWEST_FAILURES = 3
#: Latency is that of the jobs that ended so long ago or less (seconds).
_LATENCY_WINDOW = 3600.0
#: The canary is missed after so many of its intervals.
_CANARY_MISSED = 3
#: Nothing older is remembered, nor more than this.
_OLDEST, _MOST = 7 * 86400.0, 100_000
#: How often who wants to be reminded is (seconds).
REMINDER = 60.0


@dataclass(slots=True)
class History:
    """What has happened, oldest first. ``ended`` are times of jobs that ended, whether well, and how long they took."""

    ended: deque[tuple[float, bool, float]] = field(default_factory=lambda: deque(maxlen=_MOST))
    ooms: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST))
    aborts: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST))

    def forget(self, now: float) -> None:
        while self.ended and self.ended[0][0] < now - _OLDEST:
            self.ended.popleft()
        for times in (self.ooms, self.aborts):
            while times and times[0] < now - _OLDEST:
                times.popleft()


@dataclass(frozen=True, slots=True)
class State:
    """How things are. ``waiting`` are the ages of unfinished jobs; ``busy_since`` says since when the machine is at its
    limits, ``free`` the share of the fullest disk that is free, ``canary_at`` when the canary last came through (or,
    before the first time, when the daemon started); ``None``: not known, or not so.
    """

    waiting: tuple[float, ...] = ()
    busy_since: float | None = None
    free: float | None = None
    canary_at: float | None = None


def firing(settings: Alerts, history: History, state: State, now: float) -> dict[str, str]:
    """The alerts that fire at ``now``, with the reason in one sentence."""
    found = {
        "failure_ratio": _failures(settings, history, now),
        "latency_p95": _latency(settings, history, state, now),
        "oom": _often(settings.oom, history.ooms, now, "ran out of memory"),
        "aborts": _often(settings.aborts, history.aborts, now, "died or was killed at its work"),
        "resources": _busy(settings, state, now),
        "disk": _full(settings, state),
        "canary": _canary(settings, state, now),
    }  # fmt: skip
    return {name: reason for name, reason in found.items() if reason}


def _failures(settings: Alerts, history: History, now: float) -> str:
    if (rule := settings.failure_ratio) is None:
        return ""
    lately = [well for at, well, _ in history.ended if at > now - rule.window]
    failed = lately.count(False)
    if failed < _FEWEST_FAILURES or failed <= rule.over * len(lately):
        return ""
    return f"{failed} of {len(lately)} jobs failed within {rule.window:g} s"


def _latency(settings: Alerts, history: History, state: State, now: float) -> str:
    """Jobs that have not ended count with their age, once that is too long already: a stuck one never ends."""
    if (rule := settings.latency_p95) is None:
        return ""
    took = [seconds for at, _, seconds in history.ended if at > now - _LATENCY_WINDOW]
    took = sorted([*took, *(age for age in state.waiting if age > rule.over)])
    if not took or (p95 := took[math.ceil(0.95 * len(took)) - 1]) <= rule.over:
        return ""
    return f"a twentieth of the jobs takes {p95:.0f} s or longer"


def _often(rule: Events | None, times: deque[float], now: float, what: str) -> str:
    if rule is None:
        return ""
    lately = sum(at > now - rule.window for at in times)
    return f"{lately} times within {rule.window:g} s a worker {what}" if lately >= rule.count else ""


def _busy(settings: Alerts, state: State, now: float) -> str:
    rule = settings.resources
    if rule is None or state.busy_since is None or now - state.busy_since < rule.for_:
        return ""
    return f"memory or CPU have been at their limit for {now - state.busy_since:.0f} s"


def _full(settings: Alerts, state: State) -> str:
    if settings.disk is None or state.free is None or state.free >= settings.disk.below:
        return ""
    return f"{state.free:.1%} of the spool's disk is free"


def _canary(settings: Alerts, state: State, now: float) -> str:
    rule = settings.canary
    if rule is None or state.canary_at is None or now - state.canary_at <= _CANARY_MISSED * rule.every:
        return ""
    return f"the last canary came through {now - state.canary_at:.0f} s ago"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert that fires, or (``ended``) fired."""

    name: str
    reason: str
    since: float
    ended: float | None = None

    @property
    def severity(self) -> str:
        return SEVERITIES[self.name]


class Book:
    """Which alerts fire, and what of that is news."""

    def __init__(self) -> None:
        self.firing: dict[str, Alert] = {}
        self._reminded = -math.inf

    def take(self, found: Mapping[str, str], now: float) -> tuple[list[Alert], list[Alert]]:
        """Note what fires at ``now``; returns the news, and what is to be told again to who wants to be reminded."""
        news = [
            Alert(each.name, each.reason, each.since, now) for each in self.firing.values() if each.name not in found
        ]
        for alert in news:
            del self.firing[alert.name]
        for name, reason in found.items():
            known = self.firing.get(name)
            self.firing[name] = Alert(name, reason, known.since if known else now)
            if known is None:
                news.append(self.firing[name])
        again: list[Alert] = []
        if now - self._reminded >= REMINDER:
            self._reminded = now
            again = [alert for alert in self.firing.values() if alert not in news]
        return news, again
