"""Jobs for Spleeter through the real daemon: without its environment, with it, and when its host dies."""

from __future__ import annotations

import json

import psutil
import pytest

from tests.golden import spleeter_setup
from tests.support.audio import write_wav
from tests.support.daemon import Daemon, eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SPLEETER = {"engine": "spleeter", "model": "2stems", "stems": 2}


def hosts(daemon: Daemon) -> list[psutil.Process]:
    assert daemon.process is not None
    below = psutil.Process(daemon.process.pid).children(recursive=True)
    return [each for each in below if any(word.endswith("host.py") for word in words_of(each))]


def words_of(process: psutil.Process) -> list[str]:
    """Its command line; of one that has just ended, none."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def test_without_its_environment_everything_else_works_and_it_says_what_to_do(tmp_path):
    with Daemon(tmp_path, defaults=SPLEETER) as daemon:
        daemon.drop(write_wav(tmp_path / "song.wav", seconds=1.0))
        state = eventually(lambda: daemon.in_state("deferred"), 60, "it is deferred")
        assert state["reason"]["code"] == "STEMD-E009"
        assert "`stemd engines install spleeter`" in state["reason"]["remedy"]
        assert state["attempts"] == 0
        place = json.loads(daemon.http("/health")[1])["engines"]["spleeter"]["environment"]
        assert (place["versions"], place["error"]["code"]) == ({}, "STEMD-E009")
        doctor = {each["what"]: each for each in daemon.ask("doctor")["findings"]}
        assert doctor["engine spleeter"]["code"] == "STEMD-E009"
        assert "stemd engines install spleeter" in doctor["engine spleeter"]["remedy"]
        other = tmp_path / "other.wav.job.yaml"
        other.write_text("engine: stub\nmodel: stub\nstems: 4\n")
        daemon.drop(other)
        daemon.drop(write_wav(tmp_path / "other.wav", seconds=1.1))
        eventually(lambda: "other" in daemon.results(), 60, "another engine's job is done meanwhile")


def test_a_job_waits_for_the_environment_goes_on_by_itself_and_outlives_its_host(tmp_path):
    store = spleeter_setup.checkpoint("2stems")
    engines = tmp_path / "engines"
    with Daemon(tmp_path, defaults=SPLEETER, paths={"models": str(store)}) as daemon:
        daemon.drop(write_wav(tmp_path / "song.wav", seconds=30.0))
        eventually(lambda: daemon.in_state("deferred"), 60, "it is deferred")
        engines.mkdir()
        (engines / "spleeter").symlink_to(spleeter_setup.environment().root)
        host = eventually(lambda: next(iter(hosts(daemon)), None), 120, "its host was started")
        eventually(lambda: daemon.in_state("running"), 120, "it runs")
        host.kill()
        eventually(lambda: "song" in daemon.results(), 300, "it was tried again")
        result = daemon.results()["song"]
        assert result["attempts"] == 2
        assert result["engine_version"] == spleeter_setup.environment().versions()["spleeter"]
        assert result["settings"]["tensorflow"]
        assert result["resources"]["peak_rss_bytes"] > 400 << 20, "the host's memory counts"
        assert [file["stem"] for file in result["files"]] == ["vocals", "accompaniment"]
        assert {file["frames"] for file in result["files"]} == {result["source"]["frames"]}
        versions = json.loads(daemon.http("/health")[1])["engines"]["spleeter"]["environment"]["versions"]
        assert versions == spleeter_setup.environment().versions()
        (warm,) = hosts(daemon)
        daemon.drop(write_wav(tmp_path / "next.wav", seconds=1.0))
        eventually(lambda: "next" in daemon.results(), 120, "the next job is done")
        assert hosts(daemon) == [warm], "by the same host"
