"""Where alerts are told: the log, webhooks, commands, Alertmanager. On a thread of its own, with a bounded queue.

What cannot be told is tried again with backoff, a few times; Alertmanager is told again anyway while an alert lasts.
"""

from __future__ import annotations

import json
import queue
import socket
import subprocess
import threading
import time
from collections.abc import Iterable
from typing import Any

from stemd.core.alerting import REMINDER, Alert
from stemd.ops import logs
from stemd.ops.post import NotTakenError, post
from stemd.spool.sidecar import iso

_TIMEOUT = 10.0
_TRIES = 6
_MOST_WAITING = 1000
#: Alertmanager resolves by itself what it has not heard of for so many reminders.
_PATIENCE = 5


class Sinks:
    """Tells alerts; never blocks who calls."""

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[tuple[str, ...], Alert] | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)
        self._stopping = threading.Event()
        self._thread.start()

    def tell(self, sinks: Iterable[tuple[str, ...]], alerts: Iterable[Alert], *, again: bool = False) -> None:
        """Tell all sinks; with ``again`` only those that want to be reminded."""
        for alert in alerts:
            for sink in sinks:
                if sink[0] == "log" and not again:
                    _log(alert)
                elif sink[0] == "alertmanager" or (sink[0] != "log" and not again):
                    try:
                        self._queue.put_nowait((sink, alert))
                    except queue.Full:
                        logs.get().error("alert_not_told", alert=alert.name, sink=sink[0], reason="too many wait")

    def stop(self) -> None:
        """What waits is told if that is quick."""
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            self._stopping.set()
        self._thread.join(timeout=2)
        self._stopping.set()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None and not self._stopping.is_set():
            sink, alert = item
            for attempt in range(_TRIES):
                try:
                    deliver(sink, alert)
                    break
                except NotTakenError as error:
                    last = attempt == _TRIES - 1
                    event = "alert_not_told" if last else "alert_delayed"
                    logs.get().warning(event, alert=alert.name, sink=sink[0], reason=str(error))
                    if last or self._stopping.wait(min(30.0, 0.5 * 2**attempt)):
                        break
                except Exception:
                    logs.get().error("alert_not_told", alert=alert.name, sink=sink[0], exc_info=True)
                    break


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
            _run_command(command, json.dumps(document(alert)).encode())


def _run_command(command: list[str], body: bytes) -> None:
    try:
        done = subprocess.run(command, input=body, capture_output=True, timeout=_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotTakenError(str(error)) from None
    if done.returncode != 0:
        raise NotTakenError(f"exit status {done.returncode}: {done.stderr[-200:].decode(errors='replace')}".strip())


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
