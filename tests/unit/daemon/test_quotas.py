"""What each user has, as the daemon counts it."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from stemd.core.config import load
from stemd.core.job import Job, JobId, JobState, Length, Limits, Request, Source, new_job_id
from stemd.core.policy import Admit, Defer
from stemd.daemon.board import Board
from stemd.daemon.live import Live
from stemd.daemon.quotas import _RECOUNT, _RECOUNT_FULL, Outboxes, Quotas
from stemd.ops.metrics import Metrics
from tests.support.daemon import eventually

GIB = 2**30


@pytest.fixture
def site(spool):
    settings = {
        "spool": str(spool.root), "users.ana.quota": "q", "users.ben.role": "user",
        "quotas.q": {"waiting": 2, "audio_per_day": "100s", "memory": "4GiB"},
    }  # fmt: skip
    board = Board(load(None, settings, {}).config, Metrics(("stub",)))
    quotas = Quotas(board, [spool])
    yield SimpleNamespace(board=board, quotas=quotas, spool=spool)
    quotas.close()


def live(site, user: str, state: JobState, seconds: float = 10.0, memory: int | None = None) -> Live:
    job_id = new_job_id()
    source = Source("song.wav", "song.wav", "0" * 64, 1, 1, Length(seconds, 44_100, 2))
    request = Request("stub", "stub", 4, limits=Limits(memory=memory))
    job = Job(JobId(job_id), user, "", "song", source, request, time.time())
    found = Live(site.spool, site.spool.job(job_id), user, job, state=state)
    site.board.add(found)
    return found


def test_jobs_are_counted_by_where_they_are(site):
    for state in (JobState.WAITING, JobState.DEFERRED, JobState.HELD, JobState.RETRY_WAIT):
        live(site, "ana", state)
    live(site, "ana", JobState.RUNNING, seconds=30.0, memory=GIB)
    live(site, "ana", JobState.PUBLISHING)
    site.quotas.count_anew(time.monotonic())
    has = site.quotas.usage("ana")
    assert (has.waiting, has.running, has.memory, has.audio) == (4, 1, GIB, 30.0)
    assert site.quotas.usage("ben").waiting == 0


def test_what_changes_between_two_counts_counts_at_once(site):
    site.quotas.count_anew(time.monotonic())
    assert site.quotas.at_door("ana") == Admit()
    site.quotas.claimed("ana")
    assert site.quotas.at_door("ana") == Admit()
    site.quotas.claimed("ana")
    verdict = site.quotas.at_door("ana")
    assert isinstance(verdict, Defer)
    assert verdict.error.detail == {"quota": "waiting"}
    assert site.quotas.at_door("ben") == site.quotas.at_door(None) == Admit()


def test_two_that_fit_one_by_one_do_not_start_together(site):
    one, two = (live(site, "ana", JobState.WAITING, seconds=60.0) for _ in range(2))
    site.quotas.count_anew(time.monotonic())
    assert site.quotas.to_start(one) == site.quotas.to_start(two) == Admit()
    one.enter(JobState.RUNNING, "starting")
    site.quotas.started(one)
    assert isinstance(site.quotas.to_start(two), Defer), "the first one's 60 of 100 seconds are promised"
    site.board.ran(one, 60.0, 5.0)
    del site.board.jobs[one.id]
    site.quotas.count_anew(time.monotonic())
    assert site.quotas.usage("ana").audio == 60.0
    assert isinstance(site.quotas.to_start(two), Defer), "and had"
    assert one.cpu == 5.0


def test_memory_is_counted_by_the_jobs_limits(site):
    one, two = (live(site, "ana", JobState.WAITING, memory=3 * GIB) for _ in range(2))
    site.quotas.count_anew(time.monotonic())
    assert site.quotas.turn(one) is None
    site.quotas.started(one)
    assert "memory" in site.quotas.turn(two)


def test_a_user_is_forgotten(site):
    site.board.ran(live(site, "ana", JobState.RUNNING), 10.0, 1.0)
    site.board.ran(live(site, "ben", JobState.RUNNING), 10.0, 1.0)
    assert site.quotas.forget(user="ana") == 1
    site.board.jobs.clear()
    site.quotas.count_anew(time.monotonic())
    assert (site.quotas.usage("ana").audio, site.quotas.usage("ben").audio) == (0.0, 10.0)


def test_what_people_are_shown(site):
    live(site, "cleo", JobState.WAITING)
    site.quotas.count_anew(time.monotonic())
    assert site.quotas.users == {"ana", "ben", "cleo", "everyone"}
    shown = site.quotas.of("ana")
    assert (shown["quota"], shown["waiting"], shown["running"]["limit"]) == ("q", {"used": 0, "limit": 2}, None)
    assert site.quotas.of("ben")["quota"] is None


def test_an_outbox_is_counted_kept_up_to_date_and_counted_again(spool):
    folder = spool.outbox / "ana" / "one"
    folder.mkdir(parents=True)
    (folder / "stem").write_bytes(b"x" * 100)
    boxes, now = Outboxes([spool]), 1000.0

    def count(at: float, limit: int) -> None:
        boxes.tick(at, {"ana": limit})
        assert boxes._counting is not None, "it is due"
        eventually(boxes._counting[1].done, 10)
        boxes.tick(at, {"ana": limit})

    assert boxes.size("ana") is None
    count(now, 1000)
    assert boxes.size("ana") == 100
    boxes.came("ana", folder)
    assert boxes.size("ana") == 200, "a result counts at once"
    boxes.tick(now + _RECOUNT - 1, {"ana": 1000})
    assert boxes._counting is None
    (folder / "stem").unlink()
    count(now + _RECOUNT, 1000)
    assert boxes.size("ana") == 0
    (folder / "stem").write_bytes(b"x" * 2000)
    count(now + 2 * _RECOUNT, 1000)
    (folder / "stem").unlink()
    count(now + 2 * _RECOUNT + _RECOUNT_FULL, 1000)
    assert boxes.size("ana") == 0, "who empties a full one does not wait long"
    boxes.close()
