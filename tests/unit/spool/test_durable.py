"""The file operations the protocol stands on, on the real file system."""

import errno
import os
import stat
from pathlib import Path

import pytest

from stemd.core.errors import StemdError
from stemd.spool import durable, flushes


def test_rename_never_replaces_a_file(tmp_path):
    (tmp_path / "a").write_text("new")
    (tmp_path / "b").write_text("old")
    with pytest.raises(FileExistsError):
        durable.rename(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a").read_text() == "new"
    assert (tmp_path / "b").read_text() == "old"


def test_rename_never_replaces_an_empty_folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(FileExistsError):
        durable.rename(tmp_path / "a", tmp_path / "b")


def test_without_the_kernel_call_it_still_never_replaces(tmp_path):
    (tmp_path / "a").write_text("new")
    (tmp_path / "b").write_text("old")
    (tmp_path / "d").mkdir()
    with pytest.raises(FileExistsError):
        durable._rename_without_flag(tmp_path / "a", tmp_path / "b")
    with pytest.raises(FileExistsError):
        durable._rename_without_flag(tmp_path / "d", tmp_path / "b")
    durable._rename_without_flag(tmp_path / "a", tmp_path / "c")
    assert (tmp_path / "c").read_text() == "new"
    assert not (tmp_path / "a").exists()


def test_a_missing_source_is_an_answer_not_a_fault(tmp_path):
    with pytest.raises(FileNotFoundError):
        durable.rename(tmp_path / "a", tmp_path / "b")


def test_names_are_bytes(tmp_path):
    source = tmp_path / os.fsdecode(b"\xff\n.mp3")
    source.write_text("x")
    durable.rename(source, tmp_path / os.fsdecode(b"\xfe"))
    assert [os.fsencode(path.name) for path in tmp_path.iterdir()] == [b"\xfe"]


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "STEMD-R003"), (errno.EIO, "STEMD-S014")])
def test_disk_errors_have_codes(number, code):
    with pytest.raises(StemdError) as caught, durable.io_errors("write"):
        raise OSError(number, os.strerror(number))
    assert caught.value.code == code


def test_json_survives_and_torn_json_is_nothing(tmp_path):
    path = tmp_path / "x.json"
    durable.write_json(path, {"name": "Ø"})
    assert durable.read_json(path) == {"name": "Ø"}
    path.write_bytes(path.read_bytes()[:-4])
    assert durable.read_json(path) is None
    assert durable.read_json(tmp_path / "absent") is None


def test_removing_a_tree_follows_no_link(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "keep").write_text("x")
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "link").symlink_to(outside)
    (tree / "file").symlink_to(outside / "keep")
    durable.remove_tree(tree)
    assert not tree.exists()
    assert (outside / "keep").read_text() == "x"


def test_a_mode_is_set_only_where_it_changes_something(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    folder.mkdir()
    durable.set_mode(folder, 0o2770)
    assert folder.stat().st_mode & 0o7777 == 0o2770
    monkeypatch.setattr(type(folder), "chmod", None)
    durable.set_mode(folder, 0o2770)


def test_where_the_set_group_id_bit_is_forbidden_the_rest_is_set(tmp_path, monkeypatch):
    """As with ``RestrictSUIDSGID=`` of a service; the real thing is tried in tests/system."""
    real = type(tmp_path).chmod

    def restricted(path, mode):
        if mode & stat.S_ISGID:
            raise PermissionError(errno.EPERM, "not here")
        real(path, mode)

    monkeypatch.setattr(type(tmp_path), "chmod", restricted)
    folder = tmp_path / "folder"
    folder.mkdir()
    durable.set_mode(folder, 0o2770)
    assert folder.stat().st_mode & 0o7777 == 0o770


def test_a_mode_that_cannot_be_set_is_an_error(tmp_path, monkeypatch):
    def refuse(path, mode):
        raise PermissionError(errno.EPERM, "not yours")

    monkeypatch.setattr(type(tmp_path), "chmod", refuse)
    with pytest.raises(PermissionError):
        durable.set_mode(tmp_path, 0o750)


def test_every_flush_is_told_of(tmp_path, monkeypatch):
    told = []
    flushes.listen(lambda seconds, failed: told.append(failed))
    try:
        durable.write(tmp_path / "file", b"x")
        durable.append(tmp_path / "lines", b"x")
        assert told == [False] * 4  # each file, and the folder it is new in

        def refuse(descriptor):
            raise OSError(errno.EIO, "no")

        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(StemdError):
            durable.fsync(tmp_path)
        assert told[4:] == [True]
    finally:
        flushes.listen(None)


def flushed(monkeypatch, base):
    """The names of what is flushed from now on, below ``base``."""
    told, real = [], os.fsync

    def fsync(descriptor):
        told.append(os.path.relpath(Path(f"/proc/self/fd/{descriptor}").readlink(), base))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return told


def test_a_mark_is_on_the_disk_and_may_be_there_already(tmp_path, monkeypatch):
    told = flushed(monkeypatch, tmp_path)
    for _ in range(2):
        durable.mark(tmp_path / "mark")
    assert (tmp_path / "mark").read_bytes() == b""
    assert told == [".", "."]


def test_a_line_that_may_be_lost_is_not_flushed(tmp_path, monkeypatch):
    told, lines = flushed(monkeypatch, tmp_path), tmp_path / "lines"
    durable.append(lines, b"one", flush=False)
    durable.append(lines, b"two", flush=False)
    assert (lines.read_bytes(), told) == (b"one\ntwo\n", [])
    durable.append(lines, b"three")
    assert told == ["lines"]


def test_a_line_that_could_not_be_flushed_is_cut_off_again(tmp_path, monkeypatch):
    lines = tmp_path / "lines"
    durable.append(lines, b"one")
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", failing(errno.EIO))
        with pytest.raises(StemdError, match="append"):
            durable.append(lines, b"two")
    assert lines.read_bytes() == b"one\n"
    durable.append(lines, b"two")
    assert lines.read_bytes() == b"one\ntwo\n"


def test_a_line_of_which_only_a_part_finds_room_is_an_error(tmp_path, monkeypatch):
    lines, write, room = tmp_path / "lines", os.write, [3, 0]

    def nearly_full(descriptor, data):
        if not (size := room.pop(0)):
            raise OSError(errno.ENOSPC, "full")
        return write(descriptor, bytes(data)[:size])

    durable.append(lines, b"one")
    monkeypatch.setattr(os, "write", nearly_full)
    with pytest.raises(StemdError) as caught:
        durable.append(lines, b"second")
    assert caught.value.code == "STEMD-R003"
    assert lines.read_bytes() == b"one\n"


def failing(number):
    def fail(*arguments):
        raise OSError(number, os.strerror(number))

    return fail
