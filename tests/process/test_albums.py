"""Whole albums dropped on the real daemon."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.audio import write_wav
from tests.support.daemon import Daemon, eventually
from tests.support.spools import violations

STUB = {"engine": "stub", "model": "stub", "stems": 2, "settle": "300ms", "settle_unprobed": "500ms"}
SONGS = ("CD1/one.wav", "CD1/two.wav", "CD2/one.wav", "extra.wav")


def make_album(folder: Path) -> dict[str, bytes]:
    """An album of two discs with a faulty song, a cover and litter; its files by their paths in it."""
    for number, name in enumerate(SONGS):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_wav(folder / name, seconds=0.5 + number / 10)
    (folder / "CD2" / "broken.mp3").write_text("this is not music\n" * 50)
    (folder / "cover.jpg").write_bytes(b"a picture")
    (folder / "CD1" / ".DS_Store").write_bytes(b"litter")
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def summary(daemon: Daemon, name: str = "Album") -> dict[str, tuple[str, str]]:
    """State and result of each recording, once ``album.json`` is there."""
    path = daemon.spool.outbox / "everyone" / name / "album.json"
    document = json.loads(eventually(lambda: path.exists() and path.read_text(), 120, "the album is complete"))
    return {job["source"]: (job["state"], job["result"]) for job in document["jobs"]}


def check(daemon: Daemon, files: dict[str, bytes], door: str = "") -> None:
    """The album is complete, its results are where they belong, and nothing is lost or left over."""
    ends = summary(daemon)
    broken, orphan = ends.pop("CD2/broken.mp3")
    assert (broken, orphan.split("/")[0]) == ("failed", "orphan")
    assert ends == {name: ("done", name.removesuffix(".wav")) for name in SONGS}
    place = daemon.spool.outbox / "everyone" / "Album"
    for _, result in ends.values():
        manifest = json.loads((place / result / "manifest.json").read_text())
        assert manifest["album"]["place"] == str(Path("Album", result).parent)
    assert (place / "cover.jpg").read_bytes() == files["cover.jpg"]
    eventually(lambda: not list(daemon.spool.work.iterdir()), 30, "the album is put away")
    assert list((daemon.spool.inbox / door).iterdir()) == []
    assert violations(daemon.spool, list(files.values())) == []
    assert {state["state"] for state in daemon.states().values()} == {"done", "failed"}
    assert len(daemon.states()) == len(SONGS) + 1, "the album is not listed as a job"


@pytest.mark.parametrize("way", ["mv", "cp"])
def test_a_whole_album_comes_back_with_its_folders(tmp_path, way):
    files = make_album(tmp_path / "Album")
    with Daemon(tmp_path, defaults=STUB) as daemon:
        if way == "mv":
            subprocess.run(["mv", str(tmp_path / "Album"), str(daemon.spool.inbox)], check=True)
        else:
            subprocess.run(["cp", "-r", str(tmp_path / "Album"), str(daemon.spool.inbox)], check=True)
            cover = str(daemon.spool.inbox / "Album" / "cover.jpg")
            eventually(lambda: "settling" in daemon.ask("why", cover)["reason"], what="why says that it settles")
        check(daemon, files)
        eventually(lambda: daemon.events("album_ended"), what="the log says that the album has ended")
        assert len(daemon.events("album_split")) == len(daemon.events("album_ended")) == 1


def test_an_album_survives_the_daemon(tmp_path):
    """Killed again and again while it works at an album, the daemon brings each recording to one end."""
    files = make_album(tmp_path / "Album")
    paced = {"options": {"pace": 1}}  # or all would have ended before the daemon is killed
    daemon = Daemon(tmp_path, defaults=STUB, inboxes={"paced": paced})
    daemon.log.touch()
    (daemon.spool.inbox / "paced").mkdir()
    (tmp_path / "Album").rename(daemon.spool.inbox / "paced" / "Album")
    for moment in ("ready", "album_split", "job_ended", "job_ended"):
        before = len(daemon.events(moment))
        daemon.start(ready=False)
        eventually(lambda moment=moment, before=before: len(daemon.events(moment)) > before, 60, moment)
        daemon.kill()
    with daemon:
        check(daemon, files, "paced")


def test_an_unfinished_upload_in_an_album_is_waited_for(tmp_path):
    files = make_album(tmp_path / "Album")
    with Daemon(tmp_path, defaults=STUB) as daemon:
        album = daemon.spool.inbox / "Album"
        (tmp_path / "Album" / "CD1" / "two.wav").rename(tmp_path / "Album" / "CD1" / "two.wav.part")
        shutil.copytree(tmp_path / "Album", album)
        said = eventually(lambda: (answer := daemon.ask("why", str(album)))["code"] == "STEMD-S009" and answer, 60)
        assert "two.wav.part" in said["reason"]
        (album / "CD1" / "two.wav.part").rename(album / "CD1" / "two.wav")
        check(daemon, files)
