"""What the daemon tells of when something goes wrong that seldom does: each event through the code that tells it."""

from __future__ import annotations

import errno
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock, Mock

import pytest
from click.testing import CliRunner

from stemd.cli.run import run
from stemd.core.access import Person
from stemd.core.alerting import Alert
from stemd.core.config import load
from stemd.core.errors import StemdError
from stemd.core.job import JobState, Limits, Outcome
from stemd.core.limits import Limit
from stemd.daemon import canary, deleting, governor, handoff, selfaudit, service, stock
from stemd.daemon.assignment import Assignment
from stemd.daemon.chronicle import Chronicle
from stemd.daemon.deleting import Deleting
from stemd.daemon.governor import Governor
from stemd.daemon.service import Service
from stemd.daemon.steering import Steering
from stemd.daemon.stopping import Stopping
from stemd.daemon.surviving import survives
from stemd.daemon.takeover import Takeover
from stemd.ops import receivers, sinks
from stemd.ops.metrics import Metrics
from stemd.ops.receivers import NotTakenError
from stemd.spool import deliver, durable, erase, handover, recover
from stemd.spool.belongings import Subject, find
from stemd.spool.books import Books
from stemd.spool.trail import Trail
from stemd.worker.setup import Setup
from tests.support.daemon import eventually
from tests.unit.daemon.test_fate import UUID
from tests.unit.spool.conftest import Way

ALERT = Alert("oom", "warning", "3 in an hour", 1.0)
DISK = StemdError("STEMD-S014", "write it: Input/output error")


def one(told, event):
    """The one event of this name."""
    found = [line for line in told if line["event"] == event]
    assert len(found) == 1, told
    return found[0]


def raises(error):
    def fail(*_, **__):
        raise error

    return fail


# ---- jobs


def test_duplicate_not_removed(site, spool, told, monkeypatch):
    site.seal(site.claimed(f"job_uuid: {UUID}\n"))
    monkeypatch.setattr(deliver, "let_go", raises(DISK))
    again = site.claimed(f"job_uuid: {UUID}\n")
    site.seal(again)
    assert one(told, "duplicate_not_removed")["code"] == "STEMD-S014"
    assert again.work.path.exists(), "the next start removes it"
    assert list(site.board.jobs) == [UUID]


def test_recovery_failed(site, told):
    live = site.running()
    site.board.jobs.clear()  # the daemon before this one had it
    takeover = Takeover(site.board, site.runs, site.sealer)
    takeover.recovered(site.spool, recover.Recovered(live.work, recover.Found.STUCK, error=DISK))
    assert one(told, "recovery_failed")["job_uuid"] == live.id
    assert site.status(live.id)["stage"] == "stuck"


def test_what_could_not_be_brought_forward_is_its_owners_and_not_looked_for_once_it_is_erased(site, told):
    live = site.running()
    durable.write_json(live.work.job, {**durable.read_json(live.work.job), "user_id": "ana"})
    site.board.jobs.clear()
    takeover = Takeover(site.board, site.runs, site.sealer)
    takeover.recovered(site.spool, recover.Recovered(live.work, recover.Found.STUCK, error=DISK))
    assert site.status(live.id)["user_id"] == "ana"
    durable.remove_tree(live.work.path)
    site.spool.status_file(live.id).unlink()
    takeover.again()
    assert not site.spool.status_file(live.id).exists()
    assert len([line for line in told if line["event"] == "recovery_failed"]) == 1


def test_one_that_still_cannot_be_taken_over_costs_the_others_nothing_and_is_tried_again(site, told):
    first, second, third = (site.running() for _ in range(3))
    site.board.jobs.clear()
    takeover = Takeover(site.board, site.runs, site.sealer)
    first.work.attempts.rename(first.work.path / "aside")
    first.work.attempts.mkdir()
    for live in (first, second, third):
        takeover.left(site.spool, live.work)
    takeover.again()
    assert (set(site.board.jobs), takeover.stuck) == ({second.id, third.id}, 1)
    assert one(told, "disk_trouble")["code"] == "STEMD-S014"
    first.work.attempts.rmdir()
    (first.work.path / "aside").rename(first.work.attempts)
    takeover.again()
    assert (set(site.board.jobs), takeover.stuck) == ({first.id, second.id, third.id}, 0)


