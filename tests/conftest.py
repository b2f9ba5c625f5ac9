"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job; what tests start must hear Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in the workers; torch reads both when it is imported
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from hypothesis import HealthCheck, settings

from tests.support.audio import write_wav
from tests.support.spools import make_spool
from tests.support.system import no_other_oom

#: The same examples for the same code, however long a busy machine takes for one.
settings.register_profile("stemd", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("stemd")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadgroup``: the tests in booted machines are one worker's, every other goes to who is free.

    (xdist's own marks for that, ``xdist_group``, have no effect with pytest 9: it reads node ids where none are now.)
    """
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "machine" if nodeid.startswith("tests/system/") else nodeid

    return Scheduling(config, log)


@pytest.fixture
def spool(tmp_path: Path):
    """A prepared, empty spool."""
    return make_spool(tmp_path / "spool")


@pytest.fixture
def alone_with_oom() -> Iterator[None]:
    """For who kills workers and asks why they ended, and for who lets the kernel do it."""
    with no_other_oom():
        yield


@pytest.fixture
def song(tmp_path: Path) -> Path:
    """Two seconds of stereo sound as a 24-bit wav."""
    return write_wav(tmp_path / "song.wav", seconds=2.0)
