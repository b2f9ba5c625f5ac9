"""Orders of erasures: what holds them up, and what becomes of those that stand."""

from __future__ import annotations

import subprocess

import pytest

from stemd.core.errors import StemdError
from stemd.core.job import new_job_id
from stemd.spool import belongings, deliver, durable, erase, handover, sidecar, steps
from stemd.spool.belongings import Subject
from stemd.spool.books import Books, bury
from stemd.spool.trail import Trail

HELD = {"legal_hold": True}


@pytest.mark.parametrize(("marks", "code"), [(HELD, "STEMD-P011"), ({"erasable": False}, "STEMD-P012")])
def test_what_nobody_has_taken_yet_is_kept_by_the_marks_of_its_inbox(way, marks, code):
    way.configure(users={"ana": {}}, inboxes={"court": {"user": "ana", "compliance": marks}})
    (way.spool.inbox / "court").mkdir()
    (way.spool.inbox / "court" / "evidence.wav").write_bytes(b"evidence")
    subject = Subject(user="ana")
    found = belongings.find(way.config, subject)
    assert [item.path.name for item in found.items] == ["evidence.wav"]
    with pytest.raises(StemdError, match=code):
        erase.check(way.config, subject, found)


def test_a_hold_that_comes_after_the_order_stops_it_until_it_is_lifted(way):
    target, job = way.published()
    books, subject = Books.of(way.config), Subject(user="everyone")
    trail = Trail(books)
    erase.begin(books, subject, belongings.find(way.config, subject), None)
    for hold in ({"compliance__legal_hold": True}, {"compliance__held_jobs": [job.job_uuid]}):
        way.configure(**hold)
        receipts, failed = erase.resume(way.config, books, trail)
        assert (receipts, [error.code for error in failed]) == ([], ["STEMD-P011"])
        assert deliver.verify(target) is not None
    way.configure(compliance__legal_hold=False)
    assert erase.resume(way.config, books, trail)[0][0]["verified"]


@pytest.mark.parametrize("what", ["entry", "job"])
def test_what_came_while_a_hold_lay_on_an_order_is_not_erased_unasked(way, what):
    target, _ = way.published()
    books, subject = Books.of(way.config), Subject(user="everyone")
    trail = Trail(books)
    erase.begin(books, subject, belongings.find(way.config, subject), None)
    way.configure(compliance__legal_hold=True)
    erase.resume(way.config, books, trail)
    way.configure(compliance__legal_hold=False)
    path = way.drop("later.wav", b"later")
    later = path if what == "entry" else way.sealed(path)[0].path
    receipts, (error,) = erase.resume(way.config, books, trail)
    assert (receipts, error.code) == ([], "STEMD-P011")
    assert "more has come" in error.message and "stemd erase" in error.remedy
    assert later.exists() and deliver.verify(target) is not None
    with pytest.raises(StemdError, match="STEMD-P011"):
        erase.allowed(way.config, books, erase.pending(books)[0])
    erase.begin(books, subject, belongings.find(way.config, subject), None)
    assert erase.resume(way.config, books, trail)[0][0]["verified"]
    assert not later.exists() and not target.exists()


def test_a_job_may_be_put_back_while_a_hold_lies_on_the_order_to_erase_it(way):
    work, job = way.sealed()
    orphan = deliver.to_orphan(way.spool, work, StemdError("STEMD-A001"), job.user_id)
    books, subject = Books.of(way.config).open(), Subject(user="everyone")
    order = erase.begin(books, subject, belongings.find(way.config, subject), None)
    way.configure(compliance__legal_hold=True)
    with pytest.raises(StemdError, match="STEMD-P011"):
        erase.allowed(way.config, books, order)
    erase.refuse_return(books, orphan, job.job_uuid)
    way.configure(compliance__legal_hold=False)
    (order,) = erase.pending(books)
    erase.allowed(way.config, books, order)
    with pytest.raises(StemdError, match="being erased"):
        erase.refuse_return(books, orphan, job.job_uuid)


def test_whoever_asks_again_goes_on_with_the_order_that_stands(way):
    books, subject = Books.of(way.config).open(), Subject(user="everyone")
    order = erase.begin(books, subject, belongings.find(way.config, subject), None)
    _, job = way.published()
    again = erase.begin(books, subject, belongings.find(way.config, subject), None)
    assert (again.id, again.jobs) == (order.id, {job.job_uuid})
    other = erase.begin(books, Subject(job=job.job_uuid), belongings.find(way.config, Subject(job=job.job_uuid)), None)
    assert {each.id for each in erase.pending(books)} == {order.id, other.id}


