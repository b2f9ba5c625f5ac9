"""Retention: what is due, with a clock that moves; and that only that goes."""

from __future__ import annotations

import gc
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from stemd.cli.deletion import prune
from stemd.core.errors import StemdError
from stemd.core.job import JobState, new_job_id
from stemd.daemon.live import Live
from stemd.spool import album, claim, deliver, durable, holdings, ledger, retention, sidecar
from stemd.spool.books import Books, bury
from stemd.spool.holdings import Holding
from stemd.spool.retention import Clock, Rules, is_steady, plan
from stemd.spool.trail import Trail, records, verify
from tests.support.spools import violations

DAY = 86_400.0
TERMS = {"outbox": 30 * DAY, "album": 30 * DAY, "orphan": 14 * DAY, "status": 7 * DAY, "logs": None}


def holding(area: str, since: float, **more) -> Holding:
    return Holding(area, f"/{area}/{since}", since, **more)


@pytest.mark.parametrize(("area", "days"), [("outbox", 30), ("album", 30), ("orphan", 14), ("status", 7)])
def test_each_area_has_its_own_term(area, days):
    for day in range(40):
        chosen = plan(day * DAY, [holding(area, 0.0)], Rules(TERMS)).chosen
        assert bool(chosen) is (day >= days)


def test_what_its_records_promise_counts_and_what_has_no_term_stays():
    entries = [holding("outbox", 0.0, until=5 * DAY), holding("logs", 0.0), holding("outbox", 0.0, until=90 * DAY)]
    assert [plan(day * DAY, entries, Rules(TERMS)).due for day in (4, 6, 100)] == [{}, {"outbox": 1}, {"outbox": 2}]


def test_a_hold_keeps_it_and_a_tombstone_does_not_wait():
    entries = [holding("outbox", 0.0, job="held"), holding("orphan", 99 * DAY, job="erased"), holding("orphan", 1.0)]
    rules = Rules(TERMS, held=lambda each: each.job == "held", erased=lambda job: job == "erased")
    made = plan(100 * DAY, entries, rules)
    assert ([each.job for each in made.chosen], made.held) == (["erased", ""], 1)


def test_a_run_is_bounded_takes_the_oldest_first_and_counts_all():
    entries = [holding("orphan", float(number)) for number in (5, 3, 9, 1, 7)]
    made = plan(100 * DAY, iter(entries), Rules(TERMS), 2)
    assert ([each.since for each in made.chosen], made.due) == ([1.0, 3.0], {"orphan": 5})
    assert len(plan(100 * DAY, entries, Rules(TERMS)).chosen) == 5


@pytest.mark.parametrize(
    ("now", "steady"),
    [
        (Clock(1000.0, 500.0, "a"), True),
        (Clock(1000.0 + DAY, 500.0 + DAY, "a"), True),
        (Clock(1000.0 + 365 * DAY, 500.0 + 60.0, "a"), False),  # it jumped ahead
        (Clock(1000.0 - DAY, 500.0 + 60.0, "a"), False),
        (Clock(1000.0 + 3 * DAY, 10.0, "b"), True),  # it was off over the weekend
        (Clock(1000.0 + 30 * DAY, 10.0, "b"), False),
        (Clock(1000.0 - DAY, 10.0, "b"), False),
    ],
)
def test_a_clock_that_jumps_is_told_from_one_that_goes(now, steady):
    assert is_steady(Clock(1000.0, 500.0, "a"), now) is steady
    assert is_steady(None, now)


# ---- on the disk


@pytest.fixture
def books(way) -> Books:
    return Books.of(way.config)


@pytest.fixture
def trail(books) -> Trail:
    return Trail(books)


def failed(way, name: str = "bad.wav") -> Path:
    work, _ = way.sealed(way.drop(name, name.encode()))
    return deliver.to_orphan(way.spool, work, StemdError("STEMD-A002"), "everyone")


