"""Who gets an answer about what was deleted, when an order is tried again, and what the loop need not wait for."""

from __future__ import annotations

import time
from unittest.mock import Mock

import pytest
from structlog.testing import capture_logs

from stemd.cli.deletion import _fetched
from stemd.core.access import Person
from stemd.core.config import load
from stemd.core.errors import StemdError
from stemd.core.job import new_job_id
from stemd.daemon import deleting
from stemd.daemon.chronicle import Chronicle
from stemd.daemon.deleting import Deleting
from stemd.daemon.live import Live
from stemd.ops.metrics import Metrics
from stemd.spool import belongings, erase, halt, sidecar
from stemd.spool import trail as trails
from stemd.spool.belongings import Subject
from stemd.spool.books import Books
from stemd.spool.halt import HaltedError
from stemd.spool.trail import Trail
from tests.support.daemon import eventually
from tests.unit.spool.conftest import Way

ADMIN, ANA, BEN = Person(None, "admin"), Person("ana", "user"), Person("ben", "operator")


class Office:
    """A ``Deleting`` over a real spool and real books; nothing is at work."""

    def __init__(self, spool, state) -> None:
        self.config = load(None, {"spool": str(spool.root), "paths.state": str(state)}, {}).config
        self.way, self.books = Way(spool, self.config), Books.of(self.config)
        self.trail = Trail(self.books)
        board = Mock(config=self.config, metrics=Metrics(("demucs",)), jobs={}, albums={})
        board.get = {}.get
        self.dispatcher = Mock(config=self.config, board=board, scanners=[Mock(spool=spool)])
        self.deleting = Deleting(self.dispatcher, Chronicle(self.trail), self.books, Mock(), Mock())

    def ask(self, person: Person, **message) -> str:
        return self.deleting.answer(message, person)["number"]

    def hear(self, person: Person, number: str):
        return self.deleting.answer({"op": "deletion", "number": number}, person)

    def turn(self, now: float) -> None:
        """What is due at ``now``, to its end."""

        def done() -> bool:
            self.deleting.tick(now)
            return all(task.ended for task in self.deleting._tasks.values())

        eventually(done, 30, "it is tried")
        self.deleting.tick(now)

    def hold(self, legal: bool) -> None:
        flags = {"spool": str(self.way.spool.root), "paths.state": str(self.config.state_of(self.way.spool.root))}
        self.config = load(None, {**flags, "compliance.legal_hold": legal}, {}).config
        self.dispatcher.config = self.config

    def ended(self, person: Person, number: str):
        def answer():
            self.deleting.tick(time.monotonic())
            return (heard := self.hear(person, number))["done"] and heard["result"]

        return eventually(answer, 30, "it is done")


@pytest.fixture
def office(spool, tmp_path):
    made = Office(spool, tmp_path / "state")
    yield made
    made.deleting.close()


def test_what_is_listed_is_for_who_asked_and_for_admins(office):
    number = office.ask(ANA, op="erase", user="ana", dry_run=True)
    assert office.ended(ANA, number)["items"] == []
    assert office.hear(ADMIN, number)["done"]
    with pytest.raises(StemdError, match="STEMD-P003"):
        office.hear(BEN, number)
    other = office.ask(ANA, op="erase", user="ana", dry_run=True)
    assert len({number, other, "1", "2"}) == 4, "nobody guesses a number"


def test_an_erasure_takes_what_was_listed_before_along(office):
    office.way.published()
    listed = office.ask(ADMIN, op="erase", user="everyone", dry_run=True)
    assert office.ended(ADMIN, listed)["items"]
    assert office.ended(ADMIN, office.ask(ADMIN, op="erase", user="everyone"))["verified"]
    with pytest.raises(StemdError, match="STEMD-X001"):
        office.hear(ADMIN, listed)


def test_what_is_still_to_be_told_of_a_job_is_told_before_its_key_goes(office):
    """Told later it would make a new one."""
    _, job = office.way.published()
    chronicle = office.deleting._chronicle
    chronicle.job("ended", Mock(user="everyone", id=job.job_uuid))
    assert office.ended(ADMIN, office.ask(ADMIN, op="erase", user="everyone"))["verified"]
    chronicle.catch_up()
    assert not office.trail.keys._path("job", job.job_uuid).exists()
    assert [each["event"] for each in trails.records(office.books)][-2:] == ["ended", "erased"]


def test_the_socket_searches_nothing(office, monkeypatch):
    """Whose a job is stands in its status, or only an admin may; what is to go is searched for elsewhere."""
    monkeypatch.setattr(belongings, "find", Mock(side_effect=AssertionError("on the loop")))
    monkeypatch.setattr(office.deleting, "_threads", Mock())
    mine, unknown = new_job_id(), new_job_id()
    sidecar.write_status(office.way.spool, mine, {"user_id": "ana", "state": "done"})
    office.ask(ANA, op="erase", job=mine)
    office.ask(ADMIN, op="erase", job=unknown)
    for person, job in ((ANA, unknown), (BEN, mine)):
        with pytest.raises(StemdError, match="STEMD-P003"):
            office.ask(person, op="erase", job=job)
    monkeypatch.undo()


@pytest.mark.parametrize("job", ["../inbox/mine", "x", ""])
def test_what_is_no_jobs_id_is_looked_for_nowhere(office, job):
    (office.way.spool.inbox / "mine.json").write_text('{"user_id": "ana"}')
    with pytest.raises(StemdError, match="STEMD-S015"):
        office.ask(ANA, op="erase", job=job)
    assert erase.pending(office.books) == []


