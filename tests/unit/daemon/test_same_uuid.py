"""Two jobs under one job_uuid, in two spools of one daemon: neither takes the other's place, its worker or its end."""

from types import SimpleNamespace

import pytest

from stemd.core.access import Person
from stemd.core.config import load
from stemd.core.errors import StemdError
from stemd.core.job import JobState
from stemd.daemon.board import Board
from stemd.daemon.live import Live
from stemd.daemon.steering import Steering
from stemd.daemon.takeover import Takeover
from stemd.ops.metrics import Metrics
from stemd.spool import deliver, durable, recover
from tests.support.spools import make_spool, violations
from tests.unit.daemon.test_fate import SOURCE, UUID, Site, orphans
from tests.unit.daemon.test_runs import Site as Run
from tests.unit.spool.conftest import Way

JOB = f"job_uuid: {UUID}\n"
READY = {
    "event": "ready", "engine": "stub", "model": "stub", "seconds": 0.1, "threaded": True, "facts": {},
    "peak_rss_bytes": 0,
}  # fmt: skip


@pytest.fixture
def sites(tmp_path):
    """A daemon for each spool: neither knows of the other's."""
    sites = [Site(make_spool(tmp_path / name)) for name in ("a", "b")]
    yield sites
    for site in sites:
        site.sealer.close()


def test_a_restart_with_both_spools_goes_on_with_one_and_acknowledges_the_other(sites):
    here, there = sites
    for site in sites:
        site.seal(site.claimed(JOB))
    both = {"spool": [str(site.spool.root) for site in sites]}
    board = Board(load(None, both, {}).config, Metrics(("demucs",)))
    here.board = here.sealer._board = here.runs._board = board
    takeover = Takeover(board, here.runs, here.sealer)
    for spool in (here.spool, there.spool):
        for found in recover.recover(spool, lambda: None, board.folder):
            takeover.recovered(spool, found)
    first = board.jobs[UUID]
    (second,) = (live for live in board.jobs.values() if live is not first)
    assert (first.spool, second.spool) == (here.spool, there.spool)
    here.seal(second)
    assert board.jobs == {UUID: first}
    assert (list(there.spool.jobs()), orphans(there.spool)) == ([], {})
    assert violations(here.spool, [SOURCE], idle=False) == []


def test_one_that_nothing_was_seen_of_on_the_disk_keeps_its_place(sites):
    here, there = sites
    other = Live(there.spool, there.spool.job(UUID), "everyone")
    here.board.add(other)
    here.seal(here.claimed(JOB))
    assert here.board.jobs == {UUID: other}
    assert list(orphans(here.spool).values()) == ["STEMD-S011"]
    assert violations(here.spool, [SOURCE]) == []


def test_the_end_of_one_is_not_that_of_the_other(sites):
    here, there = sites
    here.seal(here.claimed(JOB))
    live = here.board.jobs[UUID]
    here.board.failed(Live(there.spool, there.spool.job(UUID), "everyone"), "orphan/x", StemdError("STEMD-A001"))
    assert here.board.jobs == {UUID: live}


def test_a_failed_one_is_not_put_back_beside_the_other(sites):
    here, there = sites
    here.seal(here.claimed(JOB))
    live = here.board.jobs[UUID]
    work, _ = Way(there.spool, there.board.config).sealed()
    deliver.to_orphan(there.spool, work, StemdError("STEMD-A001"), "everyone")
    (orphan,) = there.spool.orphan.glob("*/*")
    durable.write_json(orphan / "error.json", {**durable.read_json(orphan / "error.json"), "job_uuid": UUID})
    orphan.rename(orphan.with_name(f"song.{UUID[-8:]}"))
    scanners = [SimpleNamespace(spool=site.spool) for site in sites]
    dispatcher = SimpleNamespace(board=here.board, scanners=scanners, sealer=here.sealer)
    with pytest.raises(StemdError, match="already at work"):
        Steering(dispatcher, lambda: None, dict).answer({"op": "retry", "job": UUID}, Person(None, "admin"))
    assert here.board.jobs == {UUID: live}


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.WAITING])
def test_a_worker_gets_only_a_job_that_runs(tmp_path, state):
    """Its start is in ``attempts``, and nobody else is given it."""
    site = Run(tmp_path)
    site.live.state = state
    site.runs.worker_said(site.worker, READY)
    assert len(site.runs.pool.starts) == (state is JobState.RUNNING)
    assert (site.worker.job_id is None) == (state is JobState.WAITING)