def test_a_stuck_job_that_the_disk_says_nothing_of_is_told_of_all_the_same(site, told, monkeypatch):
    live = site.running()
    site.board.jobs.clear()
    monkeypatch.setattr(durable, "read_json", raises(OSError(errno.EIO, "Input/output error")))
    takeover = Takeover(site.board, site.runs, site.sealer)
    takeover.recovered(site.spool, recover.Recovered(live.work, recover.Found.STUCK, error=DISK))
    assert one(told, "recovery_failed")["job_uuid"] == live.id


def test_worker_unready(site, told):
    worker = Mock(job_id=None, pid=7, setup=Setup("demucs", "htdemucs", "/models", "cpu"))
    site.runs.governor = Mock()
    site.runs.worker_said(worker, {"event": "unready", "error": StemdError("STEMD-E002", "no torch").to_dict()})
    assert one(told, "worker_unready")["code"] == "STEMD-E002"
    assert site.runs.loads["demucs"]["loads"] is False


def test_worker_ended(site, told):
    worker = Mock(job_id=None, pid=7, killed_for=None)
    site.runs.worker_died(worker, "signal SIGSEGV")
    assert (one(told, "worker_ended")["how"], one(told, "worker_ended")["reason"]) == ("signal SIGSEGV", "died")
    assert 'stemd_worker_exits_total{reason="died"} 1.0' in site.board.metrics.render().decode()


def test_worker_not_started(told):
    scaling = Mock(to_keep=lambda now: Setup("stub", "stub", "/models", "cpu"), free_cores=1)
    pool = Mock(start=raises(BlockingIOError(11, "Resource temporarily unavailable")))
    assignment = Assignment.__new__(Assignment)
    assignment._scaling, assignment._pool = scaling, pool
    assignment.keep_loaded(0.0)
    assert one(told, "worker_not_started")["reason"] == "Resource temporarily unavailable"


def test_usage_not_written(site, told):
    from stemd.daemon.quotas import Quotas

    live = site.running()
    quotas = Quotas(site.board, [site.spool])
    for ledger in quotas._ledgers.values():
        ledger.add = raises(DISK)
    site.board.ran(live, 1.0, 2.5)
    quotas.close()
    assert one(told, "usage_not_written")["job_uuid"] == live.id
    assert live.cpu == 2.5, "it counts all the same"


def test_held_and_released(site, told):
    live = site.running()
    live.enter(JobState.WAITING, "queued")
    steering = Steering(Mock(board=site.board), Mock(), Mock())
    me = Person("ada", "admin")
    assert steering.answer({"op": "hold", "job": live.id}, me) == {"state": "held"}
    assert one(told, "held")["job_uuid"] == live.id
    assert steering.answer({"op": "release", "job": live.id}, me) == {"state": "waiting"}
    assert one(told, "released")["job_uuid"] == live.id


# ---- the loop


def test_crashed(told, tmp_path, monkeypatch):
    monkeypatch.setattr(service, "run", raises(ZeroDivisionError("a bug")))
    done = CliRunner().invoke(run, ["--once", "--spool", str(tmp_path)])
    assert isinstance(done.exception, ZeroDivisionError)
    assert one(told, "crashed")["exc_info"] is True


def test_flushes_that_fail_are_counted(spool):
    loaded = load(None, {"spool": str(spool.root)}, {})
    daemon = Service(loaded, lambda: loaded, once=True)
    daemon._flushed(0.1, True)
    daemon._flushed(0.1, False)
    text = daemon._metrics.render().decode()
    assert "stemd_fsync_errors_total 1.0" in text and "stemd_fsync_duration_seconds_count 2.0" in text


