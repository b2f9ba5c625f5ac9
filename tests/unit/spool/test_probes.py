"""Start-up checks on real folders, mounts and locks."""

import errno
import gc
import json
import os
import subprocess
import sys
import uuid
from datetime import datetime
from pathlib import Path

import pytest

from stemd.core.errors import Exit, StemdError
from stemd.spool import durable, probes
from stemd.spool.layout import AREAS, Spool
from tests.support.spools import make_spool
from tests.support.system import NOBODY, dead_share, fill, in_child, mounted, needs_root, tiny_disk

MARKER = ".stemd-spool"

_HOLDER = """
import sys
from pathlib import Path
from stemd.spool import probes
from stemd.spool.layout import Spool
probes.take_lock(Spool(Path(sys.argv[1])))
print("owned", flush=True)
sys.stdin.readline()
"""


def code(function, *args):
    with pytest.raises(StemdError) as caught:
        function(*args)
    return caught.value.code


def everything(spool):
    return sorted(str(path.relative_to(spool.root)) for path in spool.root.rglob("*"))


@pytest.fixture
def bare(tmp_path):
    """A spool that is about to be born: somebody has made its inbox."""
    spool = Spool(tmp_path / "spool")
    spool.inbox.mkdir(parents=True)
    return spool


def test_the_areas_are_made_and_only_the_service_enters_work(bare):
    probes.prepare(bare, ("ana",))
    assert everything(bare) == sorted([*AREAS, MARKER, "inbox/ana"])
    assert bare.work.stat().st_mode & 0o777 == 0o700
    (bare.inbox / "song.wav").write_bytes(b"x")
    probes.prepare(bare, ("ana",))
    assert (bare.inbox / "song.wav").read_bytes() == b"x"


def test_the_marker_is_written_once(bare):
    probes.prepare(bare, ())
    marker = json.loads(bare.marker.read_text())
    assert marker["schema_version"] == 1
    assert uuid.UUID(marker["id"])
    assert datetime.fromisoformat(marker["created_at"]).tzinfo
    probes.prepare(bare, ())
    assert json.loads(bare.marker.read_text()) == marker


def test_of_two_who_mark_a_spool_at_once_one_wins(bare, monkeypatch):
    others = b'{"id": "the other\'s"}'
    before = probes._write_probe

    def late(folder, content):
        probe = before(folder, content)
        bare.marker.write_bytes(others)
        return probe

    monkeypatch.setattr(probes, "_write_probe", late)
    probes.prepare(bare, ())
    assert bare.marker.read_bytes() == others
    assert everything(bare) == sorted([*AREAS, MARKER])


def test_a_root_that_is_not_mounted_is_left_alone(bare):
    bare.inbox.rmdir()
    for function in (probes.present, lambda spool: probes.prepare(spool, ("ana",))):
        assert code(function, bare) == "STEMD-S019"
    (bare.root / "lost+found").mkdir()
    assert code(probes.present, bare) == "STEMD-S019", "a fresh file system is no spool either"
    (bare.root / "lost+found").rmdir()
    assert everything(bare) == []


def test_a_marked_spool_whose_inbox_is_gone_is_there(spool):
    spool.inbox.rmdir()
    probes.present(spool)
    probes.prepare(spool, ())
    assert spool.inbox.is_dir()


def test_a_spool_that_is_another_has_vanished(spool, tmp_path):
    before = probes.identity(spool)
    assert before is not None
    probes.still_there(spool, before)
    spool.root.rename(tmp_path / "away")
    assert code(probes.still_there, spool, before) == "STEMD-S020"
    spool.root.mkdir()
    assert code(probes.still_there, spool, before) == "STEMD-S020"
    make_spool(spool.root)
    assert code(probes.still_there, spool, before) == "STEMD-S020", "a spool, but not this one"
    assert code(probes.still_there, spool, None) == "STEMD-S020", "it was gone before anybody looked"


@needs_root
def test_a_mount_over_the_root_has_replaced_the_spool(spool, tmp_path):
    other = make_spool(tmp_path / "other")
    before = probes.identity(spool)
    with mounted("--bind", other.root, spool.root):
        assert code(probes.still_there, spool, before) == "STEMD-S020"
    probes.still_there(spool, before)


def test_of_several_doors_all_are_made_or_none(spool):
    (spool.inbox / "cy").write_bytes(b"a file of that name")
    (spool.inbox / "old").mkdir()
    assert code(probes.prepare, spool, ("ana", "ben", "old", "cy")) == "STEMD-S003"
    assert sorted(path.name for path in spool.inbox.iterdir()) == ["cy", "old"]


def test_a_new_door_lets_in_who_the_inbox_lets_in(tmp_path):
    spool = make_spool(tmp_path)
    spool.inbox.chmod(0o2775)
    probes.prepare(spool, ("ana",))
    assert (spool.inbox / "ana").stat().st_mode & 0o7777 == 0o2775


