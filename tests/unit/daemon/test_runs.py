"""A start is on the disk before any engine hears of it."""

from __future__ import annotations

import selectors
from pathlib import Path

import pytest

from stemd.core.config import load
from stemd.daemon.board import Board
from stemd.daemon.live import Live
from stemd.daemon.pool import Pool
from stemd.daemon.runs import Runs
from stemd.ops.metrics import Metrics
from stemd.spool import attempts
from tests.support.spools import make_spool
from tests.unit.spool.conftest import Way


class Listener(Pool):
    """A pool that starts nothing and notes what was written down when it was asked to."""

    def __init__(self, record: Path) -> None:
        super().__init__(selectors.DefaultSelector(), None)
        self.record, self.starts = record, []

    def start(self, setup, threads, job_id):
        self.starts.append(attempts.read(self.record).starts)

    def run(self, worker, job, work, attempt, ease=0):
        self.starts.append(attempts.read(self.record).starts)


@pytest.mark.parametrize("warm", [False, True])
def test_a_start_is_written_down_first(tmp_path: Path, warm: bool):
    spool = make_spool(tmp_path / "spool")
    config = load(None, {"spool": str(spool.root)}, {}).config
    way = Way(spool, config)
    work, job = way.sealed()
    live = Live(spool, work, "everyone", job)
    runs = Runs(Board(config, Metrics(("demucs",))))
    runs.pool = Listener(work.attempts)
    runs.start(live, job, object() if warm else None)
    assert runs.pool.starts == [1]
