"""When the process ends, what takes minutes on a thread does not hold it up; nothing of it is lost."""

import pytest

from stemd.spool import halt, holdings, retention, sources
from stemd.spool.books import Books
from stemd.spool.halt import HaltedError
from stemd.spool.trail import Trail
from stemd.spool.trash import Trash
from stemd.spool.verification import Secrets, search


@pytest.fixture(autouse=True)
def withdrawn():
    yield
    halt.withdraw()


def test_neither_hashing_nor_searching_goes_on(way):
    path = way.drop()
    halt.order()
    with pytest.raises(HaltedError):
        sources.sha256(path)
    with pytest.raises(HaltedError):
        search(way.config, Books.of(way.config), Secrets("zaide-42", frozenset(), frozenset(), frozenset()), "an order")
    halt.withdraw()
    assert len(sources.sha256(path)) == 64


def test_nor_does_a_copy_and_it_is_made_anew(way, spool, tmp_path):
    path = way.drop()
    (tmp_path / "second name").hardlink_to(path)
    work = way.claim(path)
    halt.order()
    with pytest.raises(HaltedError):
        way.seal(work)
    halt.withdraw()
    _, job = way.seal(work)
    assert (work.src / job.source.path).stat().st_nlink == 1


def test_a_prune_stops_before_what_it_has_not_told_of(way):
    way.configure(retention__outbox="0s")
    folder, _ = way.published()
    books = Books.of(way.config)
    halt.order()
    with pytest.raises(HaltedError):
        retention.run(way.config, Trail(books), books)
    assert [each.place for each in holdings.finished(way.spool)] == [str(folder)]


def test_what_lies_in_the_trash_goes_at_the_next_start(way):
    folder, _ = way.published()
    trash = Trash(way.spool)
    assert trash.take(folder)
    halt.order()
    with pytest.raises(HaltedError):
        trash.empty()
    assert any(way.spool.trash.iterdir())
    halt.withdraw()
    assert Trash(way.spool).empty() == []
    assert list(way.spool.trash.iterdir()) == []
