"""The order of the system calls: what each rule finds in real runs (nothing), and what it finds where it is broken."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from stemd.spool.layout import Spool
from tests.crash import trace_rules
from tests.crash.disk_model import Disk
from tests.crash.scenarios import EXTRA, SOURCE
from tests.crash.test_states import needs_strace, trace
from tests.crash.trace import (
    Copy,
    Failed,
    Fsync,
    Link,
    Mark,
    Mkdir,
    Open,
    Operation,
    Rename,
    Rmdir,
    Truncate,
    UnknownCallError,
    Unlink,
    Write,
    record,
)
from tests.support.spools import make_spool, violations

RULES = (trace_rules.replacing, trace_rules.retired_early, trace_rules.published_unflushed, trace_rules.strays)
PUBLISHED = Rename("work/J/out.partial", "outbox/u/T", noreplace=True)


def broken(operations: list[Operation]) -> list[str]:
    return [fault for rule in RULES for fault in rule(operations)]


def opened(path: str, *flags: str) -> Open:
    return Open(path, path, frozenset(flags))


@needs_strace
@pytest.mark.parametrize("keep", ["keep", "delete"])
@pytest.mark.parametrize("arrival", ["drop", "drop_staged"])
@pytest.mark.parametrize("scenario", ["whole", "failing_late", "retried", "whole@P2"])
def test_every_run_keeps_the_rules(tmp_path, monkeypatch, tally, arrival, scenario, keep):
    monkeypatch.setitem(EXTRA, "defaults.source", keep)
    _, operations = trace(tmp_path / "spool", arrival, scenario)
    tally("order of system calls", runs=1, calls=len(operations))
    assert Mark("end") in operations
    assert broken(operations) == []


@needs_strace
def test_nothing_that_could_not_be_flushed_is_published(tmp_path, tally):
    _, clean = trace(tmp_path / "clean", "drop", "whole")
    flushed = [operation.path for operation in clean if isinstance(operation, Fsync)]
    ours = [number for number, path in enumerate(flushed, 1) if "/out.partial" in path and "source" not in path]
    assert len(ours) > 10
    for number in ours:
        root = tmp_path / str(number)
        _, operations = trace(root, "drop", "whole", inject=f"fsync:error=EIO:when={number}")
        tally("failed flushes", flushes=1)
        assert any(isinstance(operation, Failed) for operation in operations)
        assert broken(operations) == [], f"flush {number}, of {flushed[number - 1]}"
        assert violations(Spool(root), [SOURCE]) == []


@needs_strace
def test_a_failure_is_flushed_where_it_came_from_and_where_it_went(tmp_path):
    _, operations = trace(tmp_path / "spool", "drop", "failing")
    at = next(
        index
        for index, each in enumerate(operations)
        if isinstance(each, Rename) and each.source.startswith("work/") and each.target.startswith("orphan/")
    )
    rename = operations[at]
    flushed = [each.path for each in operations[at:] if isinstance(each, Fsync)]
    assert str(Path(rename.target).parent) in flushed


@needs_strace
def test_a_copy_that_takes_a_source_s_place_is_there_for_good_before_it_is_written_down(tmp_path):
    _, operations = trace(tmp_path / "spool", "drop_linked", "whole")
    kinds = [
        "copy" if isinstance(each, Rename) and each.source.endswith("/private")
        else "flush" if isinstance(each, Fsync) and each.path.endswith("/src")
        else "job" if isinstance(each, Rename) and each.target.endswith("/job.json")
        else ""
        for each in operations
    ]  # fmt: skip
    after = kinds[kinds.index("copy") :]
    assert after.index("flush") < after.index("job")


@needs_strace
@pytest.mark.parametrize("link", ["s.wav", "job.yaml", "sub"])
def test_a_link_that_was_dropped_is_not_followed(tmp_path, link):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "s.wav").write_bytes(SOURCE)
    (outside / "job.yaml").write_text("input: s.wav\n")
    spool = make_spool(tmp_path / "spool")
    staged = spool.inbox / "staged"
    staged.mkdir()
    (staged / link).symlink_to(outside if link == "sub" else outside / link)
    if link == "s.wav":
        (staged / "job.yaml").write_text("input: s.wav\n")
    elif link == "sub":
        (staged / "job.yaml").write_text("input: sub/s.wav\n")
    else:
        (staged / "s.wav").write_bytes(SOURCE)
    command = [sys.executable, "-B", "-m", "tests.crash.run_scenario", str(spool.root), "nothing", "refused"]
    operations = record(command, spool.root, tmp_path / "strace")
    assert len(list(spool.orphan.glob("*/*/error.json"))) == 1
    assert broken(operations) == []


@needs_strace
def test_a_link_that_is_followed_is_seen(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_text("secret")
    (root / "link").symlink_to(tmp_path / "secret")
    program = f"open({str(root / 'link')!r}).read(); open({str(tmp_path / 'other')!r}, 'w')"
    operations = record([sys.executable, "-IBS", "-c", program], root, tmp_path / "strace")
    assert trace_rules.strays(operations) == [
        f"I11: link led to {tmp_path / 'secret'}",
        f"I11: {tmp_path / 'other'} was opened for writing",
    ]


@needs_strace
def test_a_rename_by_link_and_unlink_that_cannot_be_flushed_is_taken_back(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").write_bytes(SOURCE)
    names = f"Path({str(root / 'a')!r}), Path({str(root / 'b')!r})"
    program = f"from pathlib import Path; from stemd.spool import durable; durable.rename({names})"
    command = [sys.executable, "-B", "-c", program]
    operations = record(command, root, tmp_path / "log", inject="renameat2,fsync:error=EINVAL")
    changes = [operation for operation in operations if not isinstance(operation, Open)]
    assert changes == [Link("a", "b"), Failed("fsync", "."), Unlink("b")]
    assert (root / "a").read_bytes() == SOURCE


def test_a_rename_that_could_replace_is_seen():
    assert trace_rules.replacing([Rename("work/J/.job.json.tmp", "work/J/job.json", noreplace=False)]) == []
    assert trace_rules.replacing([Rename("work/J/private", "work/J/src/s.wav", noreplace=False)]) == []
    assert trace_rules.replacing([Rename("inbox/s.wav", "work/J/src/s.wav", noreplace=False)]) != []
    assert trace_rules.replacing([Rename("work/J/.a.tmp", "work/J/b", noreplace=False)]) != []
    assert trace_rules.replacing([Rename("work/J/out.partial", "outbox/u/T", noreplace=False)]) != []


def test_what_is_retired_early_is_seen():
    claim = Rename("inbox/s.wav", "work/J/src/s.wav", noreplace=True)
    gone = Unlink("work/J/src/s.wav")
    flush = Fsync("outbox/u")
    assert trace_rules.retired_early([claim, PUBLISHED, flush, gone, Rmdir("work/J")]) == []
    assert trace_rules.retired_early([Rmdir("work/J")]) == [], "a husk"
    assert trace_rules.retired_early([claim, gone]) != []
    assert trace_rules.retired_early([claim, PUBLISHED, gone]) != []
    assert trace_rules.retired_early([claim, flush, PUBLISHED, gone]) != []
    assert trace_rules.retired_early([claim, PUBLISHED, Failed("fsync", "outbox/u"), gone]) != []
    assert trace_rules.retired_early([claim, PUBLISHED, Unlink("work/J/attempts")]) != []
    assert trace_rules.retired_early([claim, Rmdir("work/J")]) != []
    kept = Rename("work/J/src", "work/J/out.partial/source", noreplace=True)
    assert trace_rules.retired_early([claim, kept, Unlink("work/J/out.partial/source/s.wav")]) != []


def test_what_was_published_after_a_failure_is_seen():
    stem = "work/J/out.partial/vocals.flac"
    failed = Failed("fsync", stem)
    anew = [opened(stem, "O_WRONLY", "O_CREAT", "O_TRUNC"), Write(stem, 0, b"x"), Fsync(stem)]
    assert trace_rules.published_unflushed([failed, PUBLISHED]) != []
    assert trace_rules.published_unflushed([failed, Fsync(stem)]) != []
    assert trace_rules.published_unflushed([failed, Rename(stem, f"{stem}.2", noreplace=True), PUBLISHED]) != []
    assert trace_rules.published_unflushed([failed, *anew, PUBLISHED]) == []
    assert trace_rules.published_unflushed([failed, Unlink(stem), PUBLISHED]) == []
    folder = [opened(stem), Failed("fsync", "work/J/out.partial"), PUBLISHED]
    assert trace_rules.published_unflushed(folder) == [], "a folder may be flushed again"


def test_what_strays_is_seen():
    assert trace_rules.strays([opened("/etc/passwd", "O_RDONLY"), opened("/dev/null", "O_WRONLY")]) == []
    assert trace_rules.strays([opened("/etc/passwd", "O_WRONLY")]) != []
    assert trace_rules.strays([Open("inbox/a", "/etc/passwd", frozenset({"O_RDONLY"}))]) != []
    write = opened("work/J/src/s.wav", "O_RDWR")
    assert trace_rules.strays([write, Mark("arrived")]) == [], "the dropper's own"
    assert trace_rules.strays([Mark("arrived"), write]) != []
    assert trace_rules.strays([Mark("arrived"), Write("work/J/out.partial/source/s.wav", 0, b"x")]) != []


@needs_strace
@pytest.mark.parametrize(
    ("why", "program"),
    [
        ("nobody opened", "os.write(os.dup(os.open(a, os.O_CREAT | os.O_RDWR)), b'x')"),
        ("without a name", "os.open(os.path.dirname(a), os.O_TMPFILE | os.O_RDWR)"),
        ("fallocate", "os.posix_fallocate(os.open(a, os.O_CREAT | os.O_RDWR), 0, 9)"),
        ("out of the root", "os.close(os.open(a, os.O_CREAT)); os.rename(a, os.path.dirname(a) + '2')"),
        ("through memory", "import mmap; d = os.open(a, os.O_CREAT | os.O_RDWR); os.ftruncate(d, 9); mmap.mmap(d, 9)"),
    ],
)
def test_a_call_that_is_not_understood_is_an_error(tmp_path, why, program):
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(UnknownCallError, match=why):
        record([sys.executable, "-IBS", "-c", f"import os; a = {str(root / 'a')!r}; {program}"], root, tmp_path / "log")


_PROGRAM = """
import os, shutil, sys
name = sys.argv[1]
os.mkdir(name)
with open(name + '/a', 'wb') as file:
    file.write(b'0123456789'); file.flush()
    file.seek(3); file.write(b'x'); file.flush()
    os.pwrite(file.fileno(), b'y', 1)
    os.ftruncate(file.fileno(), 5)
