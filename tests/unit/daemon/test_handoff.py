"""Whatever goes wrong while handing over, nothing is told without need, nothing waits for what fails, and what is
forgotten stays forgotten."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from stemd.core.config import load
from stemd.core.errors import StemdError
from stemd.core.job import new_job_id
from stemd.daemon import handoff
from stemd.ops import receivers
from stemd.ops.metrics import Metrics
from stemd.ops.post import NotTakenError
from stemd.spool import durable, handover, sidecar
from stemd.spool.books import Books, bury
from stemd.spool.handover import ForgottenError

FULL = StemdError("STEMD-R003", "write it: No space left on device")


class Desk:
    """A queue, and what its receivers are told: each does what its function in ``ways`` does with the document."""

    def __init__(self, spool, monkeypatch):
        self.spool, self.told, self.ways = spool, [], {"webhook": lambda document: None}
        handover.folder(spool).mkdir()
        self.config = load(None, {"spool": str(spool.root)}, {}).config
        self.handing = handoff.Handing((spool,), lambda: self.config, Metrics(("demucs",)))
        monkeypatch.setattr(handoff, "receivers", lambda settings: {name: self._way(name) for name in self.ways})
        monkeypatch.setattr(handoff, "_INTERVAL", 1000.0)
        self.waits(monkeypatch, 1.0)

    def _way(self, name):
        def receiver(spool, path, document):
            self.told.append((name, document["job_uuid"]))
            self.ways[name](document)

        return receiver

    def waits(self, monkeypatch, share):
        """Failed ones wait for this share of the longest time they may."""
        monkeypatch.setattr(handoff, "random", SimpleNamespace(random=lambda: share))

    def note(self, ended=4e9):
        job = new_job_id()
        document = {"key": f"{job}.0", "job_uuid": job, "user_id": "ana", "state": "done", "result": "outbox/ana/song"}
        durable.write_json(self.path(job), {**document, "ended_at": sidecar.iso(ended)})
        return job

    def path(self, job):
        return handover.folder(self.spool) / f"{job}.0.json"

    def turns(self, number):
        return [self.handing._one() for _ in range(number)]


@pytest.fixture
def desk(spool, monkeypatch):
    return Desk(spool, monkeypatch)


def refuse(document):
    raise NotTakenError("it answered 500")


def test_who_has_taken_it_is_not_told_again_because_the_disk_is_full(desk, monkeypatch):
    job = desk.note()
    with monkeypatch.context() as full:
        full.setattr(handover, "rewrite", lambda path, document: (_ for _ in ()).throw(FULL))
        assert desk.turns(3) == [True, False, False], "it is not tried again at once"
    desk.waits(monkeypatch, 0.0)
    desk.handing._line[0].due = 0.0
    desk.ways["command"] = lambda document: None
    assert desk.turns(2) == [True, False]
    assert desk.told == [("webhook", job), ("command", job)]
    assert not desk.path(job).exists()


@pytest.mark.parametrize("error", [ValueError("a bug"), OSError(5, "Input/output error"), FULL, NotTakenError("no")])
def test_whatever_fails_is_tried_again_later(desk, error):
    job = desk.note()
    desk.ways["webhook"] = lambda document: (_ for _ in ()).throw(error)
    with capture_logs() as told:
        assert desk.turns(2) == [True, False]
    (line,) = [each for each in told if each["event"] == "not_handed_over"]
    assert (line["receiver"], line["tries"], line["again_in"]) == ("webhook", 1, 2.0)
    assert line["reason"] == str(error)
    assert bool([each for each in told if each["event"] == "handoff_failed"]) == isinstance(error, ValueError)
    assert desk.path(job).exists()


def test_what_fails_keeps_nothing_else_waiting(desk, monkeypatch):
    jobs = sorted(desk.note() for _ in range(6))
    desk.ways["webhook"] = refuse
    desk.waits(monkeypatch, 0.0)
    desk.turns(12)
    told = [job for _, job in desk.told]
    assert sorted(told[:6]) == sorted(told[6:]) == sorted(jobs)


def test_the_queue_is_not_listed_for_each_try(desk, monkeypatch):
    listed, list_it = [], handover.waiting
    monkeypatch.setattr(handover, "waiting", lambda spool: listed.append(spool) or list_it(spool))
    jobs = sorted(desk.note() for _ in range(9))
    assert desk.turns(10) == [True] * 9 + [False]
    assert len(listed) == 1
    assert sorted(job for _, job in desk.told) == sorted(jobs)
    desk.note()
    assert desk.turns(1) == [False], "nobody has said that there is something new"
    desk.handing.wake()
    assert desk.turns(2) == [True, False]
    assert len(listed) == 2


def test_nobody_looks_out_for_what_is_under_way(desk):
    desk.note()
    pauses = []
    desk.ways["webhook"] = lambda document: pauses.append(desk.handing._pause())
    desk.turns(1)
    assert pauses[0] > 10


def test_once_knows_what_is_left(desk):
    settled = lambda: desk.handing.settled(1.0)  # noqa: E731
    assert settled()
    seen, job = [], desk.note()
    assert not settled(), "it has not been tried"
    desk.ways["webhook"] = lambda document: seen.append(settled()) or refuse(document)
    desk.turns(1)
    assert seen == [False], "it is under way"
    assert settled(), "the next try is two seconds away"
    assert not desk.handing.settled(60.0)
    desk.path(job).unlink()
    desk.handing._line[0].due = 0.0
    desk.turns(1)
    assert desk.handing.settled(60.0)
    assert desk.handing.pending == 0


def test_where_one_of_two_receivers_never_takes_it_the_oldest_grows_old(desk):
    desk.ways = {"command": lambda document: None, "webhook": refuse}
    oldest, other = desk.note(ended=3e9), desk.note(ended=3.5e9)
    metrics, look = desk.handing._metrics.registry, desk.handing.wake
    exported = lambda: metrics.get_sample_value("stemd_handoff_oldest_timestamp_seconds")  # noqa: E731
    desk.turns(2)
    look()
    desk.turns(1)
    assert exported() == 3e9
    desk.path(oldest).unlink()
    look()
    desk.turns(1)
    assert exported() == 3.5e9
    desk.ways["webhook"] = lambda document: None
    for item in desk.handing._line:
        item.due = 0.0
    desk.turns(2)
    assert not desk.path(other).exists()
    look()
    desk.turns(1)
    assert exported() == 0


# ---- forgotten


@pytest.mark.parametrize("how", ["recalled", "buried"])
def test_what_is_erased_while_a_receiver_is_slow_is_told_to_no_other(desk, how):
    def slow(document):
        if how == "recalled":
            handover.forget(desk.spool, jobs={document["job_uuid"]})
        else:
            bury(Books.of(desk.config).open(), [document["job_uuid"]])

    desk.ways = {"webhook": slow, "command": lambda document: None}
    job = desk.note()
    assert desk.turns(2) == [True, False]
    assert desk.told == [("webhook", job)]
    assert desk.path(job).exists() == (how == "buried"), "it does not come back; the erasure removes it itself"


def test_what_was_forgotten_is_neither_written_nor_moved_nor_told_of(desk, tmp_path):
    job = desk.note()
    document, path = durable.read_json(desk.path(job)), desk.path(job)
    result = desk.spool.root / document["result"]
    result.mkdir(parents=True)
    durable.write_json(result / "manifest.json", {"job_uuid": job})
    sidecar.write_status(desk.spool, job, {"state": "done", "result": document["result"]})
    assert handover.forget(desk.spool, user="ana") == [document["key"]]
    settings = SimpleNamespace(move=True, webhook=None, command=None, directory=tmp_path / "next")
    settings.directory.mkdir()
    with pytest.raises(ForgottenError):
        receivers.receivers(settings)["directory"](desk.spool, path, document)
    with pytest.raises(ForgottenError):
        handover.moved(desk.spool, path, {**document, "result": "/elsewhere"})
    assert (result / "manifest.json").exists()
    assert list(settings.directory.iterdir()) == []
    assert list(handover.folder(desk.spool).iterdir()) == []
    assert sidecar.read_status(desk.spool.status_file(job))["result"] == document["result"]


def test_a_status_that_says_erased_stays_so(desk):
    job = desk.note()
    sidecar.write_status(desk.spool, job, {"state": "erased"})
    handover.moved(desk.spool, desk.path(job), {**durable.read_json(desk.path(job)), "result": "/elsewhere"})
    assert "result" not in sidecar.read_status(desk.spool.status_file(job))
