"""When there is a process for a card, and where."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from stemd.core.config import Config
from stemd.daemon import cards
from stemd.daemon.cards import Cards
from stemd.worker.setup import Setup
from tests.support.daemon import eventually

SETUP = Setup("demucs", "nano", "/models", "cuda")


def config_of(tmp_path: Path, **engine: object) -> Config:
    return Config.model_validate({"spool": str(tmp_path), "engines": {"demucs": engine}})


def test_shared_is_a_card_of_nvidias_or_what_is_said_to_be(tmp_path, monkeypatch):
    here = tmp_path / "nvidia0"
    monkeypatch.setattr(cards, "_NVIDIA", here)
    monkeypatch.setattr(cards, "_without_cuda", lambda: False)
    auto = config_of(tmp_path)
    for device, there, shared in [("cuda", False, True), ("cuda:1", False, True), ("auto", False, False)]:
        assert bool(cards.address(auto, replace(SETUP, device=device))) is shared, (device, there)
    here.touch()
    assert cards.address(auto, replace(SETUP, device="auto")) and not cards.address(auto, replace(SETUP, device="cpu"))
    monkeypatch.setattr(cards, "_without_cuda", lambda: True)
    assert not cards.address(auto, replace(SETUP, device="auto"))
    assert not cards.address(config_of(tmp_path, shared="never"), SETUP)
    always = config_of(tmp_path, shared="always")
    assert cards.address(always, replace(SETUP, device="cpu"))
    assert not cards.address(always, replace(SETUP, engine="spleeter"))


def test_each_kind_has_its_own(tmp_path):
    config = config_of(tmp_path, shared="always")
    changes = [{}, {"model": "mdx"}, {"store": "/other"}, {"device": "cuda:1"}, {"precision": "fp16"}, {"together": 8}]
    assert len({cards.address(config, replace(SETUP, **each)) for each in changes}) == len(changes)
    assert cards.address(config, replace(SETUP, tuning="/elsewhere")) == cards.address(config, SETUP)
    two = [
        Config.model_validate({"spool": str(tmp_path / name), "paths": {"run": str(tmp_path)}})
        for name in ("one", "two")
    ]
    assert len({cards.address(each, SETUP) for each in two}) == 2, "of two daemons in one folder"


@pytest.fixture
def running(tmp_path, monkeypatch):
    """Cards with a process that only sleeps."""
    started: list[subprocess.Popen[bytes]] = []
    plain = subprocess.Popen

    def popen(command, **options):
        assert command[1:4] == ["-I", "-m", "stemd.engines.cards"] and options["env"]["OMP_NUM_THREADS"] == "2"
        sleeping = [sys.executable, "-c", "import time; time.sleep(600)"]
        started.append(plain(sleeping, start_new_session=True))
        return started[-1]

    monkeypatch.setattr(cards.subprocess, "Popen", popen)
    mine, setup = Cards(), replace(SETUP, card=str(tmp_path / "card.sock"))
    yield mine, setup, started
    mine.close()
    assert all(each.poll() is not None for each in started)


def test_one_for_all_workers_while_there_are_any(running):
    mine, setup, started = running
    mine.want(setup, 2)
    mine.want(setup, 2)
    now = time.monotonic()
    mine.tend([setup], now + 100)
    mine.tend([], now + 150)
    assert len(started) == 1 and started[0].poll() is None
    mine.tend([], now + 161)
    assert started[0].poll() is not None
    mine.want(setup, 2)
    assert len(started) == 2


def test_one_that_died_is_started_again_but_not_at_once(running, monkeypatch):
    mine, setup, started = running
    mine.want(setup, 2)
    started[0].kill()
    eventually(lambda: started[0].poll() is not None)
    now = time.monotonic()
    mine.tend([setup], now)
    assert len(started) == 1
    mine.tend([], now + 6)
    assert len(started) == 1, "nobody needs it"
    mine.tend([setup], now + 6)
    assert len(started) == 2