def test_what_is_overdue_is_counted(spool, tmp_path, monkeypatch):
    flags = {"spool": str(spool.root), "paths.state": str(tmp_path / "state"), "retention.outbox": "1h"}
    config = load(None, flags, {}).config
    Way(spool, config).published()
    board = Mock(config=config, metrics=Metrics(("demucs",)), jobs={})
    dispatcher = Mock(config=config, board=board)
    counting = Deleting(dispatcher, Mock(), Books.of(config).open(), Mock(), Mock())

    def overdue() -> bool:
        counting._count_due = 0.0
        counting.tick(1.0)
        counting._threads.submit(lambda: None).result()
        return "stemd_retention_overdue_items 1.0" in board.metrics.render().decode()

    assert not overdue()
    later = time.time() + 3 * 86_400
    monkeypatch.setattr(deleting.time, "time", lambda: later)
    assert overdue()
    counting.close()


def test_disk_trouble(told):
    assert not survives(raises(DISK)), "the loop goes on"
    assert one(told, "disk_trouble")["code"] == "STEMD-S014"
    with pytest.raises(StemdError, match="no audio"):
        survives(raises(StemdError("STEMD-A001", "no audio")))


def test_left_running(told, monkeypatch):
    """A worker that hangs in the kernel outlives its kill: the daemon ends within the time it has asked for."""
    stopping, runs, now = Stopping(), Mock(), time.monotonic()
    dispatcher = Mock(runs=runs, board=Mock(in_state=lambda state: [SimpleNamespace(id=UUID)]))
    stopping.order(1.0)
    assert not stopping.done(dispatcher) and not runs.interrupt.called
    monkeypatch.setattr("stemd.daemon.stopping.time.monotonic", lambda: now + 2.0)
    assert not stopping.done(dispatcher) and not stopping.done(dispatcher)
    assert runs.interrupt.call_count == 1, "it is asked to stop, once"
    monkeypatch.setattr("stemd.daemon.stopping.time.monotonic", lambda: now + 60.0)
    assert stopping.done(dispatcher)
    assert one(told, "left_running")["jobs"] == [UUID]


def test_erasure_resumed(spool, tmp_path, told):
    loaded = load(None, {"spool": str(spool.root), "paths.state": str(tmp_path / "state")}, {})
    way = Way(spool, loaded.config)
    target, _ = way.published()
    books = Books.of(loaded.config).open()
    subject = Subject(user="everyone")
    erase.begin(books, subject, find(loaded.config, subject), None)
    daemon = Service(loaded, lambda: loaded, once=True)
    daemon._open_books()
    assert one(told, "erasure_resumed")["verified"] is True
    assert not target.exists()


@pytest.mark.parametrize(("error", "code"), [(DISK, "STEMD-S014"), (OverflowError("a bug"), "STEMD-X001")])
def test_erasure_failed(spool, tmp_path, told, monkeypatch, error, code):
    """Whatever it is, the daemon begins: else it would not at any later start either."""
    loaded = load(None, {"spool": str(spool.root), "paths.state": str(tmp_path / "state")}, {})
    books = Books.of(loaded.config).open()
    erase.begin(books, Subject(user="everyone"), find(loaded.config, Subject(user="everyone")), None)
    monkeypatch.setattr(erase, "search", raises(error))
    Service(loaded, lambda: loaded, once=True)._open_books()
    failed = one(told, "erasure_failed")
    assert (failed["code"], "OverflowError: a bug" in failed.get("trace", "")) == (code, code == "STEMD-X001")
    assert len(erase.pending(books)) == 1, "its order stands"


def test_reload_failed(spool, told):
    """A bug in what is read again is told with its trace, and what runs goes on by what it knows."""
    loaded = load(None, {"spool": str(spool.root)}, {})
    daemon = Service(loaded, raises(OverflowError("a bug")), once=True)
    vars(daemon).update(_lookout=Mock())
    with pytest.raises(StemdError, match="STEMD-X001: OverflowError"):
        daemon._reload()
    failed = one(told, "reload_failed")
    assert failed["code"] == "STEMD-X001" and "OverflowError: a bug" in failed["trace"]
    assert daemon._config is loaded.config
    assert "stemd_config_last_reload_successful 0.0" in daemon._metrics.render().decode()


