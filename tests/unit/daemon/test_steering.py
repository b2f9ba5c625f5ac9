"""What a person asks of a running daemon, where the disk refuses a part of it."""

import errno
import os
from types import SimpleNamespace

import pytest

from stemd.core.access import Person
from stemd.core.errors import StemdError
from stemd.core.job import JobState
from stemd.daemon.steering import Steering
from stemd.daemon.takeover import Takeover
from stemd.spool import attempts, deliver, durable

ADMIN = Person(None, "admin")
FULL = StemdError("STEMD-R003", "append to 'attempts': No space left on device")


@pytest.fixture
def takeover(site):
    return Takeover(site.board, site.runs, site.sealer)


@pytest.fixture
def steering(site, spool, takeover):
    scanners = [SimpleNamespace(spool=spool)]
    dispatcher = SimpleNamespace(board=site.board, scanners=scanners, sealer=site.sealer, takeover=takeover)
    return Steering(dispatcher, lambda: None, dict)


def test_what_is_stranded_between_orphan_and_the_queue_goes_on_by_itself(site, spool, takeover, steering, monkeypatch):
    live = site.running()
    site.board.give_up(live, StemdError("STEMD-A001"))
    (orphan,) = spool.orphan.glob("*/*")

    def refuse(*_, **__):
        raise FULL

    for module, name in ((attempts, "record_epoch"), (deliver, "user_folder")):
        monkeypatch.setattr(module, name, refuse)
    with pytest.raises(StemdError, match="STEMD-R003"):
        steering.answer({"op": "retry", "job": live.id}, ADMIN)
    assert not orphan.exists(), "the way back failed, too"
    takeover.again()
    assert not orphan.exists()
    monkeypatch.undo()
    takeover.again()
    assert orphan.exists() and list(spool.jobs()) == []
    assert site.status(live.id)["state"] == "failed"
    assert steering.answer({"op": "retry", "job": live.id}, ADMIN) == {"state": "waiting"}


def test_so_does_what_the_disk_refuses_at_its_very_end(site, spool, takeover, steering):
    live = site.running()
    site.board.give_up(live, StemdError("STEMD-A001"))
    (orphan,) = spool.orphan.glob("*/*")
    (orphan / "error.txt").unlink()
    (orphan / "error.txt").mkdir()
    with pytest.raises(StemdError, match="STEMD-S014"):
        steering.answer({"op": "retry", "job": live.id}, ADMIN)
    assert site.board.jobs == {}
    takeover.again()
    assert site.board.jobs[live.id].state is JobState.WAITING
    assert [work.job_id for work in spool.jobs()] == [live.id]


def test_what_was_put_back_but_cannot_be_read_goes_on_when_it_can(site, spool, takeover, steering, monkeypatch):
    live = site.running()
    site.board.give_up(live, StemdError("STEMD-A001"))
    real, path = durable.read_json, live.work.job

    def read(asked):
        if asked == path and not live.work.error.exists():
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(asked))
        return real(asked)

    with monkeypatch.context() as broken:
        broken.setattr(durable, "read_json", read)
        with pytest.raises(StemdError, match="STEMD-S014"):
            steering.answer({"op": "retry", "job": live.id}, ADMIN)
    takeover.again()
    assert site.board.jobs[live.id].state is JobState.WAITING
