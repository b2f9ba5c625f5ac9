"""The real daemon and models that are not here: fetched by the worker, deferred where that fails or is forbidden."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stemd.engines import models
from stemd.engines.models import quarantine
from tests.golden.tiny_models import htdemucs, write_bag
from tests.support.audio import write_wav
from tests.support.daemon import Daemon, eventually
from tests.unit.engines.models.conftest import MMI
from tests.unit.engines.models.hub import Hub, drop_after

WEIGHTS = "sig0.safetensors"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A mirror with a tiny network under the name ``hdemucs_mmi``."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("STEMD_OFFLINE", raising=False)
    server = Hub()
    folder = write_bag(tmp_path / "made", "hdemucs_mmi", [htdemucs])
    for name in ("hdemucs_mmi.yaml", WEIGHTS):
        server.files[f"{MMI}/{name}"] = (folder / name).read_bytes()
    yield server
    server.close()


def daemon_with(tmp_path: Path, source: str, fetch: str = "auto") -> Daemon:
    return Daemon(tmp_path, defaults={"model": "hdemucs_mmi"}, models={"fetch": fetch, "from": source})


def test_a_job_brings_its_model(hub, tmp_path):
    hub.faults[f"{MMI}/{WEIGHTS}"] = [drop_after(1000)]
    with daemon_with(tmp_path, hub.url) as daemon:
        daemon.drop(write_wav(tmp_path / "one.wav", seconds=1.0))
        daemon.drop(write_wav(tmp_path / "two.wav", seconds=1.1))
        eventually(lambda: len(daemon.results()) == 2, 60, "both are done")
        assert daemon.results()["one"]["model"] == "hdemucs_mmi"
        assert daemon.results()["one"]["attempts"] == 1
        assert daemon.events("deferred") == []
    assert [request.range for request in hub.content_requests(WEIGHTS)] == [None, "bytes=1000-"]


def test_a_mirror_without_the_model_defers_and_the_job_goes_on_once_it_is_there(hub, tmp_path):
    weights = hub.files.pop(f"{MMI}/{WEIGHTS}")
    with daemon_with(tmp_path, hub.url) as daemon:
        daemon.drop(write_wav(tmp_path / "song.wav", seconds=1.0))
        state = eventually(lambda: daemon.in_state("deferred"), 60, "it is deferred")
        assert state["reason"]["code"] == "STEMD-M001"
        assert f"there is no {hub.url}{MMI}/{WEIGHTS} (404)" in state["reason"]["message"]
        assert "`stemd models fetch hdemucs_mmi`" in state["reason"]["remedy"]
        assert state["attempts"] == 0, "waiting for a model is no failure of the job's"
        daemon.drop(write_wav(tmp_path / "next.wav", seconds=1.1))
        eventually(lambda: len(daemon.events("deferred")) == 2, 60, "the next job is deferred too")
        assert len(daemon.events("started")) == 1, "what just failed is not tried again for it"
        hub.files[f"{MMI}/{WEIGHTS}"] = weights
        fetched = daemon.ask("models", "fetch", "hdemucs_mmi")["models"][0]
        assert fetched["fetched"] is True
        assert fetched["source"] == f"{hub.url}{MMI}"
        assert fetched["files"][WEIGHTS]["bytes"] == len(weights)
        eventually(lambda: len(daemon.results()) == 2, 60, "both went on by themselves")
        assert daemon.results()["song"]["attempts"] == 1


def test_never_means_never(hub, tmp_path):
    with daemon_with(tmp_path, hub.url, "never") as daemon:
        daemon.drop(write_wav(tmp_path / "song.wav", seconds=1.0))
        state = eventually(lambda: daemon.in_state("deferred"), 60, "it is deferred")
        assert state["reason"]["code"] == "STEMD-M001"
        assert hub.asked == []
        assert daemon.events("started") == []


def test_a_damaged_model_is_replaced_by_the_worker(hub, tmp_path):
    store = tmp_path / "models"
    path = models.fetch("hdemucs_mmi", store, hub.url) / WEIGHTS
    path.write_bytes(bytes(path.stat().st_size))
    with daemon_with(tmp_path, hub.url) as daemon:
        daemon.drop(write_wav(tmp_path / "song.wav", seconds=1.0))
        eventually(daemon.results, 60, "it is done")
        assert daemon.results()["song"]["attempts"] == 1
    assert len(quarantine.held(store)) == 1
    models.verify("hdemucs_mmi", store)


def test_progress_of_the_fetch_is_the_jobs_stage_load(hub, tmp_path):
    slow = hub.files[f"{MMI}/{WEIGHTS}"]
    gate = []

    def trickle(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(slow)))
        handler.end_headers()
        half = len(slow) // 2
        handler.wfile.write(slow[:half])
        handler.wfile.flush()
        eventually(lambda: gate, 60, "the test has seen it")
        handler.wfile.write(slow[half:])

    hub.faults[f"{MMI}/{WEIGHTS}"] = [trickle]
    with daemon_with(tmp_path, hub.url) as daemon:
        daemon.drop(write_wav(tmp_path / "song.wav", seconds=1.0))
        eventually(lambda: any(s["stage"] == "load" for s in daemon.states().values()), 60, "it says that it loads")
        gate.append(True)
        eventually(daemon.results, 60, "it is done")
