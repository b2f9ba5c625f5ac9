"""What it costs the daemon to be scraped every second: measured on the real daemon, asked by a real HTTP client.

    python -m tests.bench.scrape [--seconds 30] [--rounds 3] [--json FILE]

The engine is the stub and no job runs, so that nothing else moves. Rounds alternate, unasked and asked, so that what
else the machine does falls on both alike. CPU time is the scheduler's own count of the daemon's threads, as a share of
one core.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.spool_latency import cpu_seconds
from tests.support.audio import write_wav
from tests.support.daemon import Daemon, eventually


def share(daemon: Daemon, seconds: float, ask: Callable[[], object]) -> float:
    """The daemon's CPU time over ``seconds``, in each of which ``ask`` is called once (per cent of a core)."""
    assert daemon.process is not None
    before, started = cpu_seconds(daemon.process.pid), time.monotonic()
    for number in range(round(seconds)):
        ask()
        time.sleep(max(0.0, started + number + 1 - time.monotonic()))
    return 100 * (cpu_seconds(daemon.process.pid) - before) / (time.monotonic() - started)


def measure(seconds: float, rounds: int) -> dict[str, Any]:
    """The shares without and with a scrape every second, and the difference of their medians."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with Daemon(home, defaults={"engine": "stub", "model": "stub"}) as daemon:
            daemon.drop(write_wav(home / "song.wav", seconds=1.0))
            eventually(daemon.results, 120, "a job has left its figures")
            text = daemon.http("/metrics")[1]
            time.sleep(5.0)
            unasked, asked = [], []
            for _ in range(rounds):
                unasked.append(share(daemon, seconds, lambda: None))
                asked.append(share(daemon, seconds, lambda: daemon.http("/metrics")))
    cost = statistics.median(asked) - statistics.median(unasked)
    figures = {"unasked": unasked, "asked": asked, "cost": cost}
    rounded = {key: [round(v, 2) for v in value] if isinstance(value, list) else round(value, 2)
               for key, value in figures.items()}  # fmt: skip
    return {
        "cores": os.cpu_count(), "load": os.getloadavg(), "lines": text.count("\n"), "bytes": len(text),
        "per_cent_of_a_core": rounded,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    figures = measure(options.seconds, options.rounds)
    text = json.dumps(figures, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
