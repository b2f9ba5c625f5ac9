"""Through the whole service: a stem file and a cover of the job, from the inbox to the outbox."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
import yaml

from tests.golden import shares
from tests.support.daemon import Daemon
from tests.support.pictures import JPEG, PNG
from tests.unit.engines.audio import readers

pytestmark = [pytest.mark.golden, readers.needs_ffmpeg]


@pytest.fixture
def daemon(tmp_path):
    return Daemon(tmp_path, defaults={"engine": "stub", "model": "stub", "stems": 4, "output": {"format": "flac"}})


def drop(daemon: Daemon, name: str, job: dict, song: str = "song.flac", **pictures: bytes) -> None:
    folder = daemon.home / name
    (folder / song).parent.mkdir(parents=True)
    soundfile.write(folder / song, shares.music(1, 44_100, 2), 44_100, "PCM_24")
    for stem, data in pictures.items():
        (folder / f"{stem}.jpg").write_bytes(data)
    (folder / "job.yaml").write_text(yaml.safe_dump({"input": song, **job}))
    folder.rename(daemon.spool.inbox / name)


def test_what_comes_out(daemon):
    drop(daemon, "A song", {"output": {"format": "stem.mp4"}, "tags": {"title": "Ä"}})
    drop(daemon, "With cover", {"art": "cover.jpg", "stems": ["vocals"]}, cover=JPEG)
    drop(daemon, "Deeper", {"art": "cover.jpg", "stems": ["vocals"]}, song="in/song.flac", cover=PNG)
    drop(daemon, "No cover", {"art": "cover.jpg"})
    drop(daemon, "Two stems", {"output": {"format": "stem.mp4"}, "stems": 2})
    assert daemon.once() == 1
    results, failures = daemon.results(), daemon.failures()
    assert set(results) == {"A song", "With cover", "Deeper"}
    folders = {path.name: path for path in daemon.spool.outbox.glob("*/*")}
    song = folders["A song"]
    assert sorted(path.name for path in song.iterdir()) == [
        "A song.stem.mp4", "A song.stem.mp4.tags.json", "job.log.jsonl", "manifest.json", "peaks.json", "source",
    ]  # fmt: skip
    (row,) = results["A song"]["files"]
    assert (row["name"], row["stem"]) == ("A song.stem.mp4", "master")
    assert [each["stem"] for each in row["tracks"]] == ["master", "drums", "bass", "other", "vocals"]
    assert json.loads((song / "A song.stem.mp4.tags.json").read_text())["stem"] == "master"
    assert readers.tags(song / "A song.stem.mp4")["TITLE"] == "Ä"
    assert readers.picture(folders["With cover"] / "vocals.flac") == JPEG
    assert readers.picture(folders["Deeper"] / "vocals.flac") == PNG
    assert "tracks" not in results["With cover"]["files"][0]
    codes = {path.parent.name.partition(".")[0]: json.loads(path.read_text())["code"] for path in orphans(daemon)}
    assert codes == {"No cover": "STEMD-S010", "Two stems": "STEMD-A006"}, failures


def orphans(daemon: Daemon) -> list[Path]:
    return list(daemon.spool.orphan.glob("*/*/error.json"))
