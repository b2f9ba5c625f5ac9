"""A start is on the disk before any engine hears of it."""

from __future__ import annotations

import selectors
from pathlib import Path
from unittest.mock import Mock

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

    def start(self, setup, threads, job_id=None):
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
    runs.start(live, job, Mock() if warm else None, 1)
    assert runs.pool.starts == [1]


def test_checkpoints_are_counted_once(tmp_path: Path):
    spool = make_spool(tmp_path / "spool")
    config = load(None, {"spool": str(spool.root)}, {}).config
    work, job = Way(spool, config).sealed()
    live = Live(spool, work, "everyone", job)
    runs = Runs(Board(config, Metrics(("stub", job.request.engine))))
    runs.pool = Listener(work.attempts)
    work.chunks.mkdir()
    (work.chunks / "0.f32").write_bytes(b"")
    runs.start(live, job, Mock(), 1)
    for chunks in (1, 2, 2, 4):
        runs._progressed(live, {"stage": "separate", "fraction": 0.5, "chunks": chunks})
    text = runs._board.metrics.render().decode()
    assert f'stemd_chunks_total{{engine="{job.request.engine}"}} 3.0' in text  # the first is an earlier run's
    assert f'stemd_chunk_resumes_total{{engine="{job.request.engine}"}} 1.0' in text
