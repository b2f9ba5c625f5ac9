"""Draws what the daemon shows of itself, from those who know it: one ``DaemonView`` for each turn of the loop."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from stemd.core.job import JobState
from stemd.daemon.alerts import Alarm
from stemd.daemon.dispatcher import Dispatcher
from stemd.daemon.pool import Worker
from stemd.daemon.scanner import Scanner
from stemd.ops.view import DaemonView
from stemd.spool.sidecar import iso

_OPEN = [state for state in JobState if not state.ended]


def picture(dispatcher: Dispatcher, alarm: Alarm) -> DaemonView:
    """The daemon as it is now, once it is ready."""
    scaling, counts = dispatcher.scaling, dispatcher.board.count()
    return DaemonView(
        ready=True,
        reason="draining" if dispatcher.draining else "serving",
        draining=dispatcher.draining,
        loop_at=time.monotonic(),
        jobs={state.value: counts[state] for state in _OPEN},
        limits=dispatcher.runs.governor.in_force(),
        workers=tuple(_worker(each, scaling.predicted(each)) for each in dispatcher.pool.workers),
        scaling=scaling.view(),
        alerts=tuple(
            {"alert": each.name, "severity": each.severity, "reason": each.reason, "since": iso(each.since)}
            for each in alarm.alerts
        ),
        inboxes=tuple(_inbox(scanner) for scanner in dispatcher.scanners),
        engines=dict(dispatcher.runs.loads),
    )


def _worker(worker: Worker, predicted: int) -> Mapping[str, Any]:
    return {
        **worker.facts,
        "pid": worker.pid,
        "engine": worker.setup.engine,
        "model": worker.setup.model,
        "state": worker.state.value,
        "job_uuid": worker.job_id,
        "threads": worker.threads,
        "memory_predicted": predicted,
        "limits": asdict(worker.limits),
        "usage": asdict(worker.usage),
    }


def _inbox(scanner: Scanner) -> Mapping[str, Any]:
    return {
        "inbox": str(scanner.spool.inbox),
        "watch": {inbox: mode.name for inbox, mode in scanner.watcher.modes.items()},
        **scanner.counts,
    }
