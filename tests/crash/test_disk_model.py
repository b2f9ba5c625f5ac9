"""The model of a disk: what it may lose, and what it must keep."""

from __future__ import annotations

import random

from tests.crash.disk_model import Disk, materialise
from tests.crash.trace import Fsync, Link, Mkdir, Open, Operation, Rename, Rmdir, Truncate, Unlink, Write


def create(path: str, data: bytes, *, flush: bool = False) -> list[Operation]:
    made = [Open(path, path, frozenset({"O_WRONLY", "O_CREAT", "O_TRUNC"})), Write(path, 0, data)]
    return [*made, Fsync(path)] if flush else made


def after(*operations: Operation | list[Operation], most: int = 1000) -> set[tuple[tuple[str, bytes | None], ...]]:
    """Path and content of all that may be there after the operations, on a disk that was empty."""
    disk = Disk()
    for operation in operations:
        for each in operation if isinstance(operation, list) else [operation]:
            disk.apply(each)
    return {tuple((path, data) for path, _, data in tree) for tree in disk.states(most, random.Random(0))}


def names(states: set[tuple[tuple[str, bytes | None], ...]]) -> set[str]:
    return {" ".join(path for path, _ in state) for state in states}


A, B = [Mkdir("a"), Mkdir("b"), Fsync(".")], create("a/f", b"new", flush=True)


def test_the_name_of_a_flushed_file_is_lost_until_its_folder_is_flushed():
    assert after(create("f", b"new", flush=True)) == {(), (("f", b"new"),)}
    assert after(create("f", b"new", flush=True), Fsync(".")) == {(("f", b"new"),)}


def test_what_was_not_flushed_of_a_file_may_be_missing_torn_or_zeros():
    assert after(create("f", b"abcd"), Fsync(".")) == {(("f", data),) for data in (b"", b"ab", b"\0\0\0\0", b"abcd")}
    grown = after(create("f", b"ab", flush=True), Fsync("."), Write("f", None, b"cd"))
    assert grown == {(("f", data),) for data in (b"ab", b"abc", b"ab\0\0", b"abcd")}
    assert after(create("f", b"ab", flush=True), Fsync("."), Truncate("f", 0)) == {(("f", b"ab"),), (("f", b""),)}


def test_a_rename_of_a_file_is_absent_half_there_or_done():
    moved = [A, B, Fsync("a"), Rename("a/f", "b/f", noreplace=True)]
    assert names(after(*moved)) == {"a a/f b", "a a/f b b/f", "a b b/f"}
    assert names(after(*moved, Fsync("b"))) == {"a a/f b b/f", "a b b/f"}
    assert names(after(*moved, Fsync("b"), Fsync("a"))) == {"a b b/f"}


def test_who_flushes_the_folder_it_left_first_may_find_it_nowhere():
    moved = [A, B, Fsync("a"), Rename("a/f", "b/f", noreplace=True), Fsync("a")]
    assert names(after(*moved)) == {"a b", "a b b/f"}


def test_a_link_and_an_unlink_are_not_a_rename():
    moved = [A, B, Fsync("a"), Link("a/f", "b/f"), Unlink("a/f")]
    assert names(after(*moved)) == {"a a/f b", "a a/f b b/f", "a b b/f", "a b"}


def test_a_rename_of_a_folder_is_absent_or_done():
    moved = [A, B, Fsync("a"), Rename("a", "b/c", noreplace=True)]
    assert names(after(*moved)) == {"a a/f b", "b b/c b/c/f"}
    assert names(after(*moved, Fsync("b"))) == {"b b/c b/c/f"}
    twice = after(*moved, Rename("b/c", "d", noreplace=True))
    assert names(twice) == {"a a/f b", "b b/c b/c/f", "b d d/f"}


def test_a_file_that_takes_the_place_of_another_does_so_whole_or_not():
    old = [*create("f", b"old", flush=True), Fsync(".")]
    new = [*create(".f.tmp", b"new", flush=True), Rename(".f.tmp", "f", noreplace=False)]
    assert {dict(state)["f"] for state in after(old, new)} == {b"old", b"new"}
    hasty = [*create(".f.tmp", b"new"), Rename(".f.tmp", "f", noreplace=False), Fsync(".")]
    assert {dict(state)["f"] for state in after(old, hasty)} == {b"", b"n", b"\0\0\0", b"new"}


def test_removals_come_in_any_order_and_a_folder_that_is_gone_takes_all_with_it():
    filled = [Mkdir("a"), *create("a/1", b"", flush=True), *create("a/2", b"", flush=True), Fsync("a"), Fsync(".")]
    removed = [Unlink("a/1"), Unlink("a/2"), Rmdir("a")]
    assert names(after(filled, removed)) == {"a a/1 a/2", "a a/1", "a a/2", "a", ""}
    assert names(after(filled, removed, Fsync("."))) == {""}


def test_too_many_combinations_are_sampled_with_the_telling_ones():
    many = [operation for number in range(20) for operation in create(f"f{number:02}", b"", flush=True)]
    everything = [f"f{number:02}" for number in range(20)]
    found = names(after(many, most=50))
    assert {"", " ".join(everything), *everything} <= found
    assert {" ".join(everything[:number] + everything[number + 1 :]) for number in range(20)} <= found
    assert 42 < len(found) <= 42 + 50


def test_a_state_is_made_real_two_names_and_all(tmp_path):
    disk = Disk()
    for operation in [*A, *create("a/f", b"x"), Link("a/f", "b/g"), Mkdir("a/c"), Fsync("a/f"), Fsync("a"), Fsync("b")]:
        disk.apply(operation)
    (tree,) = disk.states(9, random.Random(0))
    materialise(tree, tmp_path)
    assert (tmp_path / "a/f").stat().st_ino == (tmp_path / "b/g").stat().st_ino
    assert (tmp_path / "b/g").read_bytes() == b"x"
    again = Disk.load(tmp_path)
    assert [(path, data) for path, _, data in again.now()] == [(path, data) for path, _, data in disk.now()]
    assert list(again.states(9, random.Random(0))) == [again.now()]
