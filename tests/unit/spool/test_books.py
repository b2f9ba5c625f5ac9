"""Where the books are: found again whatever is done to the list of spools, never begun anew beside old ones."""

from __future__ import annotations

from pathlib import Path

from stemd.core.config import Config, load
from stemd.spool import erase
from stemd.spool.belongings import Found, Subject
from stemd.spool.books import Books, bury, is_buried
from stemd.spool.trail import Trail


def of(*roots: Path, **settings: str) -> Config:
    return load(None, {"spool": [str(root) for root in roots], **settings}, {}).config


def test_another_order_of_the_spools_finds_the_same_books(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    books = Books.of(of(a)).open()
    bury(books, ["J"])
    for roots in ((a, b), (b, a), (tmp_path / "c", b, a)):
        assert Books.of(of(*roots)) == books
        assert is_buried(Books.of(of(*roots)), "J")


def test_a_spool_of_another_daemon_has_books_of_its_own(tmp_path):
    state = {"paths.state": str(tmp_path / "state")}
    books = Books.of(of(tmp_path / "a", **state)).open()
    assert Books.of(of(tmp_path / "b", **state)) != books


def test_of_two_sets_of_books_both_are_heeded(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    alone = Trail(Books.of(of(b)))
    alone.record("ended", user="ana", job="J")
    bury(alone.books, ["J"])
    order = erase.begin(alone.books, Subject(user="ben"), Found(), None)
    Books.of(of(a)).open()
    trail = Trail(Books.of(of(a, b)))
    assert trail.books == Books.of(of(a))
    assert is_buried(trail.books, "J")
    assert [each.id for each in erase.pending(trail.books)] == [order.id]
    assert erase.pending(alone.books) == []
    trail.forget("ana", [])
    assert Trail(alone.books).keys.pseudonym("user", "ana", make=False) is None
    assert Trail(alone.books).keys.pseudonym("job", "J", make=False) is None
