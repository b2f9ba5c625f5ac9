"""What an operator asks first; answered by looking, without an engine."""

import json
import os
import subprocess
import sys
import threading

import pytest

from stemd import __version__
from stemd.core.config import load
from stemd.ops import health as module
from stemd.ops.health import Health, package_version
from stemd.ops.view import DaemonView


@pytest.fixture
def health(spool, tmp_path):
    config = load(None, {"spool": str(spool.root)}, {}).config
    return Health(config, (spool,), tmp_path / "models")


def test_the_document_says_what_runs_here(health, spool):
    document = health.document(DaemonView(True, "serving", jobs={"running": 1}))
    assert (document["status"], document["version"], document["summary"]) == ("ok", __version__, "1 running, 0 waiting")
    assert document["daemon"]["pid"] == os.getpid()
    assert document["daemon"]["rss_bytes"] > 1e6
    (disk,) = document["spools"]
    assert disk["root"] == str(spool.root)
    assert 0 < disk["free_bytes"] <= disk["total_bytes"]
    assert document["uptime_seconds"] >= 0
    assert json.loads(json.dumps(document)) == document


def test_nobody_waits_for_a_program_that_hangs(spool, tmp_path, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(module, "program_version", lambda name: gate.wait(120) and "7.1")
    monkeypatch.setattr(module, "_ASKED_FOR", 0.01)
    health = Health(load(None, {"spool": str(spool.root)}, {}).config, (spool,), tmp_path / "models")
    assert health.document(DaemonView())["programs"] == {"ffmpeg": None, "ffprobe": None}
    gate.set()
    health._asking.join(120)
    assert health.document(DaemonView())["programs"] == {"ffmpeg": "7.1", "ffprobe": "7.1"}


def test_it_is_unavailable_until_ready(health):
    document = health.document(DaemonView(reason="recovering"))
    assert (document["status"], document["summary"]) == ("unavailable", "not ready: recovering")


def test_models_are_looked_up_each_time(health, tmp_path):
    def present():
        models = health.document(DaemonView())["engines"]["demucs"]["models"]
        return {model["name"] for model in models if model["present"]}

    assert present() == {"nano"}
    folder = tmp_path / "models" / "mine"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("models: ['mine']\n")
    (folder / "mine.safetensors").write_bytes(b"weights")
    assert present() == {"nano", "mine"}


def test_packages_are_named_by_version_or_none(health):
    packages = health.document(DaemonView())["packages"]
    assert packages["psutil"] == package_version("psutil") is not None
    assert package_version("a-package-nobody-has") is None


def test_each_engine_says_how_it_came_up_last(health):
    missing = {"code": "STEMD-E002", "message": "no torch"}
    view = DaemonView(engines={"demucs": {"loads": False, "model": "nano", "at": "now", "error": missing}})
    engines = health.document(view)["engines"]
    assert (engines["demucs"]["loads"], engines["demucs"]["error"]) == (False, missing)
    assert engines["mix"]["loads"] is None, "not tried yet"
    assert (engines["spleeter"]["loads"], engines["spleeter"]["error"]["code"]) == (False, "STEMD-E009")


def test_programs_are_asked_for_their_version(health, tmp_path, monkeypatch):
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho ffmpeg version 6.1-test Copyright")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert health.document(DaemonView())["programs"] == {"ffmpeg": "6.1-test", "ffprobe": None}


def test_asking_loads_no_engine():
    program = (
        "import sys; from stemd.ops.health import Health; from stemd.ops import web; "
        "print(sorted({'torch', 'numpy', 'soundfile', 'demucs', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
