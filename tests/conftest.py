"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in the workers; torch reads it when it is imported

from tests.support.audio import write_wav
from tests.support.spools import make_spool


@pytest.fixture
def spool(tmp_path: Path):
    """A prepared, empty spool."""
    return make_spool(tmp_path / "spool")


@pytest.fixture
def song(tmp_path: Path) -> Path:
    """Two seconds of stereo sound as a 24-bit wav."""
    return write_wav(tmp_path / "song.wav", seconds=2.0)
