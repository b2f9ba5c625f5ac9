"""The audit trail: whoever alters, removes, reorders or cuts off a record is found out."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from stemd.core.access import Person
from stemd.core.errors import StemdError
from stemd.spool import trail as trails
from stemd.spool.books import Books
from stemd.spool.trail import Trail, verify
from tests.crash.test_retention_steps import ends_at


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path / "state" / "books-0")


@pytest.fixture
def trail(books: Books) -> Trail:
    trail = Trail(books)
    for number in range(6):
        trail.record("claimed", user="ana", job=f"job {number}", names={"name": "secret.wav"}, number=number)
    return trail


def file_of(books: Books) -> Path:
    (path,) = books.trail.glob("*.jsonl")
    return path


def change(path: Path, edit) -> None:
    path.write_bytes(b"".join(edit(path.read_bytes().splitlines(keepends=True))))


def swapped(lines: list[bytes], one: int, other: int) -> list[bytes]:
    lines[one], lines[other] = lines[other], lines[one]
    return lines


def test_an_untouched_trail_verifies_also_after_being_opened_again(books, trail):
    assert list(verify(books)) == []
    Trail(books).record("claimed", user="ben")
    assert list(verify(books)) == []
    assert [record["seq"] for record in trails.records(books)] == list(range(1, 8))


def test_nothing_in_it_is_in_clear(books, trail):
    trail.record("refused", actor=Person("ana", "user"), action="prune")
    content = b"".join(path.read_bytes() for path in books.path.rglob("*") if path.is_file())
    assert all(word not in content for word in (b"ana", b"secret", b"job 3"))


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda lines: [*lines[:2], lines[2].replace(b'"number": 2', b'"number": 7'), *lines[3:]], "altered"),
        (lambda lines: [*lines[:2], *lines[3:]], "follows record"),
        (lambda lines: swapped(lines, 2, 3), "follows record"),
        (lambda lines: lines[:-1], "the end is missing"),
        (lambda lines: lines[:-3], "the end is missing"),
        (lambda lines: [], "the end is missing"),
        (lambda lines: lines[1:], "follows record"),
        (lambda lines: [*lines[:3], b"nonsense\n", *lines[3:]], "no record"),
    ],
    ids=["altered", "removed", "reordered", "last", "last three", "all", "first", "inserted"],
)
def test_whatever_is_done_to_it_is_found(books, trail, edit, said):
    change(file_of(books), edit)
    assert any(said in found for found in verify(books))


def test_a_record_rewritten_with_a_hash_that_fits_breaks_the_chain(books, trail):
    def forged(lines: list[bytes]) -> list[bytes]:
        record = json.loads(lines[2])
        del record["hash"]
        record["number"] = 7
        return [*lines[:2], json.dumps({**record, "hash": trails.digest(record)}).encode() + b"\n", *lines[3:]]

    change(file_of(books), forged)
    assert any("does not follow" in found for found in verify(books))


def test_a_cut_end_is_not_forgotten_by_writing_on(books, trail):
    change(file_of(books), lambda lines: lines[:-2])
    Trail(books).record("claimed", user="ana")
    assert any("had been cut" in found for found in verify(books))


def test_an_old_head_put_back_is_found(books, trail):
    books.head.unlink()
    assert any("head is missing" in found for found in verify(books))


def test_of_a_kill_before_the_head_names_a_batch_nothing_looks_amiss(books, trail, monkeypatch):
    entries = [trail.entry("pruned", area="outbox") for _ in range(64)]
    monkeypatch.setattr(trails, "_write_head", refuse)
    with pytest.raises(OSError, match="no"):
        trail.record_all(entries)
    monkeypatch.undo()
    assert list(verify(books)) == []
    old = books.head.read_bytes()
    Trail(books).record_all([trail.entry("pruned", area="outbox") for _ in range(2)])
    books.head.write_bytes(old)
    assert any("head is missing or old" in found for found in verify(books)), "two batches beyond it"


def test_of_a_long_month_only_the_end_is_read_at_a_start_and_never_all_at_once(books, trail, monkeypatch):
    with file_of(books).open("ab") as file:
        file.write(b"x" * 3 * trails._EDGE)
    monkeypatch.setattr(Path, "read_bytes", lambda path: b"" if path.suffix == ".jsonl" else path.open("rb").read())
    assert Trail(books).end.seq == 6
    assert list(verify(books)) == []


def test_a_torn_last_line_costs_itself_only(books, trail):
    with file_of(books).open("ab") as file:
        file.write(b'{"seq": 7, "half a re')
    Trail(books).record("claimed", user="ana")
    assert list(verify(books)) == []


def test_whoever_has_the_key_can_tell_and_after_it_is_erased_nobody(books, trail):
    pseudonym = trail.keys.pseudonym("user", "ana")
    assert {record["user"] for record in trails.records(books)} == {pseudonym}
    trail.keys.erase("user", "ana")
    trail.keys.erase("job", "job 3")
    assert trail.keys.pseudonym("user", "ana", make=False) is None
    assert trail.keys.pseudonym("user", "ana") != pseudonym
    assert list(verify(books)) == []


def test_with_a_users_key_go_those_of_all_his_jobs_however_long_ago_they_ended(books, trail):
    trail.record("ended", user="ben", job="job 9")
    trail.record("claimed", user="everyone", job="job 8")
    trail.record("accepted", user="ana", job="job 8")  # only then it was known whose it is
    kept = trail.keys.pseudonym("job", "job 9")
    Trail(books).forget("ana", [])
    keys = Trail(books).keys
    assert all(keys.pseudonym("job", f"job {number}", make=False) is None for number in (0, 5, 8))
    assert keys.pseudonym("job", "job 9", make=False) == kept
    assert keys.pseudonym("user", "ben", make=False) is not None
    assert list(verify(books)) == []


def test_a_job_keeps_its_pseudonym_when_it_gets_an_owner(books, trail):
    before = trail.keys.pseudonym("job", "job 7")
    trail.record("ended", user="ana", job="job 7")
    assert Trail(books).keys.pseudonym("job", "job 7") == before


def test_old_months_go_and_the_rest_still_verifies(books, monkeypatch):
    now = 1_767_300_000.0  # 2026-01-01
    clock = SimpleNamespace(time=lambda: now, gmtime=time.gmtime, strftime=time.strftime)
    monkeypatch.setattr(trails, "time", clock)
    trail = Trail(books)
    for _ in range(4):
        for number in range(3):
            trail.record("claimed", user="ana", number=number)
        now += 31 * 86_400
    assert len(list(books.trail.iterdir())) == 4
    assert trail.prune(now - 75 * 86_400) == 6
    assert len(list(books.trail.iterdir())) == 3  # the removal itself is told in a new month
    assert list(verify(books)) == []
    assert next(iter(trails.records(books)))["seq"] == 7
    Trail(books).record("claimed")
    assert list(verify(books)) == []
    min(books.trail.iterdir()).unlink()
    assert list(verify(books))


def test_a_crash_after_any_step_leaves_a_trail_that_verifies(tmp_path):
    for number in range(1, 50):
        books = Books(tmp_path / str(number) / "books-0")
        books.path.parent.mkdir()

        def write(books: Books = books) -> None:
            trail = Trail(books)
            for each in range(3):
                trail.record("claimed", user="ana", number=each)

        ended = ends_at(number, write)
        Trail(books).record("started")
        assert list(verify(books)) == []
        if ended:
            assert number > 6
            return
    raise AssertionError("it does not end")


def test_a_record_that_the_disk_refused_can_be_told_again(books, trail, monkeypatch):
    refuse_flushes(monkeypatch, lambda path: path.suffix == ".jsonl")
    with pytest.raises(StemdError):
        trail.record("claimed", user="ben")
    monkeypatch.undo()
    trail.record("claimed", user="ben")
    assert list(verify(books)) == []
    assert [record["seq"] for record in trails.records(books)] == list(range(1, 8))


@pytest.mark.parametrize("refused", ["the first line", "its name", "the line and to cut it off"])
def test_whatever_the_disk_refuses_the_chain_goes_on(books, monkeypatch, refused):
    if refused == "the line and to cut it off":
        Trail(books).record("started")
    trail = Trail(books)
    before = trail.end.seq
    refuse_flushes(monkeypatch, lambda path: path == books.trail if refused == "its name" else path.suffix == ".jsonl")
    if refused == "the line and to cut it off":
        monkeypatch.setattr(os, "ftruncate", refuse)
    for _ in range(2):
        with pytest.raises(StemdError):
            trail.record("claimed", user="ben")
    monkeypatch.undo()
    trail.record("claimed", user="ana")
    trail.record("claimed", user="ana")
    assert list(verify(books)) == []
    assert [record["seq"] for record in trails.records(books)] == list(range(1, before + 3))


def refuse(*_: object) -> None:
    raise OSError(errno.EIO, "no")


def test_a_head_that_the_disk_refused_is_written_before_the_next_record(books, trail, monkeypatch):
    refuse_flushes(monkeypatch, lambda path: path.suffix == ".head")
    assert trail.record("claimed", user="ben").seq == 7, "it is in the trail"
    with pytest.raises(StemdError):
        trail.record("claimed", user="ben")  # otherwise a missing end could be longer than one record
    monkeypatch.undo()
    trail.record("claimed", user="ben")
    assert list(verify(books)) == []
    assert [record["seq"] for record in trails.records(books)] == list(range(1, 9))


def refuse_flushes(monkeypatch: pytest.MonkeyPatch, of: Callable[[Path], bool]) -> None:
    fsync = os.fsync

    def refuse(descriptor: int) -> None:
        if of(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(errno.EIO, "no")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
