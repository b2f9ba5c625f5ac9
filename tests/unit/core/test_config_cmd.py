"""``stemd config`` as a person meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from stemd.cli.config_cmd import config_group
from stemd.core.config import load, places


def run(*args: object) -> Result:
    return CliRunner().invoke(config_group, [str(arg) for arg in args], prog_name="stemd config")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "stemd.yaml"
    path.write_text("spool: /s\nretry: {tries: 2}\n")
    return path


def test_check(file: Path) -> None:
    assert run("check", "-c", file).stdout == f"ok: {file}\n"
    file.write_text("spool: s\nhtp: {}\n")
    result = run("check", "-c", file)
    assert (result.exit_code, result.stdout) == (78, "")
    assert f"{file}:1:8: spool: " in result.stderr
    assert f"{file}:2:1: htp: unknown key (did you mean http?)" in result.stderr
    document = json.loads(run("check", "--config", file, "--json").stdout)
    assert [fault["key"] for fault in document["faults"]] == ["spool", "htp"]
    assert document["error"]["code"] == "STEMD-C002"


def test_a_missing_file(tmp_path: Path) -> None:
    result = run("show", "-c", tmp_path / "none.yaml")
    assert result.exit_code == 78
    assert "STEMD-C001" in result.stderr


def test_show_can_be_loaded_again(file: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.yaml"
    again.write_text(run("show", "-c", file).stdout)
    assert load(again).config == load(file).config
    assert json.loads(run("show", "-c", file, "--json").stdout)["retry"] == {"tries": 2, "base": "30s", "cap": "1h"}


@pytest.mark.parametrize("value", [0.00001, 100000.5, 1 / 3, 123456789.0, 59 * 60 + 0.001])
def test_durations_that_show_prints_are_the_same_when_they_are_read_back(file: Path, value: float) -> None:
    keys = "alerts: {latency_p95: {over: %r}}\ndefaults: {settle_unprobed: %r}\nretention: {outbox: %r}\n"
    file.write_text("spool: /s\n" + keys % (value, value, value))
    first = load(file).config
    file.write_text(run("show", "-c", file).stdout)
    assert run("check", "-c", file).exit_code == 0
    assert load(file).config == first


def test_show_origin(file: Path) -> None:
    lines = run("show", "--origin", "-c", file).stdout.splitlines()
    origins = dict(line.rsplit("# ", 1) for line in lines)
    assert {key.strip(): value for key, value in origins.items()}["retry.tries: 2"] == f"{file}:2:16"
    document = json.loads(run("show", "--origin", "--json", "-c", file).stdout)
    assert document["retry.cap"] == {"value": "1h", "origin": "default"}


def test_schema() -> None:
    assert json.loads(run("schema").stdout)["$schema"].endswith("2020-12/schema")


def test_init_writes_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "SYSTEM_FILE", tmp_path / "etc" / "stemd" / "stemd.yaml")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert run("init", "--spool", tmp_path / "my spool").exit_code == 0
    written = tmp_path / "etc" / "stemd" / "stemd.yaml"
    assert load(written).config.spool == (tmp_path / "my spool",)
    assert run("init", written).exit_code == 2
    assert run("init", "--force", "-c", written).exit_code == 0
    assert load(written).config.spool == (Path("/srv/stemd"),)
    assert run("init", "-").stdout == written.read_text()
