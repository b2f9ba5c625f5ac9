"""What the service itself can do: jobs a second with the stub engine, and how soon a flood of files is seen.

    python -m tests.bench.spool_load [--jobs 200] [--files 10000] [--json FILE]

``jobs``: so many half-second files are renamed into the inbox at once; the clock runs from the first of the renames to
the last published result, all syncs included, with a worker that is loaded. ``flood``: so many small files lie in an
inbox; the clock runs over two looks of the daemon's own scanner (seen; settled) and the ordering of what is complete.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from stemd.core.config import load
from stemd.daemon.scanner import Scanner
from stemd.spool.intake import Candidate
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
            drop(daemon, song, 2, "warm")
            eventually(lambda: published(daemon) == 2, 60)
            started = time.monotonic()
            drop(daemon, song, count, "song")
            eventually(lambda: published(daemon) == count + 2, 600)
            seconds = time.monotonic() - started
    return {
        "jobs": count,
        "workers": workers,
        "seconds": round(seconds, 3),
        "jobs_per_second": round(count / seconds, 1),
    }


def flood(count: int) -> dict[str, float]:
    """``count`` files of a second of silence."""
    with tempfile.TemporaryDirectory(prefix="stemd-bench-") as name:
        home = Path(name)
        daemon = Daemon(home, defaults=_ENGINE)
        config = load(daemon.config).config
        daemon.spool.status.mkdir()
        song = write_wav(home / "song.wav", seconds=0.01).read_bytes()
        for number in range(count):
            (daemon.spool.inbox / f"song{number:05}.wav").write_bytes(song)
        scanner = Scanner(daemon.spool, config, lambda: None)
        try:
            started = time.monotonic()
            found = 0
            looks = 0
            while found < count:
                looks += 1
                found += sum(isinstance(each, Candidate) for each in scanner.scan())
            seconds = time.monotonic() - started
        finally:
            scanner.stop()
    return {"files": count, "looks": looks, "seconds": round(seconds, 3)}


def published(daemon: Daemon) -> int:
    """How many jobs of everyone's are in the outbox."""
    folder = daemon.spool.outbox / "everyone"
    return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0


def drop(daemon: Daemon, song: bytes, count: int, prefix: str) -> None:
    """Rename ``count`` files into the inbox, each of another content: ``song`` (WAV) and some bytes after it."""
    waiting = daemon.home / "waiting"
    waiting.mkdir(exist_ok=True)
    for number in range(count):
        (waiting / f"{prefix}{number:05}.wav").write_bytes(song + bytes(2 * number))
    for path in sorted(waiting.iterdir()):
        path.rename(daemon.spool.inbox / path.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    figures: dict[str, Any] = {
        "cores": os.cpu_count(),
        "load_before": os.getloadavg(),
        "flood": flood(options.files),
        "jobs": [throughput(options.jobs, workers) for workers in (1, 2)],
        "load_after": os.getloadavg(),
    }
    text = json.dumps(figures, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
