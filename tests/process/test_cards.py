"""One process that computes for several workers, under a real daemon; on the processor, for want of a card."""

from __future__ import annotations

import json

import psutil
import pytest

from tests.golden import tiny_models
from tests.support.audio import write_wav
from tests.support.daemon import Daemon, ended, eventually

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture
def daemon(tmp_path) -> Daemon:
    tiny_models.write_bag(tmp_path / "models", "ht", [tiny_models.htdemucs])
    demucs = {"device": "cpu", "shared": "always", "together": 3, "workers": {"max": 2}}
    return Daemon(tmp_path, defaults={"model": "ht"}, engines={"demucs": demucs})


def hosts(daemon: Daemon) -> list[psutil.Process]:
    assert daemon.process is not None
    children = psutil.Process(daemon.process.pid).children()
    return [each for each in children if not ended(each) and "stemd.engines.cards" in each.cmdline()]


def test_two_jobs_side_by_side_share_one(daemon, tmp_path):
    with daemon:
        for name in ("one", "two"):
            daemon.drop(write_wav(tmp_path / f"{name}.wav", seconds=20))
        results = eventually(lambda: len(daemon.results()) == 2 and daemon.results(), 600, "both are done")
        (host,) = hosts(daemon)
        found = json.dumps(json.loads(daemon.http("/health")[1]))
    assert [each["settings"]["together"] for each in results.values()] == [3, 3] and '"together": 3' in found
    assert len(daemon.events("card_process_started")) == 1 and ended(host)
    assert not [*(tmp_path / "run").glob("card-*")]


def test_when_it_dies_its_jobs_are_tried_again_on_another(daemon, tmp_path):
    with daemon:
        daemon.drop(write_wav(tmp_path / "song.wav", seconds=120))
        (host,) = eventually(lambda: hosts(daemon))
        eventually(lambda: any(job["progress"] > 0.05 for job in daemon.ask("status")["jobs"]))
        host.kill()
        manifest = eventually(lambda: daemon.results().get("song"), 600, "it is done")
        (other,) = hosts(daemon)
    assert other != host and manifest["settings"]["together"] == 3
    assert "STEMD-E006" in daemon.log.read_text() and len(daemon.events("card_process_died")) == 1
