"""One spool's inboxes, looked at for real: what is yielded when, what is refused, and what is said about the rest."""

import os
import time
from types import SimpleNamespace

import pytest

from stemd.core.config import load
from stemd.core.errors import StemdError
from stemd.daemon.dispatcher import Dispatcher
from stemd.daemon.scanner import Scanner, door_names
from stemd.spool import intake, probes
from stemd.spool.intake import Candidate, Refusal
from tests.support.daemon import eventually


@pytest.fixture
def scanner(spool):
    flags = {"spool": str(spool.root), "users.ana": {}, "defaults.settle": "100ms", "defaults.settle_unprobed": "200ms"}
    config = load(None, flags, {}).config
    probes.prepare(spool, door_names(config))
    scanner = Scanner(spool, config, lambda: None)
    yield scanner
    scanner.stop()


def scan(scanner, seconds=0.0):
    """Scan until ``seconds`` are over; everything that was yielded."""
    found = list(scanner.scan())
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.05)
        found += scanner.scan()
    return found


def test_a_copied_file_is_yielded_once_it_has_settled(scanner, spool):
    path = spool.inbox / "song.wav"
    path.write_bytes(b"recording")
    assert scan(scanner) == []
    assert "settling" in scanner.why(path)
    assert not scanner.idle
    time.sleep(0.15)
    (found,) = scanner.scan()
    assert isinstance(found, Candidate)
    assert (found.path, found.door.name) == (path, None)


def test_a_file_moved_in_is_yielded_at_once(scanner, spool, tmp_path):
    path = tmp_path / "song.wav"
    path.write_bytes(b"recording")
    path.rename(spool.inbox / "ana" / "song.wav")
    deadline = time.monotonic() + 5
    while not scanner.watcher.arrivals() and time.monotonic() < deadline:
        time.sleep(0.01)
    (found,) = scanner.scan()
    assert (found.path, found.door.name) == (spool.inbox / "ana" / "song.wav", "ana")


def test_an_open_file_is_not_yielded(scanner, spool):
    with (spool.inbox / "song.wav").open("wb") as file:
        file.write(b"half")
        file.flush()
        assert scan(scanner, 0.4) == []
        assert scanner.why(spool.inbox / "song.wav") == "still open for writing"
    assert [found.path.name for found in eventually(lambda: scan(scanner))] == ["song.wav"]


def test_a_file_is_not_yielded_before_its_description_is_whole(scanner, spool):
    with (spool.inbox / "song.wav.job.yaml").open("w") as description:
        description.write("stems: 2\n")
        description.flush()
        (spool.inbox / "song.wav").write_bytes(b"recording")
        (spool.inbox / "other.wav").write_bytes(b"recording")
        assert {found.path.name for found in scan(scanner, 0.6)} == {"other.wav"}
        assert scanner.why(spool.inbox / "song.wav") == "still open for writing"
        description.write("output: {format: wav}\n")
    (spool.inbox / "other.wav").unlink()
    (found,) = eventually(lambda: scan(scanner))
    assert found.sidecar.read_text() == "stems: 2\noutput: {format: wav}\n"


def test_a_refusal_is_told_once_and_remembered(scanner, spool):
    path = spool.inbox / "link.wav"
    path.symlink_to("/etc/passwd")
    (found,) = scan(scanner)
    assert isinstance(found, Refusal)
    assert scan(scanner) == []
    with pytest.raises(StemdError) as caught:
        scanner.why(path)
    assert caught.value.code == "STEMD-S007"
    assert scanner.counts == {"settling": 0, "refused": 1, "kept": 0}
    eventually(lambda: not scan(scanner) and scanner.idle, 5)
    path.unlink()
    scan(scanner)
    assert scanner.counts["refused"] == 0


def test_every_entry_has_an_explanation(scanner, spool):
    (spool.inbox / "song.wav.part").write_bytes(b"x")
    (spool.inbox / "song.wav.job.yaml").write_text("stems: 2\n")
    for name, code in {"song.wav.part": "STEMD-S009", "absent.wav": "STEMD-S018"}.items():
        with pytest.raises(StemdError) as caught:
            scanner.why(spool.inbox / name)
        assert caught.value.code == code
    assert "recording it belongs to" in scanner.why(spool.inbox / "song.wav.job.yaml")
    with pytest.raises(StemdError) as caught:
        scanner.why(spool.outbox / "song.wav")
    assert caught.value.code == "STEMD-S018"


