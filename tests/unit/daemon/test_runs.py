"""A start is on the disk before any engine hears of it."""

from __future__ import annotations

import os
import selectors
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from stemd.core.config import load
from stemd.core.errors import StemdError
from stemd.core.job import JobState, Limits
from stemd.core.limits import Usage
from stemd.daemon.board import Board
from stemd.daemon.live import Live
from stemd.daemon.placement import setup_for
from stemd.daemon.pool import Pool, Worker, WorkerState
from stemd.daemon.runs import LOAD_PATIENCE, Runs
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
    assert b"checkpoint" not in work.attempts.read_bytes(), "there is nothing to forgive"


def test_a_new_checkpoint_forgives_an_interruption(tmp_path: Path):
    spool = make_spool(tmp_path / "spool")
    config = load(None, {"spool": str(spool.root)}, {}).config
    work, job = Way(spool, config).sealed()
    runs = Runs(Board(config, Metrics((job.request.engine,))))
    runs.pool = Listener(work.attempts)
    attempts.record_start(work.attempts, "demucs")  # of a daemon that was killed
    live = Live(spool, work, "everyone", job)
    runs.start(live, job, Mock(), 1)
    assert attempts.read(work.attempts).interruptions == 2
    for _ in range(2):
        runs._progressed(live, {"stage": "separate", "fraction": 0.5, "chunks": 1})
    assert attempts.read(work.attempts).interruptions == 1
    assert work.attempts.read_bytes().count(b"checkpoint") == 1


class Site:
    """A job that runs on a worker which is no process, and what is told of it."""

    def __init__(self, path: Path, cpu: float | None = None, **settings: Any) -> None:
        spool = make_spool(path / "spool")
        config = load(None, {"spool": str(spool.root), **settings}, {}).config
        work, job = Way(spool, config).sealed()
        job = replace(job, request=replace(job.request, limits=Limits(cpu=cpu)))
        self.live = Live(spool, work, "ana", job, state=JobState.RUNNING, started=0.0)
        board = Board(config, Metrics((job.request.engine,)))
        board.add(self.live)
        self.charged: list[tuple[str, float, float]] = []
        board.ran = lambda live, audio, cpu: self.charged.append((live.user, audio, cpu))
        self.runs = Runs(board)
        self.runs.pool = Listener(work.attempts)
        process = SimpleNamespace(pid=-1, returncode=-9)
        self.worker = Worker(setup_for(job.request, config), process, WorkerState.BUSY, self.live.id)
        self.worker.usage = Usage(cpu_seconds=7.0)
        self.runs.pool.workers.append(self.worker)


@pytest.mark.parametrize("killed_for", ["stop", "time limit", None])
def test_a_run_that_dies_is_charged_to_its_user(tmp_path: Path, killed_for: str | None):
    site = Site(tmp_path)
    site.worker.killed_for = killed_for
    site.worker.sentence = StemdError("STEMD-R002", "too long") if killed_for == "time limit" else None
    site.runs.worker_died(site.worker, "signal SIGKILL")
    assert site.charged == [("ana", 0.0, 7.0)]


def test_a_run_that_is_stopped_before_it_began_costs_nothing(tmp_path: Path):
    site = Site(tmp_path)
    site.worker.state, site.worker.killed_for = WorkerState.STARTING, "stop"
    site.runs.worker_died(site.worker, "signal SIGKILL")
    assert sum(cpu for _, _, cpu in site.charged) == 0


@pytest.mark.parametrize(
    ("message", "cpu"),
    [
        ({"event": "cancelled"}, 7.0),
        ({"event": "failed", "error": {"code": "STEMD-A001", "message": "no audio"}, "cpu_seconds": 3.0}, 3.0),
        ({"event": "staged", "resources": {"cpu_seconds": 5.0, "peak_rss_bytes": 1}}, 5.0),
    ],
)
def test_a_run_that_comes_to_nothing_is_charged_to_its_user(tmp_path: Path, message, cpu):
    site = Site(tmp_path)
    site.live.cancelling = True
    site.runs.worker_said(site.worker, message)
    site.runs.finish_made()
    assert site.charged == [("ana", 0.0, cpu)]


