"""The canary: whatever becomes of one, the next one flies, and nothing of anybody else's is thrown away."""

import pytest

from stemd.core.canary import DOOR, USER
from stemd.core.errors import StemdError
from stemd.core.job import new_job_id
from stemd.daemon import canary
from stemd.daemon.live import Live
from stemd.spool import claim, durable, intake
from stemd.spool.intake import Candidate, Door, Kind
from tests.unit.daemon.test_rare_events import one

DISK = StemdError("STEMD-S014", "write it: Input/output error")


def drops(spool):
    return sorted((spool.inbox / DOOR).glob("*"))


def test_a_canary_that_was_lost_keeps_no_other_from_flying(site, told):
    """Nobody takes it in; somebody takes it away; and what somebody else has dropped there is his."""
    (site.spool.inbox / DOOR).mkdir()
    bird = canary.Canary(site.board, (site.spool,), site.board.metrics)
    every = site.board.config.alerts.canary.every
    bird.fly(0.0)
    bird.fly(every)
    (first,) = drops(site.spool)
    song = site.spool.inbox / DOOR / "song.wav"
    song.write_bytes(b"RIFF")
    bird.fly(every + 1.5 * every)
    assert drops(site.spool) == [first, song], "it may still come"
    bird.fly(every + 2 * every + 60.0)
    second, _ = drops(site.spool)
    assert second != first and song.exists()
    assert "lies in its inbox" in one(told, "canary_failed")["reason"]
    durable.remove_tree(second)
    bird.fly(7 * every)
    assert len(drops(site.spool)) == 2, "another one flies"


def test_while_stemd_drains_none_is_missed_and_none_is_lost(site, told, monkeypatch):
    """Its clock stands still: a drain of a week is no week in which nothing came through."""
    (site.spool.inbox / DOOR).mkdir()
    clock = 1_000_000.0
    monkeypatch.setattr(canary.time, "time", lambda: clock)
    bird = canary.Canary(site.board, (site.spool,), site.board.metrics)
    every = site.board.config.alerts.canary.every
    bird.fly(0.0)
    bird.fly(every)
    (lies,) = drops(site.spool)
    for now in range(1, 11):
        bird.rest(every + now * every)
    clock += 11 * every
    assert clock - bird.at == every, "ten of eleven intervals did not count"
    assert site.board.metrics.registry.get_sample_value("stemd_canary_last_success_timestamp_seconds") == bird.at
    bird.fly(11 * every + 1)
    assert drops(site.spool) == [lies], "it may still come"
    assert not told
    durable.remove_tree(lies)
    bird.fly(12 * every - 1)
    assert not drops(site.spool), "the next one is not due yet"
    bird.fly(12 * every)
    assert len(drops(site.spool)) == 1, "the clock goes on"


@pytest.mark.parametrize("mine", [True, False])
def test_a_canary_that_never_becomes_a_job_ends_as_one(site, told, mine):
    (site.spool.inbox / DOOR).mkdir()
    canary._drop(site.spool)
    (folder,) = drops(site.spool)
    if not mine:
        (folder / "silence.wav").write_bytes(b"somebody's recording")
    candidate = Candidate(folder, Door(DOOR, folder.parent), Kind.STAGED, intake.identity(folder))
    live = Live(site.spool, claim.claim(site.spool, candidate, new_job_id()), USER)
    site.board.add(live)
    bird = canary.Canary(site.board, (site.spool,), site.board.metrics)
    bird._next, bird._lost_at = 0.0, 10.0
    bird.fly(1.0)
    assert drops(site.spool) == [], "it is on its way"
    site.board.give_up(live, DISK)
    left = list(site.spool.orphan.glob("*/*"))
    assert len(left) == (not mine), "of the canary nothing stays, of anybody else's recording everything"
    assert [line["reason"] for line in told if line["event"] == "canary_failed"] == ["STEMD-S014"] * mine
    bird.fly(2.0)
    assert len(drops(site.spool)) == 1