def test_what_is_due_goes_and_nothing_else(way, books, trail):
    way.configure(retention__outbox="0s", retention__orphan=None, retention__status="0s")
    gone, job = way.published()
    kept = failed(way)
    live, _ = way.sealed(way.drop("living.wav", b"living"))
    way.drop("arriving.wav", b"arriving")
    for each, state in ((job.job_uuid, "done"), (live.job_id, "running")):
        sidecar.write_status(way.spool, each, {"state": state})
    outcome = retention.run(way.config, trail, books)
    assert dict(outcome.deleted) == {"outbox": 1, "status": 1}
    assert (gone.exists(), kept.exists(), live.path.exists(), (way.spool.inbox / "arriving.wav").exists()) == (
        False, True, True, True,
    )  # fmt: skip
    assert [path.stem for path in way.spool.status.glob("*.json")] == [live.job_id]
    assert list((way.spool.work / ".trash").iterdir()) == []
    assert violations(way.spool, [], idle=False) == []
    assert "pruned" in [record["event"] for record in records(books)]
    assert list(verify(books)) == []


def test_a_living_jobs_status_is_never_touched_even_if_it_says_ended(way):
    work, _ = way.sealed()
    sidecar.write_status(way.spool, work.job_id, {"state": "done"})
    assert list(holdings.statuses(way.spool)) == []


@pytest.mark.parametrize("absolute", [True, False])
def test_a_status_stays_as_long_as_its_result(way, absolute):
    """The daemon writes where it is from /; a hand-over that moved it, where it is in the spool."""
    folder, job = way.published()
    result = str(folder if absolute else folder.relative_to(way.spool.root))
    sidecar.write_status(way.spool, job.job_uuid, {"state": "done", "result": result})
    assert list(holdings.statuses(way.spool)) == []
    shutil.rmtree(folder)  # its consumer took it away
    assert [each.job for each in holdings.statuses(way.spool)] == [job.job_uuid]


def test_a_status_that_says_living_is_never_touched_even_if_nothing_of_the_job_is_seen(way):
    sidecar.write_status(way.spool, "J", {"state": "running"})
    assert list(holdings.statuses(way.spool)) == []
    sidecar.write_status(way.spool, "J", {"state": "done"})
    assert len(list(holdings.statuses(way.spool))) == 1


def test_what_a_consumer_took_away_is_no_error(way, books, trail, monkeypatch):
    way.configure(retention__outbox="0s")
    first, _ = way.published(way.drop("one.wav", b"one"))
    second, _ = way.published(way.drop("two.wav", b"two"))
    look = retention.look

    def taken_after_the_look(*args, **more):
        made = look(*args, **more)
        first.rename(way.spool.root / "taken")
        return made

    monkeypatch.setattr(retention, "look", taken_after_the_look)
    outcome = retention.run(way.config, trail, books)
    assert (outcome.deleted["outbox"], outcome.vanished, outcome.failed) == (1, 1, [])
    assert not second.exists()


def test_another_result_that_got_the_name_stays(way, books, trail, monkeypatch):
    way.configure(retention__outbox="0s")
    first, _ = way.published(way.drop("one.wav", b"one"))
    look = retention.look
    later: list[Path] = []

    def replaced_after_the_look(*args, **more):
        made = look(*args, **more)
        first.rename(way.spool.root / "taken")
        later.append(way.published(way.drop("one.wav", b"another"))[0])
        return made

    monkeypatch.setattr(retention, "look", replaced_after_the_look)
    retention.run(way.config, trail, books)
    assert later == [first]
    assert deliver.verify(first) is not None


def test_a_legal_hold_stops_it_until_it_is_lifted(way, books, trail):
    way.configure(retention__outbox="0s")
    folder, job = way.published()
    for hold in (
        {"compliance__legal_hold": True},
        {"compliance__held_jobs": [job.job_uuid]},
        {"users": {"everyone": {"compliance": {"legal_hold": True}}}},
    ):
        way.configure(retention__outbox="0s", **hold)
        assert (retention.run(way.config, trail, books).held, folder.exists()) == (1, True)
    way.configure(retention__outbox="0s")
    assert retention.run(way.config, trail, books).deleted["outbox"] == 1


def test_a_restored_folder_of_an_erased_job_goes_at_once(way, books, trail):
    folder, job = way.published()
    bury(books, [job.job_uuid])
    assert retention.run(way.config, trail, books).deleted["outbox"] == 1
    assert not folder.exists()


