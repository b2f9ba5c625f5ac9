"""What the service itself can do: jobs a second with the stub engine, and how soon a flood of files is seen and ordered.

    python -m tests.bench.spool_load [--jobs 200] [--files 10000] [--json FILE]

``jobs``: so many half-second files are renamed into the inbox at once; the clock runs from the first claim to the last
published result, all syncs included. ``flood``: so many files lie in the inbox of a daemon that is told to start no
job; the clock runs from its start, and from the last rename into it, to the state in which all are listed in order.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.support.audio import write_wav
from tests.support.daemon import Daemon, eventually

_ENGINE = {"engine": "stub", "model": "stub", "settle": "0s", "settle_unprobed": "0s"}


def throughput(count: int, workers: int) -> dict[str, float]:
    """``count`` files dropped at once."""
    with tempfile.TemporaryDirectory(prefix="stemd-bench-") as name:
        home = Path(name)
        song = write_wav(home / "song.wav", seconds=0.5).read_bytes()
        engines = {"stub": {"workers": {"max": workers}}}
        with Daemon(home, defaults=_ENGINE, engines=engines) as daemon:
            _drop(daemon, song, 2, "warm")
            eventually(lambda: _published(daemon) == 2, 60)
            started = time.monotonic()
            _drop(daemon, song, count, "song")
            eventually(lambda: _published(daemon) == count + 2, 600)
            seconds = time.monotonic() - started
    return {
        "jobs": count,
        "workers": workers,
        "seconds": round(seconds, 3),
        "jobs_per_second": round(count / seconds, 1),
    }


def _published(daemon: Daemon) -> int:
    folder = daemon.spool.outbox / "everyone"
    return len(os.listdir(folder)) if folder.is_dir() else 0


def _drop(daemon: Daemon, song: bytes, count: int, prefix: str) -> None:
    waiting = daemon.home / "waiting"
    waiting.mkdir(exist_ok=True)
    for number in range(count):
        (waiting / f"{prefix}{number:05}.wav").write_bytes(song + bytes(2 * number))
    for path in sorted(waiting.iterdir()):
        path.rename(daemon.spool.inbox / path.name)


if __name__ == "__main__":
    for w in (1, 2):
        print(throughput(150, w), os.getloadavg())
