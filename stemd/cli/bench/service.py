"""What the service itself costs, with the engine that computes nothing: rest, claims, throughput, a full inbox."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from stemd.cli.bench import processes
from stemd.cli.bench.sides import Daemon, Setting, daemon
from stemd.core.errors import StemdError

_EVENT = struct.Struct("iIII")
_IN_MOVED_FROM = 0x40
_PATIENCE = 600.0
_SETTING: dict[str, Any] = {
    "engine": "stub",
    "model": "stub",
    "stems": "all",
    "output": {"format": "flac", "bit_depth": 16},
}


@dataclass(frozen=True, slots=True)
class Plan:
    """Seconds of ``rest``; ``drops`` claims one at a time; ``jobs`` at once; ``files`` to be seen and ordered."""

    jobs: int
    drops: int
    rest: float
    files: int


def measure(root: Path, plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """All four, in turn.

    Raises:
        StemdError: the daemon ended, or a job failed.
    """
    song = Path(processes.tool("stemd.engines.sample.loop", str(root / "audio"), "0.5").strip())
    setting = Setting(_SETTING, root / "models", {"alerts": {"canary": None}})
    with daemon(setting, root / "stemd", 1) as running:
        idle = _idle(running, plan.rest)
        say(f"  at rest: {idle['cpu_share']:.2%} of a core, {idle['rss_bytes'] / 2**20:.0f} MiB")
        claims = summary(_claims(running, song, plan.drops))
        say(f"  drop → claim: {claims['p50']:.1f} ms, p99 {claims['p99']:.1f} ms")
        seconds = _burst(running, song, plan.jobs)
        say(f"  {plan.jobs / seconds:.1f} jobs a second")
        after = _idle(running, plan.rest)
    shutil.rmtree(root / "stemd")
    return {
        "idle": idle,
        "idle_after": after,
        "claim_ms": claims,
        "jobs": {"count": plan.jobs, "seconds": round(seconds, 3), "per_second": round(plan.jobs / seconds, 2)},
        "inbox": _flood(root / "flood", plan.files),
    }


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Milliseconds at the usual ranks (nearest rank)."""
    ordered = sorted(seconds)
    ranks = {f"p{rank}": ordered[math.ceil(len(ordered) * rank / 100) - 1] for rank in (50, 90, 99)}
    return {"n": len(ordered), **{key: round(each * 1e3, 2) for key, each in {**ranks, "max": ordered[-1]}.items()}}


def _idle(running: Daemon, seconds: float) -> dict[str, float]:
    """CPU time of the daemon's threads as a share of one core (the scheduler's own count), and its resident memory."""
    before, started = _cpu_seconds(running.pid), time.monotonic()
    time.sleep(seconds)
    share = (_cpu_seconds(running.pid) - before) / (time.monotonic() - started)
    return {"cpu_share": round(share, 5), "rss_bytes": psutil.Process(running.pid).memory_info().rss}


def _cpu_seconds(pid: int) -> float:
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(each.read_text().split()[0]) for each in threads) / 1e9


def _claims(running: Daemon, song: Path, drops: int) -> list[float]:
    """Seconds from each rename into the inbox to the rename out of it; each drop when nothing else is at work."""
    departures, found = Departures(running.spool.inbox), []
    hidden = running.spool.root.parent / "arriving.wav"
    for number in range(drops):
        _until_at_rest(running)
        time.sleep(random.uniform(0.2, 0.6))  # noqa: S311  not in step with the daemon's own clock
        shutil.copyfile(song, hidden)
        name, started = f"claim{number}.wav", time.monotonic()
        hidden.rename(running.spool.inbox / name)
        found.append(departures.wait_for(name) - started)
    _until_at_rest(running)
    departures.close()
    return found


def _burst(running: Daemon, song: Path, jobs: int) -> float:
    """Seconds from the first of ``jobs`` renames to the last result."""
    waiting = running.spool.root.parent / "waiting"
    waiting.mkdir()
    content = song.read_bytes()
    for number in range(jobs):
        (waiting / f"burst{number:05}.wav").write_bytes(content + bytes(2 * number))
    home = running.spool.outbox / "everyone"
    goal, started = sum(1 for _ in home.iterdir()) + jobs, time.monotonic()
    for path in sorted(waiting.iterdir()):
        path.rename(running.spool.inbox / path.name)
    _until(running, lambda: sum(1 for _ in home.iterdir()) >= goal, "all jobs have ended")
    return time.monotonic() - started


def _until_at_rest(running: Daemon) -> None:
    spool = running.spool
    _until(running, lambda: not any(spool.work.iterdir()) and not any(spool.inbox.iterdir()), "it is at rest")


def _until(running: Daemon, condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        running.check()
        if time.monotonic() > deadline:
            raise StemdError("STEMD-S017", f"the daemon did not get so far that {what}")
        time.sleep(0.02)


def _flood(root: Path, count: int) -> dict[str, float]:
    """Seconds until the daemon's own scanner has seen ``count`` files and put all in order (in this process)."""
    from stemd.core.config import load
    from stemd.daemon.scanner import Scanner
    from stemd.spool.intake import Candidate
    from stemd.spool.layout import Spool

    spool = Spool(root / "spool")
    for folder in (spool.inbox, spool.status):
        folder.mkdir(parents=True)
    defaults = {**_SETTING, "settle": "0s", "settle_unprobed": "0s"}
    document = Setting(defaults, root / "models").document(root)
    (root / "stemd.yaml").write_text(json.dumps(document))
    for number in range(count):
        (spool.inbox / f"song{number:05}.wav").write_bytes(b"RIFF")
    scanner = Scanner(spool, load(root / "stemd.yaml", environ={}).config, lambda: None)
    try:
        started, found = time.monotonic(), 0
        while found < count:
            found += sum(isinstance(each, Candidate) for each in scanner.scan())
        return {"files": count, "seconds": round(time.monotonic() - started, 3)}
    finally:
        scanner.stop()


class Departures:
    """Blocks until a name leaves a folder by a rename, and says when (``time.monotonic``)."""

    def __init__(self, folder: Path) -> None:
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(os.O_CLOEXEC)
        if libc.inotify_add_watch(self._descriptor, os.fsencode(folder), _IN_MOVED_FROM) < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch")

    def wait_for(self, name: str) -> float:
        while True:
            data = os.read(self._descriptor, 65536)
            now = time.monotonic()
            if name in _names(data):
                return now

    def close(self) -> None:
        os.close(self._descriptor)


def _names(data: bytes) -> Iterator[str]:
    offset = 0
    while offset < len(data):
        length = _EVENT.unpack_from(data, offset)[3]
        offset += _EVENT.size + length
        yield os.fsdecode(data[offset - length : offset].rstrip(b"\0"))