def test_the_root_itself_is_never_made(tmp_path):
    assert code(probes.prepare, Spool(tmp_path / "not mounted"), ()) == "STEMD-S005"
    assert not (tmp_path / "not mounted").exists()


@needs_root
def test_a_mount_whose_server_died_is_tried_again_later(spool):
    """The daemon that saw it die stopped; the next one must not take it for a fault of the configuration."""
    with dead_share(spool.root):
        with pytest.raises(OSError, match="not connected"):
            spool.root.stat()
        for function in (probes.present, lambda spool: probes.prepare(spool, ("ana",))):
            with pytest.raises(StemdError, match="not connected") as caught:
                function(spool)
            assert (caught.value.code, caught.value.spec.exit) == ("STEMD-S005", Exit.TRY_LATER)
            assert f"umount -l {spool.root}" in caught.value.remedy
    probes.prepare(spool, ())


def refusing(monkeypatch, owner, name, number, where):
    """Have a call fail with this error wherever ``where`` says so of its first argument."""
    real = getattr(owner, name)

    def call(path, *args, **kwargs):
        if where(path):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(owner, name, call)


AWAY = ("ENOTCONN", "ESTALE", "EIO", "EHOSTDOWN", "EHOSTUNREACH", "ETIMEDOUT", "EREMOTEIO", "ECONNABORTED", "ENODEV")


@pytest.mark.parametrize("name", AWAY)
def test_what_the_system_says_of_a_share_that_is_away_is_tried_again_later(spool, monkeypatch, name):
    number = getattr(errno, name)
    refusing(monkeypatch, Path, "stat", number, lambda path: path == spool.root)
    with pytest.raises(StemdError) as caught:
        probes.prepare(spool, ())
    assert (caught.value.code, caught.value.spec.exit) == ("STEMD-S005", Exit.TRY_LATER)


WHY = [
    ("EACCES", "STEMD-S003"), ("EPERM", "STEMD-S003"), ("EROFS", "STEMD-S003"),
    ("ENOSYS", "STEMD-S004"), ("EINVAL", "STEMD-S004"), ("EOPNOTSUPP", "STEMD-S004"),
    ("ENOSPC", "STEMD-R003"), ("EDQUOT", "STEMD-R003"),
    ("ENOTCONN", "STEMD-S005"), ("EHOSTDOWN", "STEMD-S005"), ("ESTALE", "STEMD-S005"),
    ("EIO", "STEMD-S014"), ("EUCLEAN", "STEMD-S014"), ("EMFILE", "STEMD-S014"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "expected"), WHY)
@pytest.mark.parametrize("call", ["mkdir", "open", "fsync", "renameat2"])
def test_only_what_a_person_must_mend_ends_the_service_for_good(spool, monkeypatch, call, name, expected):
    """Whichever call of the checks the disk refuses; systemd starts the service again unless it ended with 78."""
    number = getattr(errno, name)
    is_probe = lambda path: ".stemd-probe-" in str(path)  # noqa: E731
    match call:
        case "mkdir":
            refusing(monkeypatch, Path, "mkdir", number, is_probe)
        case "open":
            refusing(monkeypatch, Path, "open", number, is_probe)
        case "fsync":
            refusing(monkeypatch, durable.os, "fsync", number, lambda descriptor: True)
        case "renameat2":
            refusing(monkeypatch, durable, "_rename_without_flag", number, is_probe)
            monkeypatch.setattr(durable._libc, "renameat2", lambda *_: -1)
            monkeypatch.setattr(durable.ctypes, "get_errno", lambda: errno.ENOSYS)
    with pytest.raises(StemdError) as caught:
        probes.check(spool)
    assert caught.value.code == expected
    ends_for_good = expected in {"STEMD-S003", "STEMD-S004"}
    assert (caught.value.spec.exit == Exit.BAD_CONFIG) is ends_for_good


REFUSALS = [("EACCES", "STEMD-S003"), ("EIO", "STEMD-S014"), ("ENOSPC", "STEMD-R003")]


@pytest.mark.parametrize(("name", "expected"), REFUSALS)
def test_an_area_that_cannot_be_made_says_why(bare, monkeypatch, name, expected):
    refusing(monkeypatch, Path, "mkdir", getattr(errno, name), lambda path: path == bare.outbox)
    assert code(probes.prepare, bare, ()) == expected


@pytest.mark.parametrize(("name", "expected"), WHY)
@pytest.mark.parametrize("call", ["open", "pwrite"])
def test_so_does_a_lock_that_cannot_be_taken_and_no_descriptor_is_left(spool, monkeypatch, call, name, expected):
    gc.collect()  # what earlier tests left is closed now, not in between
    before = len(list(Path("/proc/self/fd").iterdir()))
    first = lambda given: call == "pwrite" or given == spool.lock  # noqa: E731
    refusing(monkeypatch, probes.os, call, getattr(errno, name), first)
    assert code(probes.take_lock, spool) == expected
    monkeypatch.undo()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert probes.owner(spool) is None