def test_what_is_refused_later_is_told_to_who_asked(office):
    number = office.ask(ADMIN, op="erase", job=new_job_id())
    with pytest.raises(StemdError, match="STEMD-S015"):
        office.ended(ADMIN, number)
    assert not office.dispatcher.suspended
    office.deleting.tick(time.monotonic())


def test_what_a_hold_forbids_is_in_the_trail(office):
    held = {"spool": office.config.spool[0], "users": {"ana": {"compliance": {"legal_hold": True}}}}
    office.dispatcher.config = load(None, held, {}).config
    number = office.ask(ANA, op="erase", user="ana")
    with pytest.raises(StemdError, match="STEMD-P011"):
        office.ended(ANA, number)
    (told,) = [record for record in trails.records(office.books) if record["event"] == "refused"]
    assert (told["action"], told["code"], told["user"]) == ("erase", "STEMD-P011", told["actor"]["user"])


def test_an_order_that_failed_is_tried_again_later_and_later(office, monkeypatch):
    folder, _ = office.way.published()
    fails = Mock(side_effect=OSError(5, "Input/output error"))
    monkeypatch.setattr(erase, "search", fails)
    with capture_logs() as told:
        with pytest.raises(StemdError, match="STEMD-S014"):
            office.ended(ADMIN, office.ask(ADMIN, op="erase", user="everyone"))
        assert [each["event"] for each in told if each["log_level"] == "error"] == ["erasure_failed"]
    assert len(erase.pending(office.books)) == 1
    now, due = time.monotonic() + 10_000.0, []
    for _ in range(8):
        office.turn(now)
        assert not office.dispatcher.suspended, "the others go on"
        due.append(round(office.deleting._retry_due - now, 6))
        now = office.deleting._retry_due
    assert fails.call_count == 9
    assert due == sorted(due) and due[-1] == deleting._LAST_RETRY
    monkeypatch.undo()
    office.turn(now)
    assert not erase.pending(office.books)
    assert not folder.exists()


def test_for_an_order_that_a_hold_has_stopped_nothing_is_stopped(office):
    """Nor for what has come since, once the hold is over: that was not asked for."""
    folder, _ = office.way.published()
    subject, jobs = Subject(user="everyone"), office.dispatcher.board.jobs
    erase.begin(office.books.open(), subject, belongings.find(office.config, subject), None)
    work, job = office.way.sealed(office.way.drop("later.wav", b"later"))
    jobs[work.job_id] = Live(office.way.spool, work, job.user_id, job)
    office.dispatcher.sealer.busy.return_value = False
    office.deleting._stop.side_effect = lambda live: jobs.pop(live.id)
    for number, (held, why) in enumerate([(True, "the order to erase it stands"), (False, "more has come")]):
        office.hold(held)
        with capture_logs() as told:
            office.turn(time.monotonic() + 10_000.0 * number)
        assert [each["code"] for each in told if each["event"] == "erasure_failed"] == ["STEMD-P011"]
        assert why in list(office.deleting._tasks.values())[-1].ordered.exception().message
        office.deleting._stop.assert_not_called()
        assert folder.exists() and work.path.exists() and not office.dispatcher.suspended
    assert office.ended(ADMIN, office.ask(ADMIN, op="erase", user="everyone"))["verified"]
    assert not folder.exists() and not work.path.exists()
    assert erase.pending(office.books) == []


def test_only_who_may_erase_all_makes_a_new_quota(office):
    for person, counted in ((ANA, True), (ADMIN, False)):
        office.ended(person, office.ask(person, op="erase", user="ana"))
        assert office.dispatcher.quotas.forget.call_args.kwargs["counted"] is counted


def test_a_long_list_comes_in_pieces_and_is_whole(office, monkeypatch):
    """What a dry run shows may be a hundred thousand folders: no message is that long."""
    monkeypatch.setattr(deleting, "_PAGE", 2)
    folders = [office.way.published(office.way.drop(f"{number}.wav", b"%d" % number))[0] for number in range(5)]
    number = office.ask(ADMIN, op="erase", user="everyone", dry_run=True)
    office.ended(ADMIN, number)
    asked: list[int] = []

    def ask(start: int):
        asked.append(start)
        return office.deleting.answer({"op": "deletion", "number": number, "from": start}, ADMIN)

    listed = _fetched(ask)
    assert asked == [0, 2, 4]
    assert len(listed["jobs"]) == 5
    assert sorted(each["path"] for each in listed["items"]) == sorted(map(str, [*folders, folders[0].parent]))
    assert ask(0)["result"].keys() == listed.keys()


def test_an_erasure_that_a_stop_interrupts_is_no_fault_and_is_gone_on_with(office):
    target, _ = office.way.published()
    number = office.ask(ADMIN, op="erase", user="everyone")
    task = office.deleting._tasks[number]
    eventually(task.ordered.done, 30)
    halt.order()
    try:
        with capture_logs() as told:
            office.turn(time.monotonic())
    finally:
        halt.withdraw()
    assert isinstance(task.future.exception(), HaltedError)
    assert told == []
    receipts, failed = erase.resume(office.config, office.books, office.trail)
    assert ([each["verified"] for each in receipts], failed) == ([True], [])
    assert not target.exists()