with open(name + '/a', 'ab') as file:
    file.write(b'tail'); file.flush()
    os.fsync(file.fileno())
shutil.copyfile(name + '/a', name + '/b')
folder = os.open(name, os.O_RDONLY)
os.link('a', 'c', src_dir_fd=folder, dst_dir_fd=folder)
os.rename('b', 'd', src_dir_fd=folder, dst_dir_fd=folder)
os.fsync(folder)
shutil.rmtree(name)
"""


@needs_strace
def test_each_call_is_read_back_as_it_was_made(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    odd = os.fsdecode(b'\xff "quoted",\n \xc3\x98')
    operations = record([sys.executable, "-IBS", "-c", _PROGRAM, str(root / odd)], root, tmp_path / "log")
    changes = [operation for operation in operations if not isinstance(operation, Open)]
    assert changes[:11] == [
        Mkdir(odd),
        Write(f"{odd}/a", 0, b"0123456789"),
        Write(f"{odd}/a", 3, b"x"),
        Write(f"{odd}/a", 1, b"y"),
        Truncate(f"{odd}/a", 5),
        Write(f"{odd}/a", None, b"tail"),
        Fsync(f"{odd}/a"),
        Copy(f"{odd}/b", 0, f"{odd}/a", 0, 9),
        Link(f"{odd}/a", f"{odd}/c"),
        Rename(f"{odd}/b", f"{odd}/d", noreplace=False),
        Fsync(odd),
    ]
    assert {operation.path for operation in changes[11:]} == {f"{odd}/a", f"{odd}/c", f"{odd}/d", odd}
    assert changes[-1] == Rmdir(odd)
    disk = Disk()
    for operation in operations[: operations.index(changes[11])]:
        disk.apply(operation)
    assert {path: data for path, _, data in disk.now() if data} == dict.fromkeys(
        (f"{odd}/a", f"{odd}/c", f"{odd}/d"), b"0y2x4tail"
    )
