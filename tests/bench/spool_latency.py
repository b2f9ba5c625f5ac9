"""How soon a drop is claimed, and what the daemon costs while nothing happens: measured on the real daemon.

    python -m tests.bench.spool_latency [--drops 200] [--idle 60] [--json FILE]

The engine is the stub, so that only the service itself is measured. A claim is the rename out of the inbox, seen by
an inotify reader of this script's own; its clock starts right before the rename into the inbox. Two series:

- ``idle``: each drop is made when nothing else is at work and a second has passed;
- ``stream``: drops follow each other every 20 to 400 ms while earlier ones are separated and published.

CPU time is the scheduler's own count of the daemon's threads (``/proc/PID/task/*/schedstat``), workers not included.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from stemd.cli.bench.service import Departures
from stemd.spool.layout import Spool
from tests.support.audio import write_wav
from tests.support.daemon import Daemon, eventually

_ENGINE = {"engine": "stub", "model": "stub"}


def latencies(daemon: Daemon, song: bytes, drops: int, *, stream: bool) -> list[float]:
    """Seconds from each rename into the inbox to the rename out of it."""
    departures = Departures(daemon.spool.inbox)
    found = []
    for number in range(drops):
        name = f"{'stream' if stream else 'idle'}{number}.wav"
        hidden = daemon.home / "arriving.wav"
        hidden.write_bytes(song)
        if stream:
            time.sleep(random.uniform(0.02, 0.4))
        else:
            eventually(lambda: _at_rest(daemon.spool), 60, "everything before it is done")
            time.sleep(random.uniform(0.5, 1.5))
        started = time.monotonic()
        hidden.rename(daemon.spool.inbox / name)
        found.append(departures.wait_for(name) - started)
    eventually(lambda: _at_rest(daemon.spool), 300, "all drops have ended")
    return found


def _at_rest(spool: Spool) -> bool:
    return not any(spool.work.iterdir()) and not any(spool.inbox.iterdir())


def idle(daemon: Daemon, seconds: float) -> dict[str, float]:
    """CPU time of the daemon as a share of one core, and its resident memory (bytes), over ``seconds`` of rest."""
    assert daemon.process is not None
    pid = daemon.process.pid
    before, started = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    share = (cpu_seconds(pid) - before) / (time.monotonic() - started)
    return {"seconds": seconds, "cpu_share": share, "rss_bytes": psutil.Process(pid).memory_info().rss}


def cpu_seconds(pid: int) -> float:
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def summary(seconds: list[float]) -> dict[str, float]:
    """Milliseconds at the usual ranks (nearest rank)."""
    ordered = sorted(seconds)
    at = {f"p{rank}": ordered[min(len(ordered) - 1, -(-len(ordered) * rank // 100) - 1)] for rank in (50, 90, 99)}
    return {"n": len(ordered), **{key: round(value * 1e3, 2) for key, value in {**at, "max": ordered[-1]}.items()}}


def measure(drops: int, seconds: float) -> dict[str, Any]:
    """All figures of this machine, with what else it was doing."""
    machine: dict[str, Any] = {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "load_before": os.getloadavg(),
    }
    with tempfile.TemporaryDirectory(prefix="stemd-bench-") as name:
        home = Path(name)
        song = write_wav(home / "song.wav", seconds=0.5).read_bytes()
        with Daemon(home, defaults=_ENGINE) as daemon:
            figures = {"idle_fresh": idle(daemon, seconds)}
            series = {
                "idle": summary(latencies(daemon, song, drops, stream=False)),
                "stream": summary(latencies(daemon, song, drops, stream=True)),
            }
            figures["idle_after"] = idle(daemon, seconds)
    return {"machine": {**machine, "load_after": os.getloadavg()}, "claim_ms": series, **figures}


def table(figures: dict[str, Any]) -> str:
    machine = figures["machine"]
    loads = " → ".join(f"{machine[key][0]:.2f}" for key in ("load_before", "load_after"))
    lines = [f"{machine['cores']} cores, load {loads}", "", "drop → claim (ms)  n     p50     p90     p99     max"]
    for name, row in figures["claim_ms"].items():
        lines.append(f"{name:<14}{row['n']:>6}" + "".join(f"{row[key]:>8.1f}" for key in ("p50", "p90", "p99", "max")))
    lines.append("")
    for name in ("idle_fresh", "idle_after"):
        row = figures[name]
        share, memory = row["cpu_share"] * 100, row["rss_bytes"] / 2**20
        lines.append(f"{name:<14}{share:6.3f} % of a core over {row['seconds']:g} s, {memory:.0f} MiB resident")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--drops", type=int, default=200)
    parser.add_argument("--idle", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Write the figures there; `-` is standard output.")
    options = parser.parse_args()
    figures = measure(options.drops, options.idle)
    print(table(figures), file=sys.stderr if str(options.json) == "-" else sys.stdout)
    if options.json:
        text = json.dumps(figures, indent=2)
        print(text) if str(options.json) == "-" else options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
