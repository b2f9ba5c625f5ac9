"""How often a job was started, and how each start ended: an append-only file, written *before* the engine starts.

A job that takes the whole machine down is counted too. Ends caused by the job or its worker are *attempts*; a stop,
crash or kill of the daemon and a new boot are *interruptions*, which cost a healthy long job nothing: they have a
generous cap of their own, and a new checkpoint sets their count back to nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from stemd.core.errors import ErrorClass
from stemd.spool import durable
from stemd.spool.steps import step

MAX_INTERRUPTIONS = 20


@dataclass(frozen=True, slots=True)
class Count:
    """What the file says: attempts and interruptions so far, starts in all, and the attempts' records.

    ``put_back_at`` is when a person last put it back or let it go on, ``begun_at`` when it was first started since (or
    at all).
    ``epoch`` is how often it was put back.
    """

    attempts: int
    interruptions: int
    starts: int
    records: tuple[dict[str, Any], ...]
    put_back_at: float | None = None
    begun_at: float | None = None
    epoch: int = 0

    @property
    def ooms(self) -> int:
        """How many attempts ran out of memory."""
        return sum(record.get("class") == ErrorClass.OOM.value for record in self.records)


@cache
def boot_id() -> str:
    """This boot of this machine (``/proc/sys/kernel/random/boot_id``)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def count(lines: Iterable[bytes]) -> Count:
    """Read the records; pure. A torn last line, which a power cut may leave, counts as absent."""
    attempts = interruptions = starts = epoch = 0
    records: list[dict[str, Any]] = []
    open_start: dict[str, Any] | None = None
    last_start: dict[str, Any] = {}
    put_back_at = begun_at = None
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        match record.get("event"):
            case "start":
                interruptions += open_start is not None
                starts += 1
                open_start = last_start = record
                begun_at = begun_at or record.get("started_at")
            case "end":
                attempts += record["how"] == "attempt"
                interruptions += record["how"] == "interruption"
                if record["how"] == "attempt":
                    records.append({**last_start, **record, "event": "attempt"})
                open_start = None
            case "checkpoint":
                interruptions = 0
            case "epoch":
                epoch += 1
                attempts = interruptions = 0
                open_start = None
                put_back_at, begun_at = record.get("at"), None
                records.clear()
            case "release":
                put_back_at, begun_at = record.get("at"), None
    interruptions += open_start is not None
    return Count(attempts, interruptions, starts, tuple(records), put_back_at, begun_at, epoch)


def read(path: Path) -> Count:
    """The counts of one job; a job never started has none."""
    try:
        return count(path.read_bytes().splitlines())
    except FileNotFoundError:
        return count(())


def record_start(path: Path, engine: str) -> int:
    """Record, durably, that the engine is about to be started; returns the number of this start (1, 2, …)."""
    number = read(path).starts + 1
    _append(path, {"event": "start", "n": number, "boot": boot_id(), "engine": engine, "started_at": time.time()})
    step("W1")
    return number


def record_end(path: Path, how: str, error: dict[str, Any] | None = None) -> None:
    """Record how the last start ended: ``attempt``, ``interruption``, ``stop`` (a clean one) or ``done``.

    Only of ``done`` it may be lost with the power: the manifest, which is on the disk by then, says the same.
    """
    _append(path, {"event": "end", "how": how, "ended_at": time.time(), **(error or {})}, flush=how != "done")


def record_checkpoint(path: Path) -> None:
    """The job got further than ever before: interruptions until now are forgiven."""
    _append(path, {"event": "checkpoint", "at": time.time()})


def record_epoch(path: Path) -> None:
    """A person put the job back: counting starts anew."""
    _append(path, {"event": "epoch", "at": time.time()})


def record_release(path: Path) -> None:
    """A person let a held job go on: what it has waited counts from now."""
    _append(path, {"event": "release", "at": time.time()})


def _append(path: Path, record: dict[str, Any], *, flush: bool = True) -> None:
    durable.append(path, json.dumps(record, separators=(",", ":"), allow_nan=False).encode(), flush=flush)
