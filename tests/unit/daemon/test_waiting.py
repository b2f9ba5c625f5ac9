"""From when a job's waiting counts: what a person put back, held or a quota kept is not late."""

import time
from types import SimpleNamespace

import pytest

from stemd.core.access import Person
from stemd.core.errors import StemdError
from stemd.core.job import Outcome
from stemd.daemon.alerts import Alarm
from stemd.daemon.steering import Steering
from stemd.daemon.takeover import Takeover
from stemd.spool import durable, recover
from tests.unit.daemon.test_fate import Site

DAYS = 5 * 86400.0
OPERATOR = Person(None, "admin")
QUOTA = StemdError("STEMD-P005", "ana has had two hours of two")
MISSING = StemdError("STEMD-M001", "htdemucs is not here")


class Waiting(Site):
    """A job that was claimed five days ago; workers are no processes."""

    def __init__(self, spool):
        super().__init__(spool)
        self.runs.pool.start = lambda setup, threads, job_id=None: None
        scanners = [SimpleNamespace(spool=spool, look_again=lambda: None)]
        self.dispatcher = SimpleNamespace(board=self.board, scanners=scanners, sealer=self.sealer, draining=False)
        self.steering = Steering(self.dispatcher, lambda: None, dict)
        self.alarm = Alarm(self.board, self.board.metrics, lambda: None, draining=lambda: self.dispatcher.draining)

    def old(self):
        live = self.claimed()
        live.claimed_at -= DAYS
        origin = durable.read_json(live.work.origin)
        durable.write_json(live.work.origin, {**origin, "claimed_at": live.claimed_at})
        self.seal(live)
        return live

    def start(self, live):
        self.runs.start(live, live.job, None, 1)

    def restarted(self):
        """The next daemon on this spool, after this one died."""
        self.sealer.close()
        other = type(self)(self.spool)
        takeover = Takeover(other.board, other.runs, other.sealer)
        for found in recover.recover(self.spool):
            takeover.recovered(self.spool, found)
        (live,) = other.board.jobs.values()
        return other, live

    def say(self, op, live):
        return self.steering.answer({"op": op, "job": live.id}, OPERATOR)["state"]

    def ages(self):
        """Of the jobs that the alarm on latency looks at."""
        return self.alarm._state(self.board.config, time.time()).waiting

    def waits(self):
        """How many waits were observed, and how long they were together."""
        value = self.board.metrics.registry.get_sample_value
        return value("stemd_job_wait_seconds_count"), value("stemd_job_wait_seconds_sum")

    def took(self):
        return self.board.metrics.registry.get_sample_value("stemd_job_end_to_end_seconds_sum")


@pytest.fixture
def site(spool):
    site = Waiting(spool)
    yield site
    site.sealer.close()


def put_back(site):
    live = site.old()
    site.board.give_up(live, StemdError("STEMD-A004", "no ffmpeg"))
    assert site.took() > DAYS - 10, "that one did take so long"
    assert site.say("retry", live) == "waiting"
    (again,) = site.board.jobs.values()
    assert again.claimed_at == live.claimed_at, "its turn is that of its claim"
    return again


def test_what_is_put_back_after_days_has_not_waited_for_them(site):
    live = put_back(site)
    assert max(site.ages()) < 60
    site.start(live)
    count, seconds = site.waits()
    assert (count, seconds < 60) == (1, True)
    before = site.took()
    site.board.give_up(live, StemdError("STEMD-A004", "still no ffmpeg"))
    assert site.took() - before < 60
    assert live.ending(Outcome.FAILED, None)["seconds"] < 60


def test_the_next_daemon_knows_that_it_was_put_back(site):
    put_back(site)
    other, live = site.restarted()
    assert max(other.ages()) < 60
    other.start(live)
    count, seconds = other.waits()
    assert (count, seconds < 60) == (1, True)
    other.sealer.close()