def test_a_folder_where_the_lock_belongs(spool):
    spool.lock.mkdir()
    with pytest.raises(StemdError, match=str(spool.lock)) as caught:
        probes.take_lock(spool)
    assert caught.value.code == "STEMD-S003"


def test_a_file_where_an_area_belongs(tmp_path):
    (tmp_path / "outbox").write_text("x")
    (tmp_path / "inbox").mkdir()
    assert code(probes.prepare, Spool(tmp_path), ()) == "STEMD-S003"


def test_a_good_spool_passes_and_keeps_no_trace(spool):
    before = everything(spool)
    probes.check(spool)
    assert everything(spool) == before


@pytest.mark.parametrize("area", AREAS)
def test_what_an_aborted_check_left_is_cleared_away(spool, area):
    (spool.root / area / f".stemd-probe-{'01234567' * 2}").write_bytes(b"x")
    (spool.root / area / f".stemd-probe-{'01234567' * 2}.2").write_bytes(b"x")
    (spool.root / area / f".stemd-probe-{'89abcdef' * 2}").mkdir()
    (spool.root / f".stemd-probe-{'0000ffff' * 2}").write_bytes(b"x")
    probes.check(spool)
    assert everything(spool) == sorted([*AREAS, MARKER])


def test_a_strangers_things_of_such_a_name_neither_go_nor_stop_the_check(spool, tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (spool.inbox / ".stemd-probe-full").mkdir()
    (spool.inbox / ".stemd-probe-full" / "x").write_bytes(b"x")
    (spool.inbox / ".stemd-probe-link").symlink_to(victim)
    probes.check(spool)
    assert victim.read_bytes() == b"precious"
    assert (spool.inbox / ".stemd-probe-full" / "x").exists()


@needs_root
@pytest.mark.parametrize("area", AREAS)
def test_two_mounts_of_one_file_system_are_noticed(spool, tmp_path, area):
    (tmp_path / "elsewhere").mkdir()
    with mounted("--bind", tmp_path / "elsewhere", spool.root / area):
        assert (spool.root / area).stat().st_dev == spool.root.stat().st_dev, "equal devices prove nothing"
        assert code(probes.check, spool) == "STEMD-S002"


@needs_root
@pytest.mark.parametrize("area", AREAS)
def test_a_folder_without_write_permission_is_noticed_as_the_services_user(public_path, area):
    spool = make_spool(public_path / "spool")
    for folder in (spool.root, *spool.root.iterdir()):
        os.chown(folder, NOBODY, NOBODY)
    assert in_child(lambda: probes.check(spool), uid=NOBODY) is None
    (spool.root / area).chmod(0o500)
    with pytest.raises(StemdError) as caught:
        in_child(lambda: probes.check(spool), uid=NOBODY)
    assert caught.value.code == "STEMD-S003"
    assert area in caught.value.message


@needs_root
def test_a_read_only_mount_is_noticed(spool):
    with mounted("--bind", "-o", "ro", spool.root, spool.root):
        assert code(probes.check, spool) == "STEMD-S003"
        assert code(probes.take_lock, spool) == "STEMD-S003"


@needs_root
def test_a_root_one_may_not_even_look_at(public_path):
    root = public_path / "closed" / "spool"
    root.mkdir(parents=True)
    root.parent.chmod(0o700)
    with pytest.raises(StemdError) as caught:
        in_child(lambda: probes.prepare(Spool(root), ()), uid=NOBODY)
    assert caught.value.code == "STEMD-S003"


@needs_root
def test_a_full_disk_is_called_full(tmp_path):
    with tiny_disk(tmp_path / "disk", "64k") as disk:
        spool = make_spool(disk / "spool")
        fill(disk)
        assert code(probes.check, spool) == "STEMD-R003"


def test_one_owner_at_a_time(spool):
    assert probes.owner(spool) is None
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(spool.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "owned\n"
    try:
        with pytest.raises(StemdError, match=str(process.pid)) as caught:
            probes.take_lock(spool)
        assert caught.value.code == "STEMD-S001"
        assert probes.owner(spool) == process.pid
    finally:
        process.kill()
        process.communicate()
    assert probes.owner(spool) is None, "a killed owner owns nothing"
    descriptor = probes.take_lock(spool)
    assert probes.owner(spool) == os.getpid()
    os.close(descriptor)


def test_the_lock_is_no_link(spool, tmp_path):
    (tmp_path / "elsewhere").write_text("keep")
    spool.lock.symlink_to(tmp_path / "elsewhere")
    assert code(probes.take_lock, spool) == "STEMD-S003"
    assert (tmp_path / "elsewhere").read_text() == "keep"
