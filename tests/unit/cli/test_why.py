"""``stemd why`` without a daemon: the rules that need none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("name", "code", "word"),
    [
        ("song.mp3", "STEMD-S017", "no daemon"),
        ("notes.txt", "STEMD-S009", "suffix"),
        (".hidden.mp3", "STEMD-S009", "hidden"),
        ("song.mp3.part", "STEMD-S009", "temporary"),
        ("song.mp3.job.yaml", "STEMD-S009", "song.mp3"),
        ("new\nline.mp3", "STEMD-S017", "no daemon"),
        (os.fsdecode(b"\xff.mp3"), "STEMD-S017", "no daemon"),
    ],
)
def test_files(site, name: str, code: str, word: str):
    path = site.spool.inbox / name
    path.write_bytes(b"x")
    facts = site.json("why", path)
    assert facts["code"] == code
    assert word in facts["reason"]
    assert facts["remedy"]
    result = site.run("why", path)
    assert result.exit_code == 0
    assert code in result.stderr


def test_a_link_is_not_followed(site, tmp_path: Path):
    (site.spool.inbox / "l.mp3").symlink_to(tmp_path / "stemd.yaml")
    assert site.json("why", site.spool.inbox / "l.mp3")["code"] == "STEMD-S007"


def test_a_file_deep_in_a_folder_is_explained_by_its_folder(site):
    folder = site.spool.inbox / "ana" / "album"
    folder.mkdir()
    (folder / "song.mp3").write_bytes(b"x")
    (folder / ".DS_Store").write_bytes(b"x")
    for name in ("song.mp3", ".DS_Store"):
        facts = site.json("why", folder / name)
        assert (facts["what"], facts["code"]) == (str(folder), "STEMD-S017"), "the whole folder waits, as an album"


def test_an_upload_in_progress_keeps_its_album(site):
    folder = site.spool.inbox / "ana" / "album"
    folder.mkdir()
    (folder / "one.mp3").write_bytes(b"x")
    (folder / "two.mp3.part").write_bytes(b"x")
    facts = site.json("why", folder)
    assert facts["code"] == "STEMD-S009"
    assert "two.mp3.part" in facts["reason"]
    assert "upload" in facts["remedy"]


def test_an_unreadable_file(site):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path = site.spool.inbox / "song.mp3"
    path.write_bytes(b"x")
    path.chmod(0)
    assert site.json("why", path)["code"] == "STEMD-S006"


def test_a_job_instead_of_a_file(site):
    job_id = site.orphan()
    assert site.json("why", job_id)["code"] == "STEMD-A001"


def test_neither_file_nor_job(site, tmp_path: Path):
    assert site.run("why", site.spool.inbox / "gone.mp3").exit_code == 66
    result = site.run("why", tmp_path / "stemd.yaml")
    assert result.exit_code == 66
    assert "STEMD-S018" in result.stderr