def test_what_had_begun_does_not_begin_to_wait_at_a_restart(site):
    live = site.old()
    site.start(live)
    assert site.waits()[0] == 1
    waited = live.waited
    other, again = site.restarted()
    other.start(again)
    assert other.waits() == (0, 0.0)
    assert again.waited == pytest.approx(waited, abs=5), "the canonical line says what it was"
    other.sealer.close()


def test_a_retry_by_itself_is_no_second_wait(site):
    live = site.old()
    site.start(live)
    site.runs._run_failed(live, StemdError("STEMD-S014", "the disk"), None)
    site.board.requeue(live, "queued again")
    site.start(live)
    assert site.waits()[0] == 1
    assert max(site.ages()) > DAYS - 10, "nobody wanted it to wait"


def test_what_is_held_is_not_late_and_counts_anew_when_released(site):
    live = site.old()
    assert max(site.ages()) > DAYS - 10
    site.say("hold", live)
    assert site.ages() == ()
    site.say("release", live)
    assert max(site.ages()) < 60
    site.start(live)
    assert site.waits()[1] < 60


@pytest.mark.parametrize("begun", [False, True])
def test_the_next_daemon_knows_when_it_was_released(site, begun):
    live = site.old()
    if begun:
        site.start(live)
        site.runs._stopped(live, 0.0)
    site.say("hold", live)
    site.say("release", live)
    other, again = site.restarted()
    assert (max(other.ages()) < 60, again.attempts, again.interruptions) == (True, 0, 0)
    other.start(again)
    assert other.waits()[0] == 1
    other.sealer.close()


@pytest.mark.parametrize(("reason", "on_purpose"), [(QUOTA, True), (MISSING, False)])
def test_what_a_quota_keeps_is_not_late_what_lacks_a_model_is(site, reason, on_purpose):
    live = site.old()
    site.board.defer(live, reason)
    assert len(site.ages()) == (not on_purpose)
    site.board.requeue(live, "what was missing is there")
    assert (max(site.ages()) < 60) is on_purpose


@pytest.mark.parametrize("drained", [0.0, 2 * 86400.0])
def test_what_waits_through_a_drain_is_not_late_what_runs_is(site, monkeypatch, drained):
    waiting, running, failed = site.old(), site.old(), site.old()
    for live in (running, failed):
        site.start(live)
    site.board.wait(failed, StemdError("STEMD-S014", "the disk"), 60.0)
    begun, now = failed.waited, time.monotonic()
    for _ in range(2):  # whoever says it twice begins no new one
        site.steering.answer({"op": "drain"}, OPERATOR)
    assert site.ages() == (pytest.approx(DAYS, abs=10),), "only what runs"
    with monkeypatch.context() as later:
        later.setattr("stemd.daemon.steering.time.monotonic", lambda: now + drained)
        site.steering.answer({"op": "resume"}, OPERATOR)
    ages = [time.time() - live.since for live in (waiting, running, failed)]
    assert ages == pytest.approx([DAYS - drained, DAYS, DAYS - drained], abs=10)
    assert sorted(site.ages()) == pytest.approx(sorted(ages), abs=1)
    assert failed.waited == begun, "its wait was over before"
    site.steering.answer({"op": "resume"}, OPERATOR)
    assert max(site.ages()) == pytest.approx(DAYS, abs=10)


def test_what_was_let_go_on_during_a_drain_has_not_waited_from_tomorrow_on(site, monkeypatch):
    live = site.old()
    site.steering.answer({"op": "drain"}, OPERATOR)
    site.say("hold", live)
    site.say("release", live)
    now = time.monotonic()
    with monkeypatch.context() as later:
        later.setattr("stemd.daemon.steering.time.monotonic", lambda: now + DAYS)
        site.steering.answer({"op": "resume"}, OPERATOR)
    assert site.ages() == (pytest.approx(0.0, abs=10),)
    assert site.ages()[0] >= 0.0
