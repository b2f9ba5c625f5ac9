"""When a job may start although its model is not here."""

import pytest

from stemd.core.config import load
from stemd.core.errors import StemdError
from stemd.daemon.fetching import Fetching

MISSING = StemdError("STEMD-M001", "not here")


def config(tmp_path, **settings):
    return load(
        None, {"spool": str(tmp_path), **{f"models.{key}": value for key, value in settings.items()}}, {}
    ).config


@pytest.fixture(autouse=True)
def online(monkeypatch):
    monkeypatch.delenv("STEMD_OFFLINE", raising=False)


def test_only_what_can_be_fetched_and_may_be(tmp_path, monkeypatch):
    fetching, auto = Fetching(), config(tmp_path)
    assert fetching.allows(MISSING, "htdemucs", auto)
    assert not fetching.allows(StemdError("STEMD-M002"), "htdemucs", auto)
    assert not fetching.allows(StemdError("STEMD-E009"), "2stems", auto)
    assert not fetching.allows(MISSING, "nano", auto)
    assert not fetching.allows(MISSING, "htdemucs", config(tmp_path, fetch="never"))
    monkeypatch.setenv("STEMD_OFFLINE", "1")
    assert not fetching.allows(MISSING, "htdemucs", auto)


def test_failures_make_it_wait_longer_and_longer(tmp_path):
    now = [0.0]
    fetching, auto = Fetching(lambda: now[0]), config(tmp_path)
    waits = []
    for _ in range(9):
        fetching.failed("htdemucs")
        start = now[0]
        while not fetching.allows(MISSING, "htdemucs", auto):
            now[0] += 30
        waits.append(now[0] - start)
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    fetching.failed("htdemucs")
    assert fetching.allows(MISSING, "mdx", auto), "another model is another matter"
    fetching.came("htdemucs")
    assert fetching.allows(MISSING, "htdemucs", auto)