def test_after_a_jump_of_the_clock_no_run_does_anything_until_it_is_back_or_believed(way, books, trail):
    way.configure(retention__outbox="0s")
    retention.run(way.config, trail, books)
    folder, _ = way.published()
    said = json.loads(books.clock.read_text())
    durable.write_json(books.clock, {**said, "wall": said["wall"] - 30 * DAY})
    for _ in range(3):  # the timer's, an hour later each: a wrong clock goes on as steadily as a right one
        with pytest.raises(StemdError, match="STEMD-S021"):
            retention.run(way.config, trail, books)
    assert folder.exists()
    assert retention.run(way.config, trail, books, force=True).deleted["outbox"] == 1
    assert retention.look_at_clock(books), "it was believed"
    durable.write_json(books.clock, {**said, "wall": said["wall"] - 30 * DAY})
    assert not retention.look_at_clock(books)
    durable.write_json(books.clock, said)
    assert retention.look_at_clock(books), "it is back"


def test_an_album_goes_with_its_last_result(way, books, trail):
    way.configure(retention__outbox="0s")
    home = way.spool.outbox / "everyone" / "Album"
    inner = home / "CD1"
    inner.mkdir(parents=True)
    first, _ = way.published()
    first.rename(inner / "Song")
    (home / "cover.jpg").write_bytes(b"picture")
    durable.write_json(home / "album.json", {"job_uuid": "A", "created_at": sidecar.iso(0), "jobs": []})
    assert [each.area for each in holdings.finished(way.spool)] == ["outbox"]
    retention.run(way.config, trail, books)
    assert not inner.exists()
    retention.run(way.config, trail, books)
    assert not home.exists()
    assert (way.spool.outbox / "everyone").is_dir()


def test_albums_forget_erased_jobs(way):
    home = way.spool.outbox / "everyone" / "Album"
    home.mkdir(parents=True)
    entry = {"source": "secret.wav", "job_uuid": "J", "state": "done", "result": "secret"}
    durable.write_json(home / "album.json", {"job_uuid": "A", "jobs": [entry, {**entry, "job_uuid": "K"}]})
    assert ledger.erase(way.spool, {"J"}) == 1
    first, second = json.loads((home / "album.json").read_text())["jobs"]
    assert first == {"source": None, "job_uuid": "J", "state": JobState.ERASED, "result": None}
    assert second["source"] == "secret.wav"


def test_a_hold_on_an_inbox_keeps_statuses_and_albums_that_came_by_it(way, books, trail):
    way.configure(
        inboxes={"court": {"compliance": {"legal_hold": True}}},
        retention__outbox="0s", retention__status="0s",
    )  # fmt: skip
    work, job = way.sealed()
    live = Live(way.spool, work, "everyone", job=replace(job, inbox="court"), state=JobState.DONE)
    live.write_status()
    durable.remove_tree(work.path)
    home = way.spool.outbox / "everyone" / "Album"
    home.mkdir(parents=True)
    record = ledger.Album("A", "everyone", "Album", "Album", 0o640, None, {}, ())
    durable.write_json(home / "album.json", album._summary(record, "court", "outbox/everyone/Album", []))
    outcome = retention.run(way.config, trail, books)
    assert (outcome.held, sum(outcome.deleted.values())) == (2, 0)
    way.configure(retention__outbox="0s", retention__status="0s")
    assert sum(retention.run(way.config, trail, books).deleted.values()) == 2


def test_so_does_it_with_those_that_failed_before_they_were_sealed(way, books, trail):
    held = {"court": {"compliance": {"legal_hold": True}}}
    way.configure(inboxes=held, retention__status="0s", retention__orphan="1d")
    (way.spool.inbox / "court").mkdir()
    path = way.spool.inbox / "court" / "evidence.wav"
    path.write_bytes(b"evidence")
    work = claim.claim(way.spool, way.candidate(path, "court"), new_job_id())
    live = Live(way.spool, work, "everyone")
    live.write_status()
    deliver.to_orphan(way.spool, work, StemdError("STEMD-A001"), "everyone")
    live.state = JobState.FAILED
    live.write_status()
    outcome = retention.run(way.config, trail, books)
    assert (outcome.held, sum(outcome.deleted.values())) == (1, 0)
    way.configure(retention__status="0s", retention__orphan="1d")
    assert dict(retention.run(way.config, trail, books).deleted) == {"status": 1}


