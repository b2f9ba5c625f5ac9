"""OpenVINO in a real worker of a real daemon: seen in health and manifest, and silent."""

from __future__ import annotations

import json

import pytest

from stemd.engines.exported.runtime import installed
from tests.golden import tiny_models
from tests.support.audio import write_wav
from tests.support.daemon import Daemon, eventually

pytestmark = pytest.mark.skipif(installed() is None, reason="the package openvino is not installed")


def test_a_worker_computes_with_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    daemon = Daemon(tmp_path, defaults={"model": "ht"}, engines={"demucs": {"runtime": "openvino"}})
    tiny_models.write_bag(tmp_path / "models", "ht", [tiny_models.htdemucs])
    with daemon:
        daemon.drop(write_wav(tmp_path / "song.wav", seconds=2))
        manifest = eventually(lambda: daemon.results().get("song"), what=daemon.log.read_text())
        found = json.loads(daemon.http("/health")[1])
    assert manifest["settings"]["runtime"] == "openvino" and manifest["settings"]["openvino"] == installed()
    assert manifest["settings"]["precision"] == "float32" and not manifest["warnings"]
    assert '"openvino": "used"' in json.dumps(found), found
    assert len([*daemon.spool.root.glob(".state/tuning/openvino/*/weights.bin")]) == 1
    assert not (tmp_path / "home" / "intel").exists(), "its import was told to its makers"
