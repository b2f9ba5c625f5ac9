"""A small prune and a small erasure in a process of their own, to be watched from outside: ``deletions ROOT WHAT``."""

from __future__ import annotations

import sys
from pathlib import Path

from stemd.core.config import load
from stemd.spool import retention, steps
from stemd.spool.books import Books
from stemd.spool.layout import Spool
from stemd.spool.trail import Trail
from tests.crash.run_scenario import mark
from tests.crash.test_retention_steps import begin_erasure, settings
from tests.unit.spool.conftest import Way


def way_to(root: Path) -> Way:
    spool = Spool(root)
    return Way(spool, load(None, settings(spool), {}).config)


def prune(way: Way) -> None:
    books = Books.of(way.config)
    retention.run(way.config, Trail(books), books, force=True)


if __name__ == "__main__":
    watched = way_to(Path(sys.argv[1]))
    steps.install(mark)
    {"prune": prune, "erase": begin_erasure}[sys.argv[2]](watched)
    mark("end")
