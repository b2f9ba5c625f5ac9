"""What is let in, where the disk that the state folder is on refuses what should be noted of it."""

import math
from unittest.mock import Mock

import pytest

from stemd.core.config import load
from stemd.core.errors import StemdError
from stemd.core.job import Outcome
from stemd.core.policy import Defer
from stemd.daemon.admission import Admission
from stemd.daemon.scanner import Scanner, door_names
from stemd.spool import durable, intents, probes
from stemd.spool.intents import Intent
from tests.support.daemon import eventually
from tests.unit.daemon.test_scanner import scan

FULL_QUOTA = Defer(StemdError("STEMD-P005", "ana has had two hours of two"))
FULL = StemdError("STEMD-R003", "write 'intents.json': No space left on device")


@pytest.fixture
def scanner(site, spool):
    flags = {"spool": str(spool.root), "defaults.settle": "0s", "defaults.settle_unprobed": "0s"}
    config = load(None, flags, {}).config
    probes.prepare(spool, door_names(config))
    scanner = Scanner(spool, config, lambda: None)
    yield scanner
    scanner.stop()


def refuse(*_, **__):
    raise FULL


def test_a_cancelled_entry_is_cancelled_whatever_the_state_folder_takes(site, spool, scanner, monkeypatch):
    admission = Admission(site.board, [scanner], Mock(), site.sealer, Mock())
    for name in ("song.wav", "other.wav"):
        (spool.inbox / name).write_bytes(b"recording")
    scanner.decide(spool.inbox / "song.wav", Intent.CANCEL)
    scanner.decide(spool.inbox / "other.wav", Intent.HOLD)
    found = next(each for each in scan(scanner, 0.5) if each.path.name == "song.wav")
    with monkeypatch.context() as patch:
        patch.setattr(intents, "_write", refuse)
        admission._take(scanner, found, True)
        assert (site.board.ended[Outcome.CANCELLED], site.board.jobs) == (1, {})
        assert [durable.read_json(path)["code"] for path in spool.orphan.glob("*/*/error.json")] == ["STEMD-P002"]
        assert scanner.intent(spool.inbox / "song.wav") is None, "another song may come under its name"
        list(scanner.scan())
    (spool.inbox / "song.wav").write_bytes(b"another recording")
    scanner.decide(spool.inbox / "other.wav", Intent.CANCEL)
    assert scanner.intent(spool.inbox / "song.wav") is None
    assert intents.read(scanner._intents_file) == {"other.wav": Intent.CANCEL}


def test_why_something_is_kept_back_is_told_after_a_drain_too(site, spool, scanner, told):
    admission = Admission(site.board, [scanner], Mock(), site.sealer, Mock(at_door=lambda user: FULL_QUOTA))
    (spool.inbox / "song.wav").write_bytes(b"recording")

    def looked(takes):
        scanner.look_again()
        scanner._not_before = 0.0
        admission.take_in(math.inf, takes)
        return scanner.counts["kept"]

    eventually(lambda: looked(False), 5)
    assert told == []
    for _ in range(2):
        assert looked(True)
    assert [(line["event"], line["code"]) for line in told] == [("kept_back", "STEMD-P005")]