def test_what_a_worker_has_staged_is_nobody_elses_to_end_until_it_is_published(tmp_path: Path):
    site = Site(tmp_path)
    site.runs.worker_said(site.worker, {"event": "staged", "resources": {"cpu_seconds": 5.0, "peak_rss_bytes": 1}})
    site.runs.pool.workers.clear()  # it has the next job already, or is gone
    site.live.cancelling = True
    site.runs.reconcile()
    assert site.live.state is JobState.RUNNING
    site.runs.finish_made()
    assert (site.charged, site.runs.has_made) == ([("ana", 0.0, 5.0)], False)


def test_where_a_quota_decides_on_the_next_job_the_result_is_finished_at_once(tmp_path: Path):
    site = Site(tmp_path, quotas={"small": {"cpu_per_day": "1h"}}, defaults={"quota": "small"})
    site.live.cancelling = True
    site.runs.worker_said(site.worker, {"event": "staged", "resources": {"cpu_seconds": 5.0, "peak_rss_bytes": 1}})
    assert (site.charged, site.runs.has_made) == ([("ana", 0.0, 5.0)], False)


@pytest.mark.parametrize(("asked", "told"), [(None, 0), (1.0, 1)])
def test_only_a_cpu_limit_that_somebody_set_is_told_of(tmp_path: Path, asked: float | None, told: int):
    """The kernel keeps a worker to its share of the cores (``cpu: auto``), which is no limit to have gone beyond."""
    site = Site(tmp_path, cpu=asked)
    site.worker.limits, site.worker.usage = Limits(cpu=1.0), Usage(slowed=0.5)
    site.runs.governor = Mock(look=lambda workers, now: list(workers), enforced=lambda worker: frozenset())
    site.runs.enforce_limits(1.0)
    hits = f'stemd_limits_hit_total{{action="throttled",engine="{site.live.engine}",limit="cpu"}}'
    text = site.runs._board.metrics.render().decode()
    assert f"{hits} {float(told)}" in text


@pytest.mark.parametrize("has_a_job", [True, False])
def test_a_worker_that_hangs_while_it_loads_is_ended(tmp_path: Path, monkeypatch, has_a_job: bool):
    """With a job it fails that one's attempt; without, it stands in nobody's way."""
    site = Site(tmp_path)
    worker, pool = site.worker, site.runs.pool
    worker.state, worker.job_id = WorkerState.STARTING, site.live.id if has_a_job else None
    killed = []
    monkeypatch.setattr(os, "killpg", lambda pid, number: killed.append(pid))
    site.runs.enforce_limits(worker.heard + LOAD_PATIENCE)
    assert killed == []
    assert pool.coming(worker.setup) is not has_a_job
    for _ in range(2):  # one that does not die at once is killed once
        site.runs.enforce_limits(worker.heard + LOAD_PATIENCE + 1)
    assert killed == [worker.pid]
    assert not pool.coming(worker.setup)
    assert site.runs.loads[worker.setup.engine]["error"]["code"] == "STEMD-E005"
    pool.workers.clear()
    site.runs.worker_died(worker, "signal SIGKILL")
    assert site.live.state is (JobState.RETRY_WAIT if has_a_job else JobState.RUNNING)
    assert site.live.reason is None or "said nothing for 600 seconds" in site.live.reason.message


def test_a_worker_that_fetches_its_model_has_time_and_so_has_one_that_waits_for_the_same(tmp_path: Path, monkeypatch):
    site = Site(tmp_path)
    waits = Worker(site.worker.setup, SimpleNamespace(pid=-2), WorkerState.STARTING)
    elsewhere = Worker(replace(waits.setup, model="another"), SimpleNamespace(pid=-3), WorkerState.STARTING)
    site.runs.pool.workers += [waits, elsewhere]
    site.worker.state = WorkerState.STARTING
    for worker in site.runs.pool.workers:
        worker.heard = -1000.0
    killed = []
    monkeypatch.setattr(os, "killpg", lambda pid, number: killed.append(pid))
    site.runs.worker_said(site.worker, {"event": "progress", "stage": "load", "fraction": 0.1, "chunks": 0})
    site.runs.enforce_limits(max(waits.heard, site.worker.heard))
    assert killed == [elsewhere.pid]
