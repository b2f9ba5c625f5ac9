"""The writer probe, with real writers in other processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stemd.spool import lease
from stemd.spool.settle import Writers
from tests.support.system import NOBODY, in_child, needs_root

#: Opens a file for writing, says so, and closes it when told to.
_WRITER = "import sys; file = open(sys.argv[1], 'ab'); print('open', flush=True); sys.stdin.readline()"


@pytest.fixture(autouse=True)
def _signal():
    before = signal.getsignal(signal.SIGIO)
    lease.ignore_lease_signal()
    yield
    signal.signal(signal.SIGIO, before)


@pytest.fixture
def writer():
    """Start a process that holds a file open for writing; ends them all."""
    started = []

    def start(path):
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "open\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def song(public_path):
    path = public_path / "song.wav"
    path.write_bytes(b"recording")
    return path


def test_an_open_writer_is_seen_and_so_is_its_end(song, writer):
    assert lease.writers(song) is Writers.NONE
    process = writer(song)
    assert lease.writers(song) is Writers.SOME
    process.communicate("\n")
    assert lease.writers(song) is Writers.NONE


def test_a_rename_does_not_hide_a_writer(song, writer):
    writer(song)
    moved = song.rename(song.with_name("claimed.wav"))
    assert lease.writers(moved) is Writers.SOME


def test_a_reader_is_no_writer(song):
    with song.open("rb"):
        assert lease.writers(song) is Writers.NONE


def test_one_writer_in_a_tree_is_enough(tmp_path, writer):
    folder = tmp_path / "album" / "cd1"
    folder.mkdir(parents=True)
    for number in range(3):
        (folder / f"{number}.wav").write_bytes(b"x")
    assert lease.writers(tmp_path / "album") is Writers.NONE
    writer(folder / "1.wav")
    assert lease.writers(tmp_path / "album") is Writers.SOME


def test_the_lease_is_given_back_at_once(song):
    patience = int(Path("/proc/sys/fs/lease-break-time").read_text()) / 2  # so long it waits for who keeps a lease
    lease.writers(song)
    started = time.monotonic()
    with song.open("ab") as file:
        file.write(b"more")
    assert time.monotonic() - started < patience, "a writer was kept waiting"


def test_writers_that_open_during_a_lease_do_not_end_the_process(song):
    """Probes against a process that opens the file again and again: some opens fall into a lease and break it."""
    opener = "import sys, os\nwhile True: os.close(os.open(sys.argv[1], os.O_WRONLY))"
    process = subprocess.Popen([sys.executable, "-c", opener, str(song)])

    def probe():
        lease.ignore_lease_signal()
        return len({lease.writers_of_file(song) for _ in range(4000)})

    try:
        assert in_child(probe) >= 1
    finally:
        process.kill()
        process.wait()


def test_without_ignoring_the_signal_it_would():
    """What ``ignore_lease_signal`` is for: the default action of SIGIO ends a process."""

    def unprotected():
        signal.signal(signal.SIGIO, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGIO)

    with pytest.raises(AssertionError, match=f"{-signal.SIGIO}"):
        in_child(unprotected)

    def protected():
        lease.ignore_lease_signal()
        os.kill(os.getpid(), signal.SIGIO)
        return "alive"

    assert in_child(protected) == "alive"


def test_what_is_gone_has_no_writers(tmp_path):
    assert lease.writers(tmp_path / "absent.wav") is Writers.NONE


def test_a_link_and_a_pipe_cannot_be_probed_and_do_not_block(tmp_path, song):
    (tmp_path / "link.wav").symlink_to(song)
    os.mkfifo(tmp_path / "pipe.wav")
    assert lease.writers_of_file(tmp_path / "link.wav") is Writers.UNKNOWN
    assert lease.writers_of_file(tmp_path / "pipe.wav") is Writers.UNKNOWN


@needs_root
def test_a_file_of_somebody_else_cannot_be_probed(song):
    song.chmod(0o644)
    assert in_child(lambda: lease.writers(song).value, uid=NOBODY) == "unknown"


@needs_root
def test_unknown_wins_over_none_in_a_tree(public_path):
    folder = public_path / "album"
    folder.mkdir()
    (folder / "theirs.wav").write_bytes(b"x")
    (folder / "ours.wav").write_bytes(b"x")
    os.chown(folder / "ours.wav", NOBODY, NOBODY)
    (folder / "theirs.wav").chmod(0o644)
    folder.chmod(0o755)
    assert in_child(lambda: lease.writers(folder).value, uid=NOBODY) == "unknown"


def test_proc_is_no_disk(tmp_path):
    assert lease.filesystem_type(tmp_path) not in lease.REMOTE
    assert lease.filesystem_type("/proc") == 0x9FA0
