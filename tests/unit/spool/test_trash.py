"""What is thrown away is what was meant, or it is put back."""

from __future__ import annotations

import errno
import gc
import os
import threading
from pathlib import Path

from stemd.spool import durable
from stemd.spool.trash import Trash, remove_empty


def test_what_is_not_there_any_more_is_no_error(way):
    assert Trash(way.spool).take(way.spool.outbox / "gone") is False


def test_what_turns_out_to_be_another_thing_is_put_back(way):
    folder, _ = way.published()
    asked: list[str] = []

    def still(path) -> bool:
        asked.append(path.parent.name)
        return path.parent.name != ".trash"  # as if it had been replaced between look and rename

    trash = Trash(way.spool)
    assert trash.take(folder, still) is False
    trash.empty()
    assert folder.is_dir()
    assert [name == ".trash" for name in asked] == [False, True]


def test_even_if_its_name_is_taken_meanwhile_or_its_home_gone(way):
    folder, _ = way.published()
    home = folder.parent

    def replaced(path) -> bool:
        if path.parent.name == ".trash":
            folder.mkdir()
        return path.parent.name != ".trash"

    Trash(way.spool).take(folder, replaced)
    assert (home / f"{folder.name} (2)" / "manifest.json").exists()

    def homeless(path) -> bool:
        if path.parent.name == ".trash":
            durable.remove_tree(home)
        return path.parent.name != ".trash"

    Trash(way.spool).take(home / f"{folder.name} (2)", homeless)
    Trash(way.spool).empty()
    assert next((way.spool.orphan / "_unknown").glob("*/manifest.json"))


def test_closed_folders_go_too_and_links_are_not_followed(way):
    elsewhere = way.spool.root / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").touch()
    folder = way.spool.outbox / "everyone"
    (folder / "closed").mkdir(parents=True)
    (folder / "closed" / "file").touch()
    (folder / "link").symlink_to(elsewhere)
    (folder / "closed").chmod(0o500)
    trash = Trash(way.spool)
    assert trash.take(folder)
    trash.empty()
    assert list(way.spool.trash.iterdir()) == []
    assert (elsewhere / "precious").exists()


def test_only_empty_folders_go(way):
    inner = way.spool.outbox / "everyone" / "Album" / "CD1"
    inner.mkdir(parents=True)
    (inner.parent / "cover.jpg").touch()
    remove_empty(inner, way.spool.outbox / "everyone")
    assert inner.parent.is_dir()
    assert not inner.exists()


def test_a_link_that_is_put_in_the_way_leads_nowhere(way):
    """One user exchanges a folder of his for a link to another's, or to what is at work, before the rename."""
    bobs, mine = way.spool.outbox / "bob" / "A", way.spool.outbox / "ana" / "A"
    (bobs / "TITLE").mkdir(parents=True)
    (bobs / "TITLE" / "manifest.json").write_text("{}")
    (way.spool.work / "J" / "chunks").mkdir(parents=True)
    mine.parent.mkdir()
    trash = Trash(way.spool)
    mine.symlink_to(bobs)
    assert trash.take(mine / "TITLE") is False
    remove_empty(mine / "EMPTY", mine.parent)
    mine.unlink()
    mine.symlink_to(way.spool.work)
    assert trash.take(mine / "J") is False
    remove_empty(mine / "J" / "chunks", mine.parent)
    trash.empty()
    assert (bobs / "TITLE" / "manifest.json").exists()
    assert (way.spool.work / "J" / "chunks").is_dir()


def test_a_link_that_is_put_in_the_way_at_the_last_moment_leads_nowhere(way):
    bobs, mine = way.spool.outbox / "bob" / "A", way.spool.outbox / "ana" / "A"
    for album in (bobs, mine):
        (album / "TITLE").mkdir(parents=True)

    def exchanged(path) -> bool:
        if path.parent != way.spool.trash:
            mine.rename(mine.with_name("B"))
            mine.symlink_to(bobs)
        return True

    trash = Trash(way.spool)
    assert trash.take(mine / "TITLE", exchanged)
    trash.empty()
    assert (bobs / "TITLE").is_dir()
    assert not (mine.with_name("B") / "TITLE").exists()


def test_not_more_folders_are_held_open_than_a_process_may_have(way):
    gc.collect()  # what earlier tests left is closed now, not in between
    trash, before = Trash(way.spool), len(list(Path("/proc/self/fd").iterdir()))
    for number in range(100):
        folder = way.spool.outbox / "ana" / str(number) / "TITLE"
        folder.mkdir(parents=True)
        assert trash.take(folder)
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 70
    trash.empty()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_cannot_be_deleted_is_told_of_and_keeps_nothing_else(way, monkeypatch):
    """A folder of somebody else's in a result: the rename succeeds, the deletion does not."""
    trash = Trash(way.spool)
    for name in ("one", "two", "three"):
        folder = way.spool.outbox / "everyone" / name
        (folder / "inner").mkdir(parents=True)
        (folder / "inner" / "file").touch()
        (folder / "other").touch()
        assert trash.take(folder)
    theirs, unlink = sorted(way.spool.trash.iterdir())[1] / "inner", os.unlink
    number = (theirs.stat().st_dev, theirs.stat().st_ino)

    def refused(path, *, dir_fd=None):
        facts = os.fstat(dir_fd) if dir_fd is not None else None
        if facts is not None and (facts.st_dev, facts.st_ino) == number:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", refused)
    (error,) = trash.empty()
    assert (error.code, error.detail["errno"]) == ("STEMD-S014", errno.EACCES)
    assert list(way.spool.trash.iterdir()) == [theirs.parent]
    assert list(theirs.parent.iterdir()) == [theirs], "as much as can be goes"
    monkeypatch.undo()
    assert trash.empty() == []


def test_of_many_each_that_cannot_be_deleted_is_told_of(way, monkeypatch):
    """Many at a time, on several threads: an error of one is its own."""
    trash = Trash(way.spool)
    for number in range(50):
        folder = way.spool.outbox / "everyone" / str(number)
        folder.mkdir(parents=True)
        (folder / "file").touch()
        assert trash.take(folder)
    theirs = {path.stat().st_ino for path in sorted(way.spool.trash.iterdir())[10:13]}
    unlink, threads = os.unlink, set()

    def refused(path, *, dir_fd=None):
        threads.add(threading.get_ident())
        if dir_fd is not None and os.fstat(dir_fd).st_ino in theirs:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", refused)
    assert [error.detail["errno"] for error in trash.empty()] == [errno.EACCES] * 3
    assert {path.stat().st_ino for path in way.spool.trash.iterdir()} == theirs
    assert threading.get_ident() not in threads
    monkeypatch.undo()
    assert trash.empty() == []