def test_not_deleted(spool, tmp_path, told, monkeypatch):
    loaded = load(None, {"spool": str(spool.root), "paths.state": str(tmp_path / "state")}, {})
    (spool.trash / "theirs").mkdir(parents=True)
    monkeypatch.setattr("stemd.spool.trash.shutil.rmtree", raises(PermissionError(errno.EACCES, "no")))
    Service(loaded, lambda: loaded, once=True)._open_books()
    assert one(told, "not_deleted")["errno"] == errno.EACCES


def test_audit_trail_not_written(spool, tmp_path, told):
    config = load(None, {"spool": str(spool.root), "paths.state": str(tmp_path / "state")}, {}).config
    trail = Trail(Books.of(config))
    chronicle = Chronicle(trail)
    record, trail.record_all = trail.record_all, raises(DISK)
    chronicle.tell("started", version="1")
    assert one(told, "audit_trail_not_written")["event_kept"] == "started"
    trail.record_all = record
    chronicle.tell("stopped")
    assert not chronicle._late, "it was told later"


# ---- what looks at things now and then


def test_stock_failed(spool, told):
    config = load(None, {"spool": str(spool.root)}, {}).config
    metrics = Metrics(("demucs",))
    counting = stock.Stock((spool,), lambda: config, metrics)
    counting.take = raises(OSError(5, "Input/output error"))
    counting.start()
    eventually(lambda: [line for line in told if line["event"] == "stock_failed"], 10)
    assert counting._thread.is_alive()
    counting.stop()
    one(told, "stock_failed")


def test_self_audit_failed(spool, told, monkeypatch):
    config = load(None, {"spool": str(spool.root), "self_audit.every": "100ms"}, {}).config
    monkeypatch.setattr(selfaudit, "Auditor", raises(OSError(5, "Input/output error")))
    audit = selfaudit.SelfAudit((spool,), lambda: config, frozenset, Metrics(("demucs",)))
    audit.start()
    eventually(lambda: sum(line["event"] == "self_audit_failed" for line in told) > 1, 20, "it is tried again")
    audit.stop()


def test_canary_failed(site, told, monkeypatch):
    monkeypatch.setattr(canary, "_drop", raises(OSError(28, "No space left on device")))
    bird = canary.Canary(site.board, (site.spool,), site.board.metrics)
    bird.fly(0.0)
    bird.fly(1e6)
    assert "No space left" in one(told, "canary_failed")["reason"]


def test_a_canary_that_ends_elsewhere_has_failed(site, told):
    bird = canary.Canary(site.board, (site.spool,), site.board.metrics)
    began = bird.at
    live = SimpleNamespace(
        id=UUID, is_canary=True, spool=site.spool, reason=StemdError("STEMD-A001", "no audio"), claimed_at=0.0
    )
    bird._ended(live, Outcome.FAILED)
    assert (one(told, "canary_failed")["reason"], bird.at) == ("STEMD-A001", began)


# ---- control groups


class Groups:
    """Control groups that a kernel refuses, at one place or another."""

    name, place, enforced = "v2", "/there", frozenset({Limit.MEMORY, Limit.CPU})

    def __init__(self, refused: str) -> None:
        self.refused, self.removed = refused, 0

    def leaf(self, name):
        if self.refused == "leaf":
            raise OSError(1, "Operation not permitted")
        return self

    def admit(self, pid):
        if self.refused == "admit":
            raise OSError(1, "Operation not permitted")

    def remove(self):
        self.removed += 1