def test_the_search_passes_over_its_own_order_only(way):
    books, subject = Books.of(way.config), Subject(user="zaide-42")
    trail = Trail(books)
    order = erase.begin(books, subject, belongings.find(way.config, subject), None)
    other = {**order.to_dict(), "id": "other", "job": "J", "user": None, "names": ["a song of zaide-42"]}
    durable.write_json(books.orders / "other.json", other)
    receipt = erase.carry_out(way.config, books, trail, order)
    assert [hit.rpartition("/")[2] for hit in receipt["left"]] == ["other.json"]


def test_folders_nested_without_end_are_no_end_of_erasures(way):
    top = way.spool.outbox / "ben" / "deep"
    subprocess.run(["mkdir", "-p", f"{top}/{'/'.join(['d'] * 1500)}"], check=True)
    way.published()
    books, subject = Books.of(way.config), Subject(user="everyone")
    trail = Trail(books)
    try:
        order = erase.begin(books, subject, belongings.find(way.config, subject), None)
        assert erase.attempt(way.config, books, trail, order)["verified"]
    finally:
        subprocess.run(["rm", "-rf", str(top)], check=True)


@pytest.mark.parametrize("line", [f"retention: {'9' * 400}", f"retention: {'9' * 400}d", "{", "tags: [\xff]"])
def test_what_somebody_writes_into_a_description_is_no_end_of_erasures(way, line):
    way.configure(inboxes={"stager": {"trust": "manifest"}})
    for name, said in (("theirs", line), ("hers", "retention: 9999999d")):
        folder = way.spool.inbox / "stager" / name
        folder.mkdir(parents=True)
        (folder / "job.yaml").write_text(f"input: a.wav\nuser_id: ana\njob_uuid: {new_job_id()}\n{said}\n", "latin-1")
    books, subject = Books.of(way.config).open(), Subject(user="ana")
    found = belongings.find(way.config, subject)
    assert [item.path.name for item in found.items] == ["hers"]
    erase.begin(books, subject, found, None)
    receipts, failed = erase.resume(way.config, books, Trail(books))
    assert (len(receipts), failed) == (1, [])


def test_nothing_that_is_being_handed_over_writes_a_status_again(way):
    """A receiver moved the folder meanwhile, and its thread would say so in the status that has just gone."""
    handover.folder(way.spool).mkdir()
    folder, job = way.published()
    status = {"user_id": "everyone", "state": "done", "result": str(folder.relative_to(way.spool.root))}
    sidecar.write_status(way.spool, job.job_uuid, status)
    ((path, document),) = handover.pending(way.spool)
    books, subject = Books.of(way.config), Subject(user="everyone")
    trail, refused = Trail(books), []

    def at(step: str) -> None:
        if step in {"G2", "D1", "D2", "D3", "G3", "G4"}:
            with pytest.raises(handover.ForgottenError):
                handover.moved(way.spool, path, document)
            refused.append(step)

    order = erase.begin(books, subject, belongings.find(way.config, subject), None)
    steps.install(at)
    try:
        receipt = erase.carry_out(way.config, books, trail, order)
    finally:
        steps.install(None)
    assert refused[:2] == ["G2", "D1"]
    assert (receipt["verified"], receipt["deleted"]["hand-overs"]) == (True, 1)


@pytest.mark.parametrize("subject", ["user", "job", "album"])
def test_what_an_order_is_about_is_not_put_back_nor_what_was_erased(way, subject):
    work, job = way.sealed()
    orphan = deliver.to_orphan(way.spool, work, StemdError("STEMD-A001"), job.user_id)
    if subject == "album":
        origin = durable.read_json(orphan / "origin.json")
        durable.write_json(orphan / "origin.json", {**origin, "album": {"job_uuid": "an album"}})
    books = Books.of(way.config).open()
    erase.refuse_return(books, orphan, job.job_uuid)
    order = erase.begin(books, Subject(user="somebody-else"), belongings.Found(), None)
    erase.refuse_return(books, orphan, job.job_uuid)
    order.subject = {"user": Subject(user="everyone"), "job": Subject(job=job.job_uuid)}.get(subject, order.subject)
    order.jobs = {"job": {job.job_uuid}, "album": {"an album"}}.get(subject, set())
    durable.write_json(books.orders / f"{order.id}.json", order.to_dict())
    with pytest.raises(StemdError, match="being erased") as refused:
        erase.refuse_return(books, orphan, job.job_uuid)
    assert refused.value.code == "STEMD-S016"
    (books.orders / f"{order.id}.json").unlink()
    bury(books, [job.job_uuid])
    with pytest.raises(StemdError, match="was erased"):
        erase.refuse_return(books, orphan, job.job_uuid)
