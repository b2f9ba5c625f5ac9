"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job; what tests start must hear Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in the workers; torch reads it when it is imported

from tests.support.audio import write_wav
from tests.support.spools import make_spool

_TESTS = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before xdist looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts daemons, mounts and shuts down disks runs one after the other, beside all other tests."""
    for item in items:
        if any(item.path.is_relative_to(_TESTS / name) for name in ("process", "crash", "system")):
            item.add_marker(pytest.mark.xdist_group("machine"))


@pytest.fixture
def spool(tmp_path: Path):
    """A prepared, empty spool."""
    return make_spool(tmp_path / "spool")


@pytest.fixture
def song(tmp_path: Path) -> Path:
    """Two seconds of stereo sound as a 24-bit wav."""
    return write_wav(tmp_path / "song.wav", seconds=2.0)
