"""Tags and cover of a recording on every stem, in every format; the job's own above them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from stemd.core.errors import StemdError
from stemd.core.job import Output
from stemd.engines.audio import flac_tags, id3, ogg_tags, riff
from stemd.engines.audio.cover import Cover
from stemd.engines.audio.decode import open_source
from tests.golden import shares
from tests.support.pictures import JPEG, PNG, png
from tests.unit.engines.audio import readers

pytestmark = [pytest.mark.golden, readers.needs_ffmpeg]
FORMATS = [("flac", "16"), ("flac", "24"), ("wav", "24"), ("wav", "32f"), ("ogg", "24"), ("opus", "24"), ("mp3", "24")]
SOURCES = ["flac", "mp3", "m4a", "ogg", "opus", "aiff"]
GIVEN = {
    "TITLE": "Straße", "ARTIST": "Ána & Ωmega", "ALBUM": "B", "ALBUM_ARTIST": "C", "TRACK": "3/12", "DATE": "1999",
    "GENRE": "Jazz", "MOOD": "calm",
}  # fmt: skip
STAMP = {"STEMD_JOB_UUID": "0192", "STEMD_USER_ID": "ana", "STEMD_ENGINE": "demucs", "STEMD_MODEL": "nano"}
#: How ffprobe names what Vorbis comments call otherwise; it differs from container to container.
_SAME = {"ALBUMARTIST": "ALBUM_ARTIST", "TRACKNUMBER": "TRACK"}


def recording(folder: Path, kind: str, cover: bytes) -> Path:
    """A second of noise with ``GIVEN`` tags and ``cover``."""
    options: list[str | Path] = ["-map", "0:a"]
    if kind in ("flac", "mp3", "m4a", "aiff"):
        picture = folder / "cover.image"
        picture.write_bytes(cover)
        options = ["-i", picture, *options, "-map", "1:v", "-c:v", "copy", "-disposition:v", "attached_pic"]
    if kind == "aiff":
        options += ["-write_id3v2", "1"]
    for key, value in GIVEN.items():
        options += ["-metadata", f"{key.lower()}={value}"]
    path = readers.make(folder / f"song.{kind}", *options)
    if kind in ("ogg", "opus"):
        comments, _ = ogg_tags.read(path)
        ogg_tags.write(path, comments, Cover.of(cover))
    return path


def found(path: Path) -> dict[str, str]:
    """All tags; of a WAV also those in its ID3 chunk, which ffmpeg leaves alone beside an INFO chunk."""
    tags = readers.tags(path)
    if path.suffix == ".wav":
        tags |= id3.parse(riff.read_id3(path))[0]
    return {_SAME.get(key, key): value for key, value in tags.items()}


@pytest.mark.parametrize("form", FORMATS, ids="-".join)
def test_every_format_carries_them(tmp_path, form):
    source = recording(tmp_path, "flac", JPEG)
    result, out = shares.run(tmp_path, source, stems=("vocals", "no_vocals"), output=Output(*form), stamp=STAMP)
    for each in result.files:
        tags = found(out / each.name)
        wanted = {**GIVEN, **STAMP, "TITLE": f"Straße ({each.stem})", "STEMD_STEM": each.stem}
        assert {key: tags.get(key) for key in wanted} == wanted
        assert readers.picture(out / each.name) == JPEG
    assert all("cover" not in text for text in result.warnings)


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("cover", [PNG, JPEG], ids=["png", "jpeg"])
def test_every_source_gives_them(tmp_path, kind, cover):
    source = recording(tmp_path, kind, cover)
    result, out = shares.run(tmp_path, source, stems=("vocals",), output=Output("flac", "16"))
    comments, picture = flac_tags.read(out / "vocals.flac")
    wanted = {
        "ALBUMARTIST" if k == "ALBUM_ARTIST" else "TRACKNUMBER" if k == "TRACK" else k: v for k, v in GIVEN.items()
    }
    if kind == "m4a":
        del wanted["MOOD"]  # ffmpeg writes no tag of this name there
    assert comments == {**wanted, "TITLE": "Straße (vocals)", "STEMD_STEM": "vocals"}
    assert picture.data == cover
    assert result.source.tags == wanted


def test_the_job_s_tags_and_cover_are_above_the_source_s(tmp_path):
    source = recording(tmp_path, "mp3", JPEG)
    (tmp_path / "cover.png").write_bytes(PNG)
    request = {"tags": {"title": "Other", "mood": "wild"}, "art": tmp_path / "cover.png"}
    _, out = shares.run(tmp_path, source, stems=("vocals",), **request)
    tags = found(out / "vocals.wav")
    assert (tags["TITLE"], tags["MOOD"], tags["ARTIST"]) == ("Other (vocals)", "wild", GIVEN["ARTIST"])
    assert readers.picture(out / "vocals.wav") == PNG


def test_a_job_s_cover_that_is_none_fails_before_the_work(tmp_path):
    source = recording(tmp_path, "flac", JPEG)
    (tmp_path / "cover.png").write_bytes(b"GIF89a")
    with pytest.raises(StemdError) as caught:
        shares.run(tmp_path, source, art=tmp_path / "cover.png")
    assert caught.value.code == "STEMD-A007"
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("form", ["flac", "wav", "ogg", "opus", "mp3"])
def test_a_large_cover(tmp_path, form):
    cover = png(noise=bytes(range(1, 256)) * 30_000)
    (tmp_path / "cover.png").write_bytes(cover)
    source = recording(tmp_path, "flac", JPEG)
    result, out = shares.run(tmp_path, source, stems=("vocals",), art=tmp_path / "cover.png", output=Output(form, "24"))
    assert readers.picture(out / f"vocals.{form}") == cover
    assert result.files[0].frames == result.source.frames
    assert sorted(each.name for each in out.iterdir()) == [f"vocals.{form}"]


def test_without_ffmpeg_only_what_needs_it_is_missing(tmp_path, monkeypatch):
    sources = {kind: recording(tmp_path, kind, PNG) for kind in ("flac", "mp3", "ogg", "aiff")}
    monkeypatch.setenv("PATH", str(tmp_path))
    for kind, source in sources.items():
        result, out = shares.run(tmp_path / kind, source, stems=("vocals",), output=Output("flac", "16"))
        comments, picture = flac_tags.read(out / "vocals.flac")
        assert (comments["TITLE"], picture.data, result.warnings) == ("Straße (vocals)", PNG, ())


def test_a_stem_of_a_stem_says_so_once(tmp_path):
    source = recording(tmp_path, "flac", JPEG)
    flac_tags.write(source, {"TITLE": "x", "REPLAYGAIN_TRACK_GAIN": "1", "STEMD_JOB_UUID": "old", "ENCODER": "y"})
    result, out = shares.run(tmp_path, source, stems=("vocals",), output=Output("mp3"), stamp=STAMP)
    data = (out / "vocals.mp3").read_bytes()
    tags, picture = id3.parse(data)
    assert tags == {"TITLE": "x (vocals)", **STAMP, "STEMD_STEM": "vocals"}
    assert picture is None and result.source.tags == {"TITLE": "x"}


@pytest.mark.parametrize("form", ["mp3", "ogg", "opus", "wav", "flac"])
def test_other_decoders_see_exactly_the_source_s_frames(tmp_path, form):
    rate = 48_000 if form == "opus" else 44_100
    source = readers.make(tmp_path / "a.flac", "-ar", str(rate), "-metadata", "title=x", seconds=2.345)
    result, out = shares.run(tmp_path, source, stems=("vocals",), output=Output(form))
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", out / f"vocals.{form}", "-f", "s16le", "pipe:1"]
    decoded = subprocess.run(command, capture_output=True, check=True).stdout
    assert len(decoded) // 2 == result.source.frames == open_source(source).probe.declared
    if form == "wav":
        assert riff.read_id3(out / "vocals.wav")
