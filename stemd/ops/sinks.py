"""Where alerts are told: the log, webhooks, commands, Alertmanager. Each on a thread of its own, with a bounded queue.

What cannot be told is tried again with backoff, a few times; Alertmanager is told again anyway while an alert lasts.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from stemd.core.alerting import REMINDER, Alert
from stemd.ops import logs
from stemd.ops.post import NotTakenError, post
from stemd.ops.programs import run_told
from stemd.spool.sidecar import iso

_TIMEOUT = 10.0
_TRIES = 6
_MOST_WAITING = 1000
#: Alertmanager resolves by itself what it has not heard of for so many reminders.
_PATIENCE = 5


class Sinks:
    """Tells alerts; never blocks who calls, and no sink waits for another."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, ...], _Line] = {}
        self._stopping = threading.Event()

    def tell(self, sinks: Iterable[tuple[str, ...]], alerts: Iterable[Alert], *, again: bool = False) -> None:
        """Tell all sinks; with ``again`` only those that want to be reminded."""
        for alert in alerts:
            for sink in sinks:
                if sink[0] == "log" and not again:
                    _log(alert)
                elif sink[0] == "alertmanager" or (sink[0] != "log" and not again):
                    line = self._lines.setdefault(sink, _Line(sink, self._stopping))
                    if not line.add(alert):
                        logs.get().error("alert_not_told", alert=alert.name, sink=sink[0], reason="too many wait")

    def stop(self) -> None:
        """What waits is told if that is quick."""
        deadline = time.monotonic() + 2
        for line in self._lines.values():
            line.join(max(0.0, deadline - time.monotonic()))
        self._stopping.set()


class _Line:
    """What one sink is still to be told, in order, and the thread that tells it, there while there is something."""

    def __init__(self, sink: tuple[str, ...], stopping: threading.Event) -> None:
        self._sink, self._stopping = sink, stopping
        self._waiting: list[Alert] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, alert: Alert) -> bool:
        """Whether there was room. What reminds of an alert takes the place of what says the same and still waits."""
        with self._lock:
            same = (place for place, each in enumerate(self._waiting) if _says_the_same(each, alert))
            if (place := next(same, None)) is not None:
                self._waiting[place] = alert
            elif len(self._waiting) < _MOST_WAITING:
                self._waiting.append(alert)
            else:
                return False
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=f"alerts-{self._sink[0]}", daemon=True)
                with suppress(RuntimeError):  # no thread is to be had: it waits for the next alert
                    thread.start()
                    self._thread = thread
        return True

    def join(self, timeout: float) -> None:
        if (thread := self._thread) is not None:
            thread.join(timeout)

    def _run(self) -> None:
        while (alert := self._next()) is not None:
            self._tell(alert)

    def _next(self) -> Alert | None:
        with self._lock:
            if self._waiting and not self._stopping.is_set():
                return self._waiting.pop(0)
            self._thread = None
            return None

    def _tell(self, alert: Alert) -> None:
        sink = self._sink
        for attempt in range(_TRIES):
            try:
                deliver(sink, alert)
                return
            except NotTakenError as error:
                last = attempt == _TRIES - 1
                event = "alert_not_told" if last else "alert_delayed"
                logs.get().warning(event, alert=alert.name, sink=sink[0], reason=str(error))
                if last or self._stopping.wait(min(30.0, 0.5 * 2**attempt)):
                    return
            except Exception:
                logs.get().error("alert_not_told", alert=alert.name, sink=sink[0], exc_info=True)
                return


def _says_the_same(one: Alert, other: Alert) -> bool:
    """Whether both say that the same alert fires."""
    return one.ended is other.ended is None and (one.name, one.since) == (other.name, other.since)


def document(alert: Alert) -> dict[str, Any]:
    """What a webhook or a command is told."""
    return {
        "schema_version": 1,
        "alert": alert.name,
        "status": "firing" if alert.ended is None else "resolved",
        "severity": alert.severity,
        "reason": alert.reason,
        "since": iso(alert.since),
        "ended": None if alert.ended is None else iso(alert.ended),
        "host": socket.gethostname(),
    }


def deliver(sink: tuple[str, ...], alert: Alert) -> None:
    """Tell one sink.

    Raises:
        NotTakenError: it did not take it.
    """
    match sink:
        case ("webhook", address):
            post(address, json.dumps(document(alert)).encode(), {}, _TIMEOUT)
        case ("alertmanager", address):
            body = json.dumps([_for_alertmanager(alert)]).encode()
            post(f"{address.rstrip('/')}/api/v2/alerts", body, {}, _TIMEOUT)
        case ("command", *command):
            run_told(command, json.dumps(document(alert)).encode(), _TIMEOUT)


def _for_alertmanager(alert: Alert) -> dict[str, Any]:
    ends = alert.ended if alert.ended is not None else time.time() + _PATIENCE * REMINDER
    name = "".join(part.capitalize() for part in alert.name.split("_"))
    return {
        "labels": {
            "alertname": f"StemdSelf{name}", "alert": alert.name, "severity": alert.severity,
            "instance": socket.gethostname(), "job": "stemd",
        },
        "annotations": {
            "summary": alert.reason, "description": alert.reason,
            "runbook_url": f"docs/observability.md#{alert.name.replace('_', '-')}",
        },
        "startsAt": iso(alert.since),
        "endsAt": iso(ends),
    }  # fmt: skip


def _log(alert: Alert) -> None:
    facts = {"alert": alert.name, "severity": alert.severity, "reason": alert.reason, "since": iso(alert.since)}
    if alert.ended is None:
        logs.get().error("alert_firing", **facts)
    else:
        logs.get().info("alert_resolved", **facts, seconds=round(alert.ended - alert.since, 1))
