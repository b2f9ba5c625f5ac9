"""What the service itself spends on a job: CPU milliseconds of the daemon, its worker and its prober, by process.

    python -m tests.bench.spool_cpu [--jobs 200] [--rounds 3] [--against PYTHON] [--profile FOLDER]

``--jobs`` half-second files are renamed into the inbox at once, for the engine that computes nothing, with a worker
that is loaded; counted is from the first of the renames to the last published result, by the scheduler's own counters
(``/proc/PID/task/*/schedstat``; user and system time from ``/proc/PID/stat``). CPU time says the same on a busy machine
as on a quiet one, nearly: so with ``--against``, the Python of another checkout's environment, both are measured turn
by turn, and what counts is the difference. ``--profile`` writes what ``cProfile`` sees of the CPU time of the daemon
and its workers, a file for threads of one name, into a folder for ``python -m pstats``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from tests.bench.spool_load import drop, published
from tests.support.audio import write_wav
from tests.support.daemon import Daemon, eventually

_SETTINGS: dict[str, Any] = {
    "defaults": {
        "engine": "stub", "model": "stub", "stems": "all", "output": {"format": "flac", "bit_depth": 16},
        "settle": "2s", "settle_unprobed": "30s",
    },
    "http": {"listen": None},
}  # fmt: skip
_TICK = os.sysconf("SC_CLK_TCK")
#: Runs the daemon under a profiler, and so its worker and every thread: ``python PROFILED FOLDER -m stemd run …``.
_PROFILED = """
import atexit, cProfile, os, pstats, re, runpy, subprocess, sys, threading, time
folder, module, arguments = sys.argv[1], sys.argv[3], sys.argv[4:]
started, found, lock = subprocess.Popen.__init__, {}, threading.Lock()

def begin(self, command, *rest, **options):
    if isinstance(command, list) and command[1:4] == ["-I", "-m", "stemd.worker"]:
        command = [command[0], __file__, folder, "-m", *command[3:]]
    started(self, command, *rest, **options)

def profiled(name, body, *words, **options):
    watch = cProfile.Profile(time.thread_time)
    try:
        return watch.runcall(body, *words, **options)
    finally:
        with lock:
            watch.create_stats()
            found[name].add(watch) if name in found else found.setdefault(name, pstats.Stats(watch))

def write():
    for name, stats in found.items():
        stats.dump_stats(f"{folder}/{module}-{os.getpid()}-{name}.prof")

run = threading.Thread.run
subprocess.Popen.__init__ = begin
threading.Thread.run = lambda self: profiled(re.sub("[-_0-9]+$", "", self.name), run, self)
atexit.register(write)
sys.argv = [module, *arguments]
profiled("main", runpy.run_module, module, run_name="__main__", alter_sys=True)
"""


def burst(python: list[str], jobs: int) -> dict[str, float]:
    """One burst on a daemon of its own: CPU milliseconds a job by process, and jobs a second."""
    with tempfile.TemporaryDirectory(prefix="stemd-bench-") as name:
        home = Path(name)
        song = write_wav(home / "song.wav", seconds=0.5).read_bytes()
        daemon = Daemon(home, **_SETTINGS)
        daemon.python = python
        with daemon:
            drop(daemon, song, 5, "warm")
            eventually(lambda: published(daemon) == 5, 60)
            before, started = _spent(daemon), time.monotonic()
            drop(daemon, song, jobs, "song")
            eventually(lambda: published(daemon) == jobs + 5, 600)
            seconds, after = time.monotonic() - started, _spent(daemon)
            daemon.stop()
    spent = {key: (after[key] - before.get(key, 0.0)) * 1e3 / jobs for key in after}
    total = sum(value for key, value in spent.items() if "." not in key)
    return {**spent, "all": total, "jobs_per_second": jobs / seconds}


def _spent(daemon: Daemon) -> dict[str, float]:
    """CPU seconds so far: each process's, and how much of it was in the kernel."""
    assert daemon.process is not None
    found: dict[str, float] = {}
    top = psutil.Process(daemon.process.pid)
    for process in [top, *top.children(recursive=True)]:
        line = " ".join(process.cmdline())
        key = "worker" if "stemd.worker " in line else "prober" if "stemd.worker.probe" in line else "daemon"
        threads = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
        user, system = _times(process.pid)
        found[key] = found.get(key, 0.0) + sum(int(each.read_text().split()[0]) for each in threads) / 1e9
        found[f"{key}.user"] = found.get(f"{key}.user", 0.0) + user
        found[f"{key}.system"] = found.get(f"{key}.system", 0.0) + system
    return found


def _times(pid: int) -> tuple[float, float]:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / _TICK, int(fields[12]) / _TICK


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", metavar="PYTHON", help="The other checkout's; measured turn by turn.")
    parser.add_argument("--profile", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    if options.profile:
        options.profile.mkdir(parents=True, exist_ok=True)
        script = options.profile / "profiled.py"
        script.write_text(_PROFILED)
        burst([sys.executable, "-P", str(script), str(options.profile)], options.jobs)
        return
    sides = {"here": sys.executable, **({"against": options.against} if options.against else {})}
    found: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for _ in range(options.rounds):
        for side, python in sides.items():
            found[side].append(burst([python, "-P"], options.jobs))
    for side, rounds in found.items():
        for name, pick in (("least", min), ("median", statistics.median)):
            row = {key: round(pick(each[key] for each in rounds), 2) for key in rounds[0]}
            print(f"{side:<8}{name:<7}", row)


if __name__ == "__main__":
    main()
