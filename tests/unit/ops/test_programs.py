"""A program is judged by its exit status, whatever it leaves in the background."""

import os
import signal
import sys
import tempfile
import time
from contextlib import suppress

import pytest

from stemd.ops.post import NotTakenError
from stemd.ops.programs import run_told
from tests.support.daemon import eventually
from tests.support.system import fill, needs_root, tiny_disk

BODY = b'{"state": "done"}'


@pytest.fixture
def left(tmp_path):
    """The file that takes the numbers of processes left in the background; they end with the test."""
    noted = tmp_path / "left"
    yield noted
    for number in noted.read_text().split() if noted.exists() else ():
        with suppress(ProcessLookupError):
            os.kill(int(number), signal.SIGKILL)


def shell(script, *words):
    return ["sh", "-c", script, "sh", *map(str, words)]


@pytest.mark.parametrize("apart", ["", "setsid "])
def test_what_it_leaves_in_the_background_is_not_waited_for(left, apart):
    started = time.monotonic()
    run_told(shell(f'{apart}sh -c \'echo $$ >"$1"; exec sleep 600\' sh "$1" & exit 0', left), BODY, 60.0)
    assert time.monotonic() - started < 50
    eventually(lambda: left.exists() and left.read_text().strip(), 20)
    os.kill(int(left.read_text()), 0)  # and it goes on


def test_one_that_takes_too_long_is_killed_but_what_is_in_a_session_of_its_own_holds_nothing_up(left):
    script = 'setsid sh -c \'echo $$ >"$1"; exec sleep 600\' sh "$1" & until [ -s "$1" ]; do sleep 0.1; done; sleep 600'
    started = time.monotonic()
    with pytest.raises(NotTakenError, match="it ran longer than 3 s"):
        run_told(shell(script, left), BODY, 3.0)
    assert time.monotonic() - started < 60
    assert left.read_text().strip()


def test_it_may_read_nothing_and_say_much(tmp_path):
    much = "import sys; sys.stderr.write('x' * 5_000_000 + 'the last word'); sys.exit(3)"
    with pytest.raises(NotTakenError, match=r"^exit status 3: x{187}the last word$"):
        run_told([sys.executable, "-c", much], b"a" * 5_000_000, 60.0)
    run_told(shell("exit 0"), b"a" * 5_000_000, 60.0)


@needs_root
def test_a_full_disk_silences_nobody(tmp_path, monkeypatch):
    with tiny_disk(tmp_path / "disk", "64k") as disk:
        fill(disk)
        monkeypatch.setattr(tempfile, "tempdir", str(disk))
        run_told(shell('cat >"$1"', tmp_path / "got"), BODY, 60.0)
        assert (tmp_path / "got").read_bytes() == BODY
        with pytest.raises(NotTakenError, match=r"^exit status 3"):
            run_told(shell("echo no >&2; exit 3"), BODY, 60.0)


def test_it_gets_the_body_and_its_environment(tmp_path):
    run_told(shell('cat >"$1"; echo "$KEY" >>"$1"', tmp_path / "got"), BODY, 60.0, {**os.environ, "KEY": "k"})
    assert (tmp_path / "got").read_bytes() == BODY + b"k\n"


def test_one_that_is_not_there_says_so(tmp_path):
    with pytest.raises(NotTakenError, match="No such file or directory"):
        run_told([str(tmp_path / "none")], BODY, 60.0)