def test_a_dry_run_shows_all_that_is_due_however_much_a_run_may_delete(way):
    way.configure(retention__outbox="0s")
    folders = [way.published(way.drop(f"{number}.wav", b"%d" % number))[0] for number in range(3)]
    flags = {"spool": str(way.spool.root), "retention": {"outbox": "0s", "per_run": 2}}
    file = way.spool.root / "stemd.json"
    file.write_text(json.dumps(flags))

    def asked(*options: str) -> dict:
        answer = CliRunner().invoke(prune, ["--config", str(file), "--json", *options], catch_exceptions=False)
        return json.loads(answer.stdout)

    assert len(asked("--dry-run")["items"]) == 3
    assert (asked()["deleted"], len(asked("--dry-run")["items"])) == ({"outbox": 2}, 1)
    assert sum(folder.exists() for folder in folders) == 1


def test_folders_nested_without_end_are_no_end_of_retention(way):
    top = way.spool.outbox / "everyone" / "deep"
    subprocess.run(["mkdir", "-p", f"{top}/{'/'.join(['d'] * 1500)}"], check=True)
    kept, _ = way.published()
    try:
        assert [each.path for each in holdings.finished(way.spool)] == [kept]
    finally:
        subprocess.run(["rm", "-rf", str(top)], check=True)


def test_a_run_looks_as_often_as_it_needs_and_is_still_bounded(way, books, trail, monkeypatch):
    """However many it may delete, few are chosen at a time; what becomes due with what went goes with it."""
    monkeypatch.setattr(retention, "_CHOSEN", 2)
    way.configure(retention__outbox="0s", retention__status="0s", retention__per_run=7)
    for number in range(4):
        folder, job = way.published(way.drop(f"{number}.wav", b"%d" % number))
        facts = {"user_id": "everyone", "result": str(folder.relative_to(way.spool.root))}
        sidecar.write_status(way.spool, job.job_uuid, {"state": JobState.DONE.value, **facts})
    looks: list[int | None] = []
    really = retention.look
    monkeypatch.setattr(retention, "look", lambda *args, **more: looks.append(args[2]) or really(*args, **more))
    outcome = retention.run(way.config, trail, books)
    assert looks == [2, 2, 2, 1]
    assert (dict(outcome.deleted), outcome.left) == ({"outbox": 4, "status": 3}, 1)
    assert dict(outcome.due) == {"outbox": 4, "status": 4}


def test_what_cannot_be_deleted_is_tried_once_in_a_run_and_keeps_nothing_else(way, books, trail, monkeypatch):
    monkeypatch.setattr(retention, "_CHOSEN", 1)
    way.configure(retention__outbox="0s", retention__per_run=10)
    folders = [way.published(way.drop(f"{number}.wav", b"%d" % number))[0] for number in range(3)]
    theirs, take = folders[1], retention.Trash.take

    def refused(self, path, *args):
        if path == theirs:
            raise StemdError("STEMD-S014", detail={"errno": 13})
        return take(self, path, *args)

    monkeypatch.setattr(retention.Trash, "take", refused)
    outcome = retention.run(way.config, trail, books)
    assert (outcome.deleted["outbox"], len(outcome.failed), outcome.left) == (2, 1, 1)
    assert [folder.exists() for folder in folders] == [False, True, False]


def test_what_is_read_ahead_is_closed_whoever_stops_reading(way):
    for number in range(5):
        way.published(way.drop(f"{number}.wav", b"%d" % number))
    gc.collect()  # what earlier tests left is closed now, not in between
    before = len(list(Path("/proc/self/fd").iterdir()))
    some = holdings.finished(way.spool)
    next(some)
    assert len(list(Path("/proc/self/fd").iterdir())) > before
    some.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert len(list(holdings.finished(way.spool))) == 5
