"""``stemd demo``: the whole machine once, and what it says when it cannot work."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from stemd.cli import demo
from stemd.cli.main import main


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path):
    (tmp_path / "precious").write_text("x")
    result = CliRunner().invoke(main, ["demo", "--keep", str(tmp_path)])
    assert result.exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_a_failure_says_where_the_log_is_and_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(demo, "_CONFIG", "spool: {spool}\npaths: {{run: {run}}}\nhttp: {{listen: null}}\n")
    monkeypatch.setattr(demo, "_run", lambda *_: str(shutil.copy(__file__, tmp_path / "song.wav")))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def broken(stage: demo.Stage) -> list[str]:
        return [sys.executable, "-c", "import sys; sys.exit('the reason')"]

    monkeypatch.setattr(demo, "_command", broken)
    result = CliRunner().invoke(main, ["demo"])
    assert result.exit_code == 69
    assert "the reason" in result.stderr
    (kept,) = tmp_path.glob("stemd-demo-*")
    assert f"its log is {kept / 'stemd.log'}" in result.stderr
    assert (kept / "stemd.log").read_text() == "the reason\n"


def test_it_says_what_made_the_stems_how_good_they_are_and_what_is_better(capsys: pytest.CaptureFixture[str]):
    stem = {"stem": "bass", "file": "bass.flac", "lufs": None, "si_sdr": 4.25, "si_sdr_mixture": -3.0}
    facts = {"result": "/r", "stems": [stem], "si_sdr": 4.25, "si_sdr_mixture": -3.0, "audio_seconds": 8.0}
    demo._show({**facts, "seconds": 9.0, "work_seconds": 2.0, "realtime_factor": 4.0}, None)
    said = " ".join(capsys.readouterr().out.split())
    assert "nano" in said and "mean SI-SDR is 4.2 dB, where the mix itself has -3.0 dB" in said
    assert said.count("stemd models fetch htdemucs") == 1


@pytest.mark.slow
def test_the_demo(tmp_path: Path):
    keep = tmp_path / "demo"
    command = [sys.executable, "-m", "stemd", "demo", "--json", "--keep", str(keep)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert result.returncode == 0, result.stderr
    facts = json.loads(result.stdout)
    assert {stem["stem"] for stem in facts["stems"]} == {"drums", "bass", "other", "vocals"}
    for stem in facts["stems"]:
        assert stem["si_sdr"] > stem["si_sdr_mixture"] + 2, "each stem is nearer to the truth than the mix is"
        assert (Path(facts["result"]) / stem["file"]).is_file()
    assert facts["si_sdr"] == pytest.approx(sum(stem["si_sdr"] for stem in facts["stems"]) / 4, abs=0.01)
    assert facts["si_sdr"] > facts["si_sdr_mixture"] + 2
    assert facts["kept"] == str(keep)
    assert facts["realtime_factor"] > 0
