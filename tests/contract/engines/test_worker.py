"""Each engine of stemd's, end to end: a song dropped into the real daemon, separated by a real worker."""

from __future__ import annotations

import json

import pytest
import soundfile

from tests.golden import spleeter_setup
from tests.support.audio import write_wav
from tests.support.daemon import Daemon, eventually


@pytest.mark.parametrize(
    ("engine", "model", "stems"),
    [
        ("stub", "stub", ["drums", "bass", "other", "vocals"]),
        ("demucs", "nano", ["drums", "bass", "other", "vocals"]),
        pytest.param("spleeter", "2stems", ["vocals", "accompaniment"], marks=pytest.mark.slow),
    ],
)
def test_a_dropped_song_comes_out(tmp_path, engine, model, stems):
    settings = {"defaults": {"engine": engine, "model": model, "stems": len(stems)}}
    if engine == "spleeter":
        settings["engines"] = {engine: {"environment": str(spleeter_setup.environment().root)}}
        settings["paths"] = {"models": str(spleeter_setup.checkpoint(model))}
    song = write_wav(tmp_path / "song.wav", seconds=2.0, rate=48_000)
    with Daemon(tmp_path, **settings) as daemon:
        assert engine in json.loads(daemon.http("/health")[1])["engines"]
        daemon.drop(song)
        eventually(lambda: daemon.results() or daemon.failures(), 300, "it has ended")
        assert daemon.failures() == {}
        manifest = daemon.results()["song"]
    assert (manifest["engine"], manifest["model"], manifest["attempts"]) == (engine, model, 1)
    assert [file["stem"] for file in manifest["files"]] == stems
    for file in manifest["files"]:
        facts = soundfile.info(daemon.spool.outbox / "everyone" / "song" / file["name"])
        assert (facts.frames, facts.samplerate, facts.channels) == (96_000, 48_000, 2)
