"""What the daemon tells the audit trail of itself and its configuration."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from stemd.core.access import Person
from stemd.core.config import Config, load
from stemd.core.errors import StemdError
from stemd.daemon import chronicle as chronicles
from stemd.daemon.chronicle import Chronicle
from stemd.spool import trail as trails
from stemd.spool.books import Books
from stemd.spool.trail import Trail, verify


def configured(root: Path, **users: str) -> Config:
    return load(None, {"spool": str(root), **{f"users.{name}.role": role for name, role in users.items()}}, {}).config


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path / "state" / "books-0")


def changes(books: Books) -> list[dict]:
    return [record for record in trails.records(books) if record["event"] == "role_changed"]


def test_a_change_of_a_role_is_told_once(tmp_path, books):
    chronicle = Chronicle(Trail(books))
    for role in ("user", "user", "admin"):
        chronicle.configured(configured(tmp_path, ana=role))
    assert [(each["before"], each["after"]) for each in changes(books)] == [(None, "user"), ("user", "admin")]


def test_who_was_erased_and_is_still_configured_is_somebody_new(tmp_path, books):
    chronicle, config = Chronicle(Trail(books)), configured(tmp_path, ana="admin", ben="user")
    chronicle.configured(config)
    before = chronicle.trail.keys.pseudonym("user", "ana")
    chronicle.trail.forget("ana", [])
    told = len(changes(books))
    chronicle.configured(config)
    (after,) = changes(books)[told:]
    assert (after["before"], after["after"]) == (None, "admin")
    assert after["user_pseudonym"] != before
    assert before not in books.told.read_text()
    assert list(verify(books)) == []


def test_who_is_refused_again_and_again_is_told_of_now_and_then(books, monkeypatch):
    chronicle, ana = Chronicle(Trail(books)), Person("ana", "user")
    for _ in range(3):
        chronicle.refused(ana, "see", job="j-1")
        chronicle.refused(ana, "see", job="j-2")
        chronicle.refused(ana, "hear", job="j-1")
        chronicle.refused(None, "see", job="j-1")
    told = [record for record in trails.records(books) if record["event"] == "refused"]
    assert [(each["action"], each["actor"]["role"]) for each in told] == [
        ("see", "user"), ("see", "user"), ("hear", "user"), ("see", "stranger"),
    ]  # fmt: skip


@contextmanager
def refusing(monkeypatch: pytest.MonkeyPatch):
    """A disk on which the trail cannot grow."""

    def refuse(path: Path, line: bytes) -> None:
        raise StemdError("STEMD-S014", "no")

    with monkeypatch.context() as patch:
        patch.setattr("stemd.spool.trail.durable.append", refuse)
        yield


def test_what_is_told_late_says_when_it_was(books, monkeypatch):
    chronicle = Chronicle(Trail(books))
    with refusing(monkeypatch), monkeypatch.context() as patch:
        patch.setattr(chronicles.time, "time", lambda: 1_700_000_000.0)
        chronicle.tell("steered", action="hold")
    chronicle.tell("steered", action="release")
    late, now = trails.records(books)
    assert late["at"] == "2023-11-14T22:13:20.000Z"
    assert now["at"] > late["at"]
    assert [each["action"] for each in (late, now)] == ["hold", "release"]


def test_what_finds_no_room_in_memory_is_counted(books, monkeypatch):
    monkeypatch.setattr(chronicles, "_KEPT", 3)
    chronicle = Chronicle(Trail(books))
    with refusing(monkeypatch):
        for number in range(5):
            chronicle.tell("steered", number=number)
    chronicle.tell("steered", number=5)
    told = list(trails.records(books))
    assert [each.get("number") for each in told if each["event"] == "steered"] == [0, 1, 2, 5]
    assert [each["records"] for each in told if each["event"] == "gap"] == [2]


def test_what_a_daemon_could_not_tell_before_it_ended_leaves_a_gap(books, monkeypatch):
    with refusing(monkeypatch):
        Chronicle(Trail(books)).tell("steered")
        Chronicle(Trail(books))
    assert Chronicle(Trail(books)).trail.end.seq == 1
    assert Chronicle(Trail(books)).trail.end.seq == 1, "once is enough"
    assert [each["event"] for each in trails.records(books)] == ["gap"]


def test_what_becomes_of_jobs_is_told_together_a_moment_later(books):
    chronicle, job = Chronicle(Trail(books)), SimpleNamespace(user="ana", id="j-1")
    for event in ("claimed", "accepted", "ended"):
        chronicle.job(event, job)
    due = chronicle.tick(0.0, idle=False)
    assert list(trails.records(books)) == []
    assert chronicle.tick(due, idle=False) == math.inf
    told = list(trails.records(books))
    assert [(each["event"], each["batch"]) for each in told] == [("claimed", 1), ("accepted", 1), ("ended", 1)]
    assert len({each["job"] for each in told}) == 1
    assert not books.untold.exists()


def test_where_nothing_more_is_to_come_it_is_told_at_once(books):
    chronicle = Chronicle(Trail(books))
    assert chronicle.tick(0.0, idle=True) == math.inf
    chronicle.job("ended", SimpleNamespace(user="ana", id="j-1"))
    assert chronicle.tick(0.0, idle=True) == math.inf
    assert [each["event"] for each in trails.records(books)] == ["ended"]


def test_what_people_do_comes_after_what_happened_before_it(books):
    chronicle = Chronicle(Trail(books))
    chronicle.job("claimed", SimpleNamespace(user="ana", id="j-1"))
    chronicle.tell("steered", action="hold")
    assert [each["event"] for each in trails.records(books)] == ["claimed", "steered"]
    assert list(verify(books)) == []


def test_a_daemon_that_is_killed_in_that_moment_leaves_a_gap(books):
    Chronicle(Trail(books)).job("claimed", SimpleNamespace(user="ana", id="j-1"))
    Chronicle(Trail(books))
    assert [each["event"] for each in trails.records(books)] == ["gap"]


def test_many_threads_tell_each_once(books):
    chronicle = Chronicle(Trail(books))
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: chronicle.tell("heard", number=number), range(40)))
    assert sorted(each["number"] for each in trails.records(books)) == list(range(40))
    assert list(verify(books)) == []
