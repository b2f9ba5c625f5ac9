"""A kill after every step of a prune and of an erasure, then a restart: it ends as if nothing had been."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stemd.core.config import load
from stemd.core.errors import StemdError
from stemd.core.job import JobState, new_job_id
from stemd.spool import attempts, belongings, claim, deliver, erase, holdings, recover, retention, sidecar, steps
from stemd.spool.belongings import Subject
from stemd.spool.books import Books
from stemd.spool.layout import Spool
from stemd.spool.trail import Trail, verify
from stemd.spool.trash import Trash
from tests.support.spools import make_spool, violations
from tests.unit.spool.conftest import Way

SECRET = "Zaïde's unreleased song.wav"
USER = "zaide-42"
OTHER = b"what somebody else dropped"


def ends_at(step: int, action: Callable[[], object]) -> bool:
    """Do ``action`` in a child that dies right after its ``step``-th step; whether it came through."""
    child = os.fork()
    if child == 0:
        seen = 0

        def hook(name: str) -> None:
            nonlocal seen
            seen += 1
            if seen == step:
                os._exit(77)

        try:
            steps.install(hook)
            action()
            os._exit(0)
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {0, 77}, f"it failed after step {step}"
    return status == 0


def settings(spool: Spool) -> dict[str, object]:
    return {
        "spool": str(spool.root),
        "users": {USER: {}, "ben": {}},
        "retention": {"outbox": "0s", "orphan": "0s", "status": "0s"},
    }


def filled(root: Path) -> Way:
    """A spool with something of two users at every point of the way."""
    spool = make_spool(root)
    way = Way(spool, load(None, settings(spool), {}).config)
    for user in (USER, "ben"):
        door = spool.inbox / user
        door.mkdir(exist_ok=True)

        def work(name: str, content: bytes, user: str = user, door: Path = door):
            path = door / name
            path.write_bytes(content + user.encode())
            claimed = claim.claim(spool, way.candidate(path, user), new_job_id())
            assert claimed is not None
            sealed = claim.seal(spool, claimed, way.config)
            assert sealed is not None
            claimed, job = sealed
            sidecar.write_status(spool, job.job_uuid, {"state": "running", "user_id": user, "title": job.title})
            return claimed, job

        def status(job, user: str = user) -> None:
            facts = {"user_id": user, "source": job.source.name, "source_sha256": job.source.sha256}
            sidecar.write_status(spool, job.job_uuid, {"state": JobState.DONE.value, **facts})

        name = SECRET if user == USER else "other.wav"
        live, _ = work(name, b"at work")
        attempts.record_start(live.attempts, "stub")
        done, job = work(name, b"done")
        way.stage(done, job)
        deliver.to_outbox(spool, done, job)
        status(job)
        bad, job = work(name, b"failed")
        deliver.to_orphan(spool, bad, StemdError("STEMD-A002"), user)
        status(job)
        (door / name).write_bytes(OTHER if user == "ben" else b"arriving")
    return way


def traces(way: Way) -> list[str]:
    """Wherever the user, the recording's name or one of its hashes is found in what is kept; the door apart."""
    words = [USER.encode(), SECRET.encode(), SECRET.encode("unicode_escape"), SECRET[:-4].encode(), *HASHES]
    found = []
    for path in way.spool.root.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        inside = os.fsencode(path.relative_to(way.spool.root))
        if any(word in content or word in inside for word in words) and path != way.spool.inbox / USER:
            found.append(str(path))
    return found


HASHES: list[bytes] = []


def state(way: Way) -> list[str]:
    """What is there, without what is made anew each time."""
    areas = ("inbox", "outbox", "orphan")
    return sorted(
        str(path.relative_to(way.spool.root)).rpartition(".")[0] if path.parent.parent.name == "orphan" else
        str(path.relative_to(way.spool.root))
        for area in areas for path in (way.spool.root / area).rglob("*")
        if "orphan" not in path.parts or path.parent.parent.name == "orphan"
    )  # fmt: skip