@pytest.mark.parametrize(("refused", "event"), [("leaf", "group_not_made"), ("admit", "group_not_entered")])
def test_a_group_that_cannot_be_had(told, monkeypatch, refused, event):
    groups = Groups(refused)
    monkeypatch.setattr(governor, "find", lambda setting: groups)
    assert Governor("auto", lambda engine: Limits())._new_leaf(SimpleNamespace(pid=7)) is None
    assert (one(told, event)["pid"], one(told, event)["reason"]) == (7, "Operation not permitted")
    assert groups.removed == (refused == "admit")


def test_limits_not_set(told, monkeypatch):
    monkeypatch.setattr(governor, "find", lambda setting: Groups(""))
    keeper, worker = Governor("auto", lambda engine: Limits()), SimpleNamespace(pid=7, met=set(), limits=None)
    leaf = SimpleNamespace(limit=lambda limits: None, enforced=frozenset({Limit.MEMORY}))
    keeper._watched = MagicMock(__getitem__=lambda watched, key: SimpleNamespace(leaf=leaf))
    keeper._limit(worker, Limits())
    assert one(told, "limits_not_set")["limits"] == [Limit.CPU]


# ---- hand-over and alerts


def ticket(path: Path, age: float = 0.0) -> dict[str, object]:
    ended = datetime.fromtimestamp(time.time() - age, UTC).isoformat()
    path.write_text("{}")
    return {"job_uuid": UUID, "user_id": "everyone", "ended_at": ended, "result": "outbox/everyone/song", "key": "k"}


def test_handoff_given_up(spool, told):
    flags = {"spool": str(spool.root), "handoff.webhook": "http://127.0.0.1:9/", "handoff.keep": "1h"}
    config = load(None, flags, {})
    handing = handoff.Handing((spool,), lambda: config.config, Metrics(("demucs",)))
    handover.folder(spool).mkdir()
    path = handover.folder(spool) / "k.json"
    durable.write_json(path, ticket(path, age=7200.0))
    handing._one()
    assert (one(told, "handoff_given_up")["receiver"], path.exists()) == ("webhook", False)


def test_handoff_failed(spool, told, monkeypatch):
    config = load(None, {"spool": str(spool.root)}, {}).config
    handing = handoff.Handing((spool,), lambda: config, Metrics(("demucs",)))
    monkeypatch.setattr(handover, "waiting", raises(ValueError("a bug")))
    monkeypatch.setattr(handoff, "_AT_ONCE", 1)
    handing._one = raises(ValueError("a bug"))
    thread = threading.Thread(target=handing._run, daemon=True)
    thread.start()
    eventually(lambda: [line for line in told if line["event"] == "handoff_failed"], 10)
    handing._stopping = True
    thread.join(timeout=120)
    assert not thread.is_alive()


def test_handoff_not_moved(spool, tmp_path, told, monkeypatch):
    result = spool.outbox / "everyone" / "song"
    result.mkdir(parents=True)
    durable.write_json(result / "manifest.json", {"job_uuid": UUID})
    monkeypatch.setattr(durable, "rename", raises(StemdError("STEMD-S002", "another mount")))
    path, document = tmp_path / "ticket.json", ticket(tmp_path / "ticket.json")
    receivers._move(tmp_path, spool, path, document)
    assert one(told, "handoff_not_moved")["reason"] == "another mount"
    assert document["result"] == "outbox/everyone/song", "it says where it stays"


def test_alert_delayed_and_alert_not_told(told, monkeypatch):
    asked = []

    def refuse(sink, alert):
        asked.append(sink)
        raise NotTakenError("it answered 500")

    monkeypatch.setattr(sinks, "deliver", refuse)
    teller = sinks.Sinks()
    monkeypatch.setattr(teller._stopping, "wait", lambda seconds: False)
    teller.tell([("webhook", "http://127.0.0.1:9/")], [ALERT])
    eventually(lambda: any(line["event"] == "alert_not_told" for line in told), 20)
    teller.stop()
    names = [line["event"] for line in told]
    assert names == ["alert_delayed"] * (len(asked) - 1) + ["alert_not_told"]
    assert len(asked) > 2
