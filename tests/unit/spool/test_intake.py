"""What lies in an inbox: what is watched, what is refused and why, and what makes a look differ from the last."""

import os
import socket

import pytest

from stemd.spool import intake, usage
from stemd.spool.intake import Candidate, Door, Kind, Refusal
from stemd.spool.settle import Arrival, Sighting
from stemd.spool.survey import DEEPEST
from tests.support.system import NOBODY, in_child, needs_root, nested


def look(folder, name="song.wav", arrivals=None):
    """One look at one entry of ``folder``."""
    entry = next(entry for entry in intake.entries(Door(None, folder), ()) if entry.name == name)
    return intake.look(entry, arrivals or {})


def code(found):
    assert isinstance(found, Refusal), found
    return found.error.code


def test_a_recording_is_sighted_with_inode_size_and_times(tmp_path):
    path = tmp_path / "song.wav"
    path.write_bytes(b"recording")
    facts = path.stat()
    found = look(tmp_path)
    expected = (facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
    assert found == Sighting(str(path), (expected, None), Arrival.GROWN)


@pytest.mark.parametrize("name", ["song.wav", f"{'x' * 250}.wav"], ids=["short", "no room for more"])
def test_a_recording_alone_is_all_that_must_be_complete(tmp_path, name):
    (tmp_path / name).write_bytes(b"recording")
    assert intake.belonging(look(tmp_path, name)) == (tmp_path / name,)


def test_its_description_must_be_complete_too(tmp_path):
    for name in ("song.wav", "song.wav.job.yaml", "other.wav.job.yaml", "song.wav.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert intake.belonging(look(tmp_path)) == (tmp_path / "song.wav", tmp_path / "song.wav.job.yaml")
    (tmp_path / "album").mkdir()
    (tmp_path / "album.job.yaml").write_bytes(b"x")
    assert intake.belonging(look(tmp_path, "album")) == (tmp_path / "album",)


def test_how_it_came_is_what_the_watcher_saw(tmp_path):
    path = tmp_path / "song.wav"
    path.write_bytes(b"recording")
    assert look(tmp_path, arrivals={str(path): Arrival.MOVED}).arrival is Arrival.MOVED
    assert look(tmp_path, arrivals={"elsewhere": Arrival.MOVED}).arrival is Arrival.GROWN


@pytest.mark.parametrize("name", [".hidden.wav", "song.wav.part", "@eaDir", "song.wav.job.yaml"])
def test_what_is_left_alone_is_nothing_at_all(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    assert look(tmp_path, name) is None


def test_a_link_is_refused_wherever_it_leads(tmp_path):
    (tmp_path / "real.wav").write_bytes(b"recording")
    for name, target in {"good.wav": "real.wav", "bad.wav": "absent", "up.wav": ".."}.items():
        (tmp_path / name).symlink_to(target)
        assert code(look(tmp_path, name)) == "STEMD-S007"
        assert "symbolic link" in look(tmp_path, name).error.message


def test_pipes_sockets_and_devices_are_refused_without_being_opened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.wav")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.wav")
        for name, kind in {"pipe.wav": "FIFO", "socket.wav": "socket"}.items():
            assert code(look(tmp_path, name)) == "STEMD-S007"
            assert kind in look(tmp_path, name).error.message


@needs_root
def test_a_device_is_refused(tmp_path):
    os.mknod(tmp_path / "null.wav", 0o020666, os.makedev(1, 3))
    assert code(look(tmp_path, "null.wav")) == "STEMD-S007"


def test_other_suffixes_are_refused_and_named(tmp_path):
    (tmp_path / "notes.txt").write_text("take two")
    (tmp_path / "LICENSE").write_text("MIT")
    assert code(look(tmp_path, "notes.txt")) == "STEMD-S009"
    assert ".txt" in look(tmp_path, "notes.txt").error.message
    assert "none" in look(tmp_path, "LICENSE").error.message


@needs_root
def test_what_the_service_may_not_read_is_refused_until_it_may(public_path):
    public_path.chmod(0o777)
    path = public_path / "song.wav"
    path.write_bytes(b"recording")
    path.chmod(0o600)
    assert in_child(lambda: code(look(public_path)), uid=NOBODY) == "STEMD-S006"
    path.chmod(0o604)
    assert in_child(lambda: isinstance(look(public_path), Sighting), uid=NOBODY)
    public_path.chmod(0o755)
    assert in_child(lambda: code(look(public_path)), uid=NOBODY) == "STEMD-S006", "nor what it could not take away"


@needs_root
@pytest.mark.parametrize("mode", [0o700, 0o755, 0o733])
def test_a_folder_must_be_readable_and_be_emptied_by_the_service(public_path, mode):
    folder = public_path / "album"
    folder.mkdir()
    folder.chmod(mode)
    assert in_child(lambda: code(look(public_path, "album")), uid=NOBODY) == "STEMD-S006"


def test_a_sidecar_that_arrives_or_changes_starts_the_settling_anew(tmp_path):
    (tmp_path / "song.wav").write_bytes(b"recording")
    alone = look(tmp_path).fingerprint
    description = tmp_path / "song.wav.job.yaml"
    description.write_text("stems: 2\n")
    together = look(tmp_path).fingerprint
    assert together != alone
    description.write_text("stems: 4\n")
    assert look(tmp_path).fingerprint != together
    description.unlink()
    assert look(tmp_path).fingerprint == alone


def test_a_change_that_keeps_size_and_mtime_is_seen(tmp_path):
    path = tmp_path / "song.wav"
    path.write_bytes(b"recording")
    before, facts = look(tmp_path).fingerprint, path.stat()
    path.write_bytes(b"RECORDING")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert look(tmp_path).fingerprint != before


def test_a_late_file_deep_in_a_tree_is_seen(tmp_path):
    folder = tmp_path / "album" / "cd1"
    folder.mkdir(parents=True)
    (folder / "1.wav").write_bytes(b"one")
    first = look(tmp_path, "album")
    assert first.tree
    assert look(tmp_path, "album").fingerprint == first.fingerprint
    (folder / "2.wav").write_bytes(b"two")
    second = look(tmp_path, "album").fingerprint
    assert second != first.fingerprint
    (folder / "1.wav").write_bytes(b"ONE")
    assert look(tmp_path, "album").fingerprint != second


def test_a_bare_file_takes_its_sidecar_with_it(tmp_path):
    path = tmp_path / "song.wav"
    path.write_bytes(b"recording")
    door = Door(None, tmp_path)
    found = intake.classify(look(tmp_path), door)
    assert found == Candidate(path, door, Kind.FILE, intake.identity(path), None)
    (tmp_path / "song.wav.job.yaml").write_text("stems: 2\n")
    assert intake.classify(look(tmp_path), door).sidecar == tmp_path / "song.wav.job.yaml"


@pytest.mark.parametrize("description", ["job.yaml", "job.json"])
def test_a_folder_with_a_description_is_a_staged_job(tmp_path, description):
    folder = tmp_path / "staged"
    folder.mkdir()
    (folder / description).write_text("{}")
    found = intake.classify(look(tmp_path, "staged"), Door(None, tmp_path))
    assert (found.kind, found.path, found.sidecar) == (Kind.STAGED, folder, None)


def test_a_folder_without_recordings_is_refused(tmp_path):
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "notes.txt").write_text("x")
    assert code(intake.classify(look(tmp_path, "documents"), Door(None, tmp_path))) == "STEMD-S009"


def test_a_folder_with_recordings_and_no_description_is_an_album(tmp_path):
    (tmp_path / "album" / "cd1").mkdir(parents=True)
    (tmp_path / "album" / "cd1" / "song.wav").write_bytes(b"recording")
    found = intake.classify(look(tmp_path, "album"), Door(None, tmp_path))
    assert (found.kind, found.path, found.sidecar) == (Kind.ALBUM, tmp_path / "album", None)


def test_a_door_does_not_show_the_doors_in_it(tmp_path, spool):
    (spool.inbox / "ana").mkdir()
    (spool.inbox / "ana" / "hers.wav").write_bytes(b"x")
    (spool.inbox / "song.wav").write_bytes(b"x")
    doors = intake.doors(spool, frozenset({"ana", "ben"}))
    assert [door.name for door in doors] == [None, "ana", "ben"]
    listed = {door.name: [entry.name for entry in intake.entries(door, doors)] for door in doors}
    assert listed == {None: ["song.wav"], "ana": ["hers.wav"], "ben": []}


@needs_root
def test_a_door_that_may_not_be_entered_stops_nobody_else(public_path):
    closed = public_path / "ana"
    closed.mkdir(mode=0o700)
    assert in_child(lambda: list(intake.entries(Door("ana", closed), ())), uid=NOBODY) == []


def test_names_that_are_no_utf8_are_looked_at_like_any_other(tmp_path):
    name = os.fsdecode(b"\xff\n.wav")
    (tmp_path / name).write_bytes(b"x")
    assert isinstance(look(tmp_path, name), Sighting)


def test_what_vanishes_between_listing_and_look_is_nothing(tmp_path):
    path = tmp_path / "song.wav"
    path.write_bytes(b"x")
    (entry,) = intake.entries(Door(None, tmp_path), ())
    path.unlink()
    assert intake.look(entry, {}) is None


@pytest.mark.parametrize("inside", ["link", "pipe"])
def test_a_staged_job_holds_only_files_and_folders(tmp_path, inside):
    folder = tmp_path / "staged"
    folder.mkdir()
    (folder / "job.yaml").write_text("input: song.wav\n")
    (folder / "song.wav").write_bytes(b"x")
    (folder / "link").symlink_to("/etc/passwd") if inside == "link" else os.mkfifo(folder / "pipe")
    assert code(intake.classify(look(tmp_path, "staged"), Door(None, tmp_path))) == "STEMD-S007"


@pytest.mark.parametrize(("arrival", "taken"), [(Arrival.GROWN, False), (Arrival.MOVED, True)])
def test_a_staged_job_that_grows_waits_for_the_upload_in_it(tmp_path, arrival, taken):
    """A client writes the description first, and goes on tomorrow with what broke off today."""
    folder = tmp_path / "staged"
    folder.mkdir()
    (folder / "job.yaml").write_text("input: song.flac\n")
    (folder / "song.flac.filepart").write_bytes(b"half")
    found = intake.classify(look(tmp_path, "staged", {str(folder): arrival}), Door(None, tmp_path))
    assert isinstance(found, Candidate) is taken
    assert taken or (code(found) == "STEMD-S009" and "song.flac.filepart" in str(found.error))


def test_folders_by_the_thousand_within_one_another_are_refused(tmp_path):
    with nested(tmp_path / "deep"):
        assert code(intake.classify(look(tmp_path, "deep"), Door(None, tmp_path))) == "STEMD-S009"
        assert usage.size_of(tmp_path) == 0
    with nested(tmp_path / "deep", DEEPEST):
        (tmp_path / "deep" / "a" / "song.mp3").write_bytes(b"x")
        assert isinstance(intake.classify(look(tmp_path, "deep"), Door(None, tmp_path)), Candidate)