def test_what_disappears_while_it_settles_is_forgotten(scanner, spool):
    path = spool.inbox / "song.wav"
    path.write_bytes(b"recording")
    scan(scanner)
    path.unlink()
    eventually(lambda: not scan(scanner) and scanner.idle, 5)  # events may come late: each makes it look once more
    assert scanner.watcher.arrivals() == {}


def test_names_that_are_no_text_are_yielded_like_any_other(scanner, spool):
    name = os.fsdecode(b"\xff\n.wav")
    (spool.inbox / name).write_bytes(b"recording")
    assert [found.path.name for found in eventually(lambda: scan(scanner))] == [name]


def test_looking_takes_a_bounded_share_of_the_time(scanner, spool, monkeypatch):
    really, clock = intake.look, SimpleNamespace(now=1000.0)

    def look(*arguments):
        clock.now += 0.01
        return really(*arguments)

    monkeypatch.setattr(intake, "look", look)
    monkeypatch.setattr("stemd.daemon.scanner.time", SimpleNamespace(monotonic=lambda: clock.now, time=time.time))
    for number in range(300):
        (spool.inbox / f"{number}.wav").write_bytes(b"x")
    list(scanner.scan())
    assert clock.now == pytest.approx(1003.0)
    scanner._moved()
    assert scanner.due() == pytest.approx(1003.0 + 4 * 3.0), "a fifth of the time at most"


def test_what_a_turn_has_no_time_for_comes_with_the_next(scanner, spool, monkeypatch):
    monkeypatch.setattr("stemd.daemon.scanner._TURN", 0.0)
    names = {f"{number}.wav" for number in range(20)}
    for name in names:
        (spool.inbox / name).write_bytes(name.encode())
    assert scan(scanner) == []
    time.sleep(0.15)
    found = []
    for number in range(len(names)):
        assert number == 0 or scanner.due() == 0.0, "the rest comes at once"
        (candidate,) = scanner.scan()
        candidate.path.unlink()
        found.append(candidate.path.name)
    assert set(found) == names
    eventually(lambda: not scan(scanner) and scanner.idle, 5)


def test_an_entry_that_changed_since_the_look_settles_anew(scanner, spool, monkeypatch):
    monkeypatch.setattr("stemd.daemon.scanner._TURN", 0.0)
    paths = [spool.inbox / name for name in ("a.wav", "b.wav")]
    for path in paths:
        path.write_bytes(b"half")
    assert scan(scanner) == []
    time.sleep(0.15)
    (first,) = scanner.scan()
    (other,) = set(paths) - {first.path}
    with other.open("ab") as file:
        file.write(b"the rest")
    assert list(scanner.scan()) == []
    assert not scanner.idle
    first.path.unlink()
    (found,) = eventually(lambda: scan(scanner))
    assert (found.path, found.fingerprint[1]) == (other, len(b"half") + len(b"the rest"))


@pytest.mark.parametrize(("reason", "soon"), [("held back", False), (StemdError("STEMD-R006"), True)])
def test_what_a_person_keeps_is_not_looked_at_again_every_few_seconds(scanner, spool, reason, soon):
    (spool.inbox / "song.wav").write_bytes(b"recording")

    def kept():
        for found in scanner.scan():
            scanner.keep(found.path, reason)
        return scanner.counts["kept"] and not scanner._dirty

    eventually(kept, 5)
    wait = scanner.due() - time.monotonic()
    assert (wait < 6) is soon
    assert 1 < wait < 61
    scanner.look_again()
    assert scanner.due() < time.monotonic() + 1, "it is over when it is said"


def test_the_entries_of_a_turn_are_counted_once(site, scanner, monkeypatch):
    real, counted = Scanner.counts.fget, []
    monkeypatch.setattr(Scanner, "counts", property(lambda self: counted.append(self) or real(self)))
    dispatcher = Dispatcher(site.board, [scanner], site.runs.pool, site.runs, lambda: None)
    dispatcher._count()
    assert counted == [scanner]
    for part in (dispatcher.prober, dispatcher.quotas, dispatcher.sealer):
        part.close()
