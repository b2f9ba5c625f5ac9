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
    assert facts["kept"] == str(keep)
    assert facts["realtime_factor"] > 0
