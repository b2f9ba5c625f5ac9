"""What prune, erase and the audit trail flush, and in which order: kills do not show a flush that is missing, power
cuts do. One flush left out, and one of these fails."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stemd.core.job import JobState
from stemd.spool import belongings, durable, erase, handover, ledger, retention, steps, trash
from stemd.spool.belongings import Subject
from stemd.spool.books import Books, bury
from stemd.spool.trail import Trail

FLUSHED: list[Path] = []


@pytest.fixture(autouse=True)
def watched(monkeypatch):
    """Every file and folder in the order in which it was flushed."""
    FLUSHED.clear()
    really = os.fsync

    def fsync(descriptor: int) -> None:
        FLUSHED.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        really(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.fixture
def books(way) -> Books:
    return Books.of(way.config)


def flushed_during(action) -> list[Path]:
    FLUSHED.clear()
    action()
    return list(FLUSHED)


def test_the_books_are_on_the_disk_before_anything_is_written_into_them(books):
    around = {books.path, books.path.parent, books.path.parent.parent}
    assert around <= set(flushed_during(books.open))


def test_an_order_that_is_taken_over_is_on_the_disk_in_one_place_and_gone_from_the_other(tmp_path):
    other = Books(tmp_path / "other").open()
    durable.write_json(other.orders / "1.json", {})
    books = Books(tmp_path / "books", (other,))
    flushed = flushed_during(books.open)
    assert (books.orders / ".1.json.tmp" in flushed, other.orders in flushed) == (True, True)
    assert ([*other.orders.iterdir()], len([*books.orders.iterdir()])) == ([], 1)


def test_a_tombstone_is_on_the_disk(books):
    books.open()
    assert books.erased in flushed_during(lambda: bury(books, ["J"]))


def test_a_key_and_its_removal_are_on_the_disk(books):
    keys = Trail(books).keys
    made = flushed_during(lambda: keys.pseudonym("user", "ana"))
    (shard,) = books.keys.iterdir()
    assert {shard, books.keys} <= set(made)
    assert shard in flushed_during(lambda: keys.erase("user", "ana"))


def test_a_record_is_flushed_before_the_head_that_names_it(books):
    trail = Trail(books)
    first = flushed_during(lambda: trail.record("one"))
    assert books.head.parent in first
    second = flushed_during(lambda: trail.record("two"))
    (file,) = books.trail.iterdir()
    assert second == [file, books.head]


def test_a_hand_over_that_is_forgotten_is_forgotten_for_good(way):
    handover.folder(way.spool).mkdir()
    way.published()
    forgotten = lambda: handover.forget(way.spool, user="everyone")  # noqa: E731
    assert handover.folder(way.spool) in flushed_during(forgotten)


def test_a_torn_line_is_cut_off_for_good(books):
    Trail(books).record("one")
    (file,) = books.trail.iterdir()
    with file.open("ab") as torn:
        torn.write(b"half")
    assert file in flushed_during(lambda: Trail(books))


def test_what_is_thrown_away_is_out_of_sight_for_good_before_it_is_deleted(way):
    folder, _ = way.published()
    at_steps: dict[str, list[Path]] = {}
    steps.install(lambda name: at_steps.setdefault(name, list(FLUSHED)))
    try:
        bin_ = trash.Trash(way.spool)
        FLUSHED.clear()
        bin_.take(folder)
        FLUSHED.clear()
        bin_.empty()
    finally:
        steps.install(None)
    assert {way.spool.trash, folder.parent} <= set(at_steps["D2"])
    assert FLUSHED[-1] == way.spool.trash
    assert FLUSHED.count(way.spool.trash) == 2


def test_an_erasure_writes_each_of_its_steps_down(way, books):
    way.published()
    trail, subject = Trail(books), Subject(user="everyone")
    order = erase.begin(books, subject, belongings.find(way.config, subject), None)
    assert books.orders in FLUSHED
    seen: dict[str, set[Path]] = {}
    steps.install(lambda name: seen.update({name: set(FLUSHED)}) or FLUSHED.clear())
    try:
        erase.carry_out(way.config, books, trail, order)
    finally:
        steps.install(None)
    assert books.receipts in seen["G6"]
    assert books.orders in seen["G7"]


def test_a_month_is_forgotten_only_after_the_base_says_so(books, monkeypatch):
    months = iter(["2026-01", "2026-02"])
    monkeypatch.setattr("stemd.spool.trail.time.strftime", lambda *_: next(months, "2026-03"))
    trail = Trail(books)
    for _ in range(3):
        trail.record("one")
    seen: dict[str, list[Path]] = {}
    steps.install(lambda name: seen.setdefault(name, list(FLUSHED)))
    try:
        FLUSHED.clear()
        trail.prune(4_000_000_000.0)
    finally:
        steps.install(None)
    assert books.base.parent in seen["T3"]
    assert seen["T4"][-1] == books.trail


def test_an_albums_book_is_written_before_its_list(way):
    work = way.spool.job("A")
    work.path.mkdir()
    member = {"job_uuid": "J", "kind": "file", "path": "secret.wav", "place": ""}
    durable.write_json(work.album, {"job_uuid": "A", "jobs": [member]})
    assert ledger.erase(way.spool, {"J"}) == 1
    assert ledger.ends(work)[0]["state"] == JobState.ERASED
    assert b"secret" not in work.album.read_bytes()


def test_what_a_prune_compares_with_is_on_the_disk(way, books):
    trail = Trail(books)
    assert books.clock.parent in flushed_during(lambda: retention.run(way.config, trail, books))
