"""How long a prune of many finished jobs takes, and how much memory: plan, then delete, on a real disk.

    python -m tests.bench.retention [--jobs 100000] [--prune 20000] [--place FOLDER] [--json FILE]

Each job is the folder and the status file of one that really went through the spool, copied under its own job_uuid with
its own stems, sidecars, manifest, log and source, and has its key to the audit trail; all are due, a status once its
folder is gone. ``plan`` is a look at everything, as a prune takes it first; ``prune`` is a run that deletes so many
items. Memory is this process's own, sampled.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from stemd.core.config import load
from stemd.core.job import JobState, new_job_id
from stemd.spool import retention, sidecar
from stemd.spool.books import Books
from stemd.spool.layout import Spool
from stemd.spool.trail import Trail
from tests.support.spools import make_spool
from tests.unit.spool.conftest import Way

_USERS = 50


def fill(way: Way, count: int) -> None:
    """``count`` finished jobs of fifty users. What is to be deleted need not be flushed one by one before."""
    keys, really = Trail(Books.of(way.config)).keys, os.fsync
    folder, job = way.published()
    facts = {"user_id": job.user_id, "source": job.source.name, "source_sha256": job.source.sha256}
    facts["result"] = str(folder.relative_to(way.spool.root))
    sidecar.write_status(way.spool, job.job_uuid, {"state": JobState.DONE.value, **facts})
    status = way.spool.status_file(job.job_uuid).read_bytes()
    files = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    os.fsync = lambda descriptor: None
    for number in range(count):
        name, user = new_job_id(), f"user{number % _USERS:02}"
        home = way.spool.outbox / user / f"Song {number:06}"
        (home / "source").mkdir(parents=True)
        for file, content in files.items():
            (home / file).write_bytes(content.replace(job.job_uuid.encode(), name.encode()))
        place = str(home.relative_to(way.spool.root))
        mine = status.replace(job.job_uuid.encode(), name.encode()).replace(facts["result"].encode(), place.encode())
        way.spool.status_file(name).write_bytes(mine)
        keys.pseudonym("job", name, owner=job.user_id)
    os.fsync = really


class Memory:
    """The resident size of this process, sampled."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.seen.append(pages * resource.getpagesize())
            if self._end.wait(0.2):
                return

    def facts(self) -> dict[str, Any]:
        """MiB at the beginning, after each tenth of the time, and at most."""
        seen = [round(each / 2**20, 1) for each in self.seen]
        return {"tenths": [seen[(len(seen) - 1) * tenth // 10] for tenth in range(11)], "most": max(seen)}


def measure(place: Path, jobs: int, pruned: int) -> dict[str, Any]:
    filled = (place / "spool").exists()
    spool = Spool(place / "spool") if filled else make_spool(place / "spool")
    way = Way(spool, load(None, {"spool": str(spool.root)}, {}).config)
    way.configure(retention__outbox="0s", retention__status="0s", retention__per_run=pruned)
    if not filled:
        fill(way, jobs)
    facts: dict[str, Any] = {"jobs": jobs}
    books = Books.of(way.config)
    trail = Trail(books)
    os.sync()
    for name in ("plan", "plan_again"):
        started, cpu = time.monotonic(), time.process_time()
        with Memory() as memory:
            plan = retention.look(way.config, books, min(pruned, retention._CHOSEN))
        facts[name] = {
            "items": sum(plan.due.values()),
            "seconds": round(time.monotonic() - started, 2),
            "cpu_seconds": round(time.process_time() - cpu, 2),
            "rss_mib": memory.facts(),
        }
        print(json.dumps({name: facts[name]}), flush=True)
    del plan
    started, cpu = time.monotonic(), time.process_time()
    with Memory() as memory:
        outcome = retention.run(way.config, trail, books, force=True)
    items, seconds = sum(outcome.deleted.values()), time.monotonic() - started
    facts["prune"] = {
        "items": items,
        "failed": len(outcome.failed),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "ms_per_item": round(seconds / max(1, items) * 1000, 2),
        "rss_mib": memory.facts(),
    }
    return {**facts, "load": [round(each, 1) for each in os.getloadavg()]}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.retention")
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--prune", type=int, default=20_000, help="so many items (each job has two)")
    parser.add_argument("--place", type=Path, help="a folder that is filled once, measured in, and kept")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    place = options.place or Path(tempfile.mkdtemp(prefix="stemd-bench-"))
    try:
        facts = measure(place, options.jobs, options.prune)
    finally:
        if options.place is None:
            shutil.rmtree(place)
    print(json.dumps(facts, indent=2))
    if options.json:
        options.json.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
