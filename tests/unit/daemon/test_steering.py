"""What a person asks of a running daemon, where the disk refuses a part of it."""

from types import SimpleNamespace

import pytest

from stemd.core.access import Person
from stemd.core.errors import StemdError
from stemd.daemon.steering import Steering
from stemd.daemon.takeover import Takeover
from stemd.spool import attempts, deliver

ADMIN = Person(None, "admin")
FULL = StemdError("STEMD-R003", "append to 'attempts': No space left on device")


def test_what_is_stranded_between_orphan_and_the_queue_goes_on_by_itself(site, spool, monkeypatch):
    live = site.running()
    site.board.give_up(live, StemdError("STEMD-A001"))
    (orphan,) = spool.orphan.glob("*/*")
    takeover = Takeover(site.board, site.runs, site.sealer)
    scanners = [SimpleNamespace(spool=spool)]
    dispatcher = SimpleNamespace(board=site.board, scanners=scanners, sealer=site.sealer, takeover=takeover)
    steering = Steering(dispatcher, lambda: None, dict)

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