def begin_erasure(way: Way) -> None:
    books = Books.of(way.config)
    trail = Trail(books)
    subject = Subject(user=USER)
    found = belongings.find(way.config, subject)
    trail.record("claimed", user=USER, job=next(iter(found.jobs)), names={"name": SECRET})
    erase.carry_out(way.config, books, trail, erase.begin(books, subject, found, None))


def restart(way: Way) -> None:
    """What the daemon does before it takes anything up."""
    books = Books.of(way.config)
    trail = Trail(books)
    Trash(way.spool).empty()
    erase.resume(way.config, books, trail)
    list(recover.recover(way.spool))


def test_an_erasure_killed_after_any_step_ends_the_same(tmp_path, tally):
    whole = filled(tmp_path / "whole")
    HASHES[:] = [digest.encode() for digest in belongings.find(whole.config, Subject(user=USER)).hashes]
    assert traces(whole)
    begin_erasure(whole)
    assert traces(whole) == []
    step = 0
    while True:
        step += 1
        way = filled(tmp_path / str(step))
        ended = ends_at(step, lambda way=way: begin_erasure(way))
        begun = bool(erase.pending(Books.of(way.config)))
        restart(way)
        if not begun and not ended and traces(way):
            continue  # before the order was on the disk: nobody was promised anything
        assert traces(way) == [], step
        assert state(way) == state(whole), step
        assert violations(way.spool, [], idle=False) == []
        assert list(verify(Books.of(way.config))) == []
        assert len(list(way.spool.work.glob("[!.]*"))) == 1, "ben's job goes on"
        if ended:
            break
    tally("steps", points=step)


def test_an_erasure_killed_during_its_resumption_ends_the_same(tmp_path):
    for step in range(3, 40, 4):
        way = filled(tmp_path / str(step))
        ends_at(step, lambda way=way: begin_erasure(way))
        pending = bool(erase.pending(Books.of(way.config)))
        ends_at(4, lambda way=way: restart(way))
        restart(way)
        assert not pending or traces(way) == []
        assert erase.pending(Books.of(way.config)) == []


def test_a_prune_killed_after_any_step_ends_the_same(tmp_path, tally):
    def prune(way: Way) -> None:
        books = Books.of(way.config)
        retention.run(way.config, Trail(books), books, force=True)

    whole = filled(tmp_path / "whole")
    prune(whole)
    assert not list(whole.spool.outbox.glob("*/*"))
    step = 0
    while True:
        step += 1
        way = filled(tmp_path / str(step))
        ended = ends_at(step, lambda way=way: prune(way))
        assert violations(way.spool, [], idle=False) == [], step
        restart(way)
        prune(way)
        assert state(way) == state(whole), step
        assert violations(way.spool, [], idle=False) == []
        assert list(verify(Books.of(way.config))) == []
        assert len(list(way.spool.work.glob("[!.]*"))) == 2, "what is at work is never touched"
        if ended:
            break
    tally("steps", points=step)


@pytest.mark.parametrize("which", ["outbox", "orphan", "work"])
def test_a_single_job_goes_and_the_users_others_stay(tmp_path, which):
    way = filled(tmp_path)
    books = Books.of(way.config)
    mine = belongings.find(way.config, Subject(user=USER))
    inner = (item for item in mine.items if item.path.parent != way.spool.root / item.area or item.area == "work")
    by_place = {item.area: item.path for item in inner}
    path = by_place[which]
    job = path.name if which == "work" else holdings.job_of(path)
    one = belongings.find(way.config, Subject(job=job))
    receipt = erase.carry_out(way.config, books, Trail(books), erase.begin(books, Subject(job=job), one, None))
    assert receipt["verified"], receipt
    assert receipt["jobs"] == [job]
    assert not path.exists()
    assert len(belongings.find(way.config, Subject(user=USER)).jobs) == 2
