"""What people give the common options: a path from here, nothing at all, what is not there."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from stemd.cli import demo
from stemd.core.config import load
from tests.support.system import in_child, needs_root


@pytest.fixture
def beside(site, monkeypatch: pytest.MonkeyPatch):
    """Work in a folder beside the spool."""
    (site.home / "beside").mkdir()
    monkeypatch.chdir(site.home / "beside")
    return site


@pytest.mark.parametrize("command", ["status", "list", "audit spool", "submit mine.wav"])
def test_a_spool_may_be_named_from_here(beside, command: str):
    Path("mine.wav").write_bytes(b"x")
    result = beside.run(command, "--spool", "../spool")
    assert result.exit_code == 0, result.output
    (beside.home / "link").symlink_to(beside.home / "spool" / "inbox")
    assert beside.run(command, "--spool", "../link/..").exit_code == 0, "where the link leads, not where it lies"


def test_a_spool_that_is_named_from_here_is_written_down_whole(beside):
    assert beside.run("config init", "new.yaml", "--spool", "../spool").exit_code == 0
    assert load(Path("new.yaml"), {}, {}).config.spool == (beside.spool.root,)


def test_the_demo_may_be_kept_in_a_place_that_is_named_from_here(beside, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(demo, "_run", lambda *_: str(shutil.copy(__file__, "song.wav")))
    monkeypatch.setattr(demo, "_command", lambda stage: [sys.executable, "-c", "import sys; sys.exit('it started')"])
    result = beside.run("demo", "--keep", "../kept")
    assert "it started" in result.stderr
    assert load(beside.home / "kept" / "stemd.yaml", {}, {}).config.spool == (beside.home / "kept" / "spool",)


@pytest.mark.parametrize("command", ["prune", "prune --dry-run", "erase --user ana --yes", "audit spool"])
def test_a_spool_that_is_not_there_is_no_bug_of_ours(site, command: str):
    result = site.run(command, "--spool", site.home / "nowhere")
    assert (result.exit_code, "STEMD-S005" in result.stderr) == (75, True), result.output
    (site.home / "bare").mkdir()
    assert "STEMD-S019" in site.run(command, "--spool", site.home / "bare").stderr
    assert list((site.home / "bare").iterdir()) == []


def test_a_new_spool_keeps_its_promises_and_one_without_work_does_not(site):
    (site.home / "new" / "inbox").mkdir(parents=True)
    assert "all is well" in site.run("audit spool", "--spool", site.home / "new").stderr
    site.spool.work.rmdir()
    result = site.run("audit spool")
    assert (result.exit_code, result.stdout.splitlines()[0]) == (1, "I1: work: the folder is missing")


@pytest.mark.parametrize("name", ["", ".", "/", tempfile.gettempdir()])
def test_a_configuration_that_is_no_file_is_no_bug_of_ours(site, name: str):
    result = site.run("status", "-c", name)
    assert (result.exit_code, "STEMD-C001" in result.stderr) == (78, True), result.output


@pytest.mark.parametrize("stems", ["²", "9" * 5000])
def test_stems_that_are_no_number_are_names(site, stems: str):
    (site.home / "mine.wav").write_bytes(b"x")
    result = site.run("submit", site.home / "mine.wav", "--stems", stems)
    assert result.exit_code == 0, result.output
    assert json.loads((site.spool.inbox / "mine" / "job.json").read_text())["stems"] == [stems]


@needs_root
def test_whom_the_system_does_not_know_needs_no_home(public_site):
    def engines() -> Path:
        os.environ.pop("HOME", None)
        return load(public_site.config, {}, {}).config.paths.engines

    assert in_child(engines, uid=54_321) == Path("/.cache/stemd/engines")
