"""What an erasure does where it meets resistance: things that may not be deleted, disks that fail."""

from __future__ import annotations

import errno

from stemd.core.errors import StemdError
from stemd.spool import belongings, erase, trash
from stemd.spool.belongings import Subject
from stemd.spool.books import Books
from stemd.spool.trail import Trail
from stemd.spool.trash import Trash


def test_what_may_not_be_deleted_is_named_and_keeps_nothing_else(way, monkeypatch):
    mine, _ = way.published()
    other, _ = way.published(way.drop("other.wav", b"another recording"))
    books, subject = Books.of(way.config), Subject(user="everyone")
    trail, order = Trail(books), erase.begin(books, subject, belongings.find(way.config, subject), None)
    take, remove = Trash.take, trash._remove

    def no(path) -> StemdError:
        return StemdError("STEMD-S014", f"rename {path.name!r}", detail={"errno": errno.EACCES})

    def refused(self, path, *more):
        if path in {mine, mine.parent}:
            raise no(path)
        return take(self, path, *more)

    monkeypatch.setattr(Trash, "take", refused)
    receipt = erase.carry_out(way.config, books, trail, order)
    assert not receipt["verified"]
    assert str(mine.relative_to(way.spool.root)) in receipt["left"]
    assert not other.exists()
    assert erase.pending(books) == []
    monkeypatch.undo()

    def kept(path) -> None:
        if (path / mine.name).exists() or (path / "manifest.json").exists():
            raise no(path)
        remove(path)

    monkeypatch.setattr(trash, "_remove", kept)
    receipt = erase.carry_out(way.config, books, trail, order)
    assert not receipt["verified"]
    assert any(place.startswith("work/.trash/") for place in receipt["left"])


def test_a_disk_that_fails_leaves_the_order(way, monkeypatch):
    way.published()
    books, subject = Books.of(way.config), Subject(user="everyone")
    trail, order = Trail(books), erase.begin(books, subject, belongings.find(way.config, subject), None)
    failing = lambda *_: (_ for _ in ()).throw(StemdError("STEMD-S014", "read", detail={"errno": errno.EIO}))  # noqa: E731
    monkeypatch.setattr(trash, "_remove", failing)
    receipts, failed = erase.resume(way.config, books, trail)
    assert (receipts, [error.detail["errno"] for error in failed]) == ([], [errno.EIO])
    assert [each.id for each in erase.pending(books)] == [order.id]
    monkeypatch.undo()
    receipts, failed = erase.resume(way.config, books, trail)
    assert (receipts[0]["verified"], failed) == (True, [])
