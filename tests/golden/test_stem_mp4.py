"""Native Instruments' stem file, looked at by two independent readers: ffmpeg, and a parser of MP4 boxes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pymp4.parser import Box

from stemd.core.errors import StemdError
from stemd.core.job import Output
from stemd.engines.audio import stem_mp4
from tests.golden import shares
from tests.golden.shares import SharesEngine
from tests.support.pictures import JPEG
from tests.unit.engines.audio import readers

pytestmark = [pytest.mark.golden, readers.needs_ffmpeg]
RATE = 44_100
TRACKS = ("master", *shares.STEMS)


def make(home: Path, mix: np.ndarray, rate: int = RATE, depth: str = "24", **request):
    home.mkdir(exist_ok=True)
    source = home / "song.wav"
    soundfile.write(source, mix, rate, "PCM_24")
    result, out = shares.run(home, source, **{"output": Output("stem.mp4", depth), "title": "A song", **request})
    return result, out / "A song.stem.mp4"


def track(path: Path, number: int) -> np.ndarray:
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", path, "-map", f"0:a:{number}", "-f", "f64le", "pipe:1"]
    return np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout).reshape(-1, 2)


def boxes(path: Path) -> list:
    """The top-level boxes as pymp4 reads them, without the media data."""
    content, at, found = path.read_bytes(), 0, []
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        if content[at + 4 : at + 8] != b"mdat":
            found.append(Box.parse(content[at : at + size]))
        at += size
    return found


def child(parent, *kinds: bytes):
    for kind in kinds:
        (parent,) = (each for each in parent.children if each.type == kind)
    return parent


@pytest.mark.parametrize("depth", ["16", "24"])
@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_five_tracks_hold_the_song_and_its_stems(tmp_path, rate, depth):
    mix = shares.music(3, rate, 2)[: 3 * rate - 11]
    result, path = make(tmp_path, mix, rate, depth, options={"residual": "other"})
    assert [each.name for each in path.parent.iterdir()] == ["A song.stem.mp4"]
    found = readers.facts(path)
    streams = found["streams"]
    assert [each["codec_name"] for each in streams] == ["alac"] * 5
    assert {(each["sample_rate"], each["channels"], each["bits_per_raw_sample"]) for each in streams} == {
        (str(rate), 2, depth)
    }
    assert {(each["duration_ts"], each["time_base"]) for each in streams} == {(len(mix), f"1/{rate}")}
    assert [each["disposition"]["default"] for each in streams] == [1, 0, 0, 0, 0]
    decoded = [track(path, number) for number in range(5)]
    step = 2.0 ** (1 - int(depth))
    assert {len(each) for each in decoded} == {len(mix)}
    assert np.abs(decoded[0] - mix).max() <= step
    assert np.abs(sum(decoded[1:]) - decoded[0]).max() <= 3 * step
    files, out = shares.run(
        tmp_path / "apart", tmp_path / "song.wav", options={"residual": "other"}, output=Output("wav", depth)
    )
    for number, stem in enumerate(shares.STEMS, 1):
        assert np.array_equal(decoded[number], shares.read(out / f"{stem}.wav"))
    (row,) = result.files
    assert (row.name, row.stem, row.frames, row.sample_rate, row.channels) == (path.name, "master", len(mix), rate, 2)
    assert [each.stem for each in row.tracks] == list(TRACKS)
    for each, samples in zip(row.tracks, decoded, strict=True):
        assert each.peak == pytest.approx(np.abs(samples).max(), abs=1e-9)
    apart = {each.stem: each.lufs for each in files.files}
    assert {each.stem: each.lufs for each in row.tracks[1:]} == apart
    assert (row.peak, row.lufs) == (row.tracks[0].peak, row.tracks[0].lufs)
    assert row.bytes == path.stat().st_size


def test_the_stem_box(tmp_path):
    _, path = make(tmp_path, shares.music(1, RATE, 2))
    ftyp, *_, moov = boxes(path)
    assert (ftyp.type, moov.type) == (b"ftyp", b"moov")
    tracks = [each for each in moov.children if each.type == b"trak"]
    assert [child(each, b"tkhd").flags & 1 for each in tracks] == [1, 0, 0, 0, 0], "only the song is enabled"
    assert {child(each, b"mdia", b"mdhd").duration for each in tracks} == {RATE}
    udta = child(moov, b"udta")
    raw = udta.data if hasattr(udta, "data") else Box.build(udta)[8:]
    at = raw.index(b"stem", 4) - 4
    document = json.loads(raw[at + 8 : at + int.from_bytes(raw[at : at + 4], "big")])
    assert document["version"] == 1
    assert [each["name"] for each in document["stems"]] == ["Drums", "Bass", "Other", "Vocals"]
    assert all(len(each["color"]) == 7 and int(each["color"][1:], 16) for each in document["stems"])
    compressor, limiter = (document["mastering_dsp"][name] for name in ("compressor", "limiter"))
    assert set(compressor) == {
        "enabled", "input_gain", "output_gain", "threshold", "dry_wet", "attack", "release", "ratio", "hp_cutoff",
    }  # fmt: skip
    assert set(limiter) == {"enabled", "threshold", "ceiling", "release"}
    assert (compressor["enabled"], limiter["enabled"]) == (False, False)


def test_tags_and_cover(tmp_path):
    (tmp_path / "c.jpg").write_bytes(JPEG)
    stamp = {"STEMD_JOB_UUID": "0192"}
    mix = shares.music(1, RATE, 2)
    _, path = make(tmp_path, mix, tags={"title": "Ä", "artist": "B"}, stamp=stamp, art=tmp_path / "c.jpg")
    tags = readers.tags(path)
    wanted = {"TITLE": "Ä", "ARTIST": "B", "STEMD_JOB_UUID": "0192", "STEMD_STEM": "master"}
    assert {key: tags.get(key) for key in wanted} == wanted
    assert readers.picture(path) == JPEG
    assert np.abs(track(path, 0) - mix).max() < 1e-6


@pytest.mark.parametrize(("rate", "written"), [(22_050, 44_100), (96_000, 48_000), (32_000, 44_100)])
def test_a_rate_the_format_lacks_is_said(tmp_path, rate, written):
    result, path = make(tmp_path, shares.music(1, rate, 2), rate)
    (row,) = result.files
    assert (row.sample_rate, row.frames) == (written, written)
    assert len(track(path, 4)) == written
    assert str(written) in result.warnings[0]


def test_mono_becomes_stereo_and_is_said(tmp_path):
    mix = shares.music(1, RATE, 1)
    result, path = make(tmp_path, mix)
    assert np.abs(track(path, 0) - mix).max() < 1e-6
    assert (result.source.channels, result.files[0].channels) == (1, 2)
    assert "mono" in result.warnings[0]


def test_one_gain_for_the_song_too(tmp_path):
    mix = shares.music(1, RATE, 2)
    result, path = make(tmp_path, mix, engine=SharesEngine(bass=4.0))
    gain = 10 ** (result.gain_db / 20)
    assert gain < 0.9
    assert np.abs(track(path, 0) - gain * mix).max() < 1e-6
    assert np.abs(track(path, 2) - gain * 4 * mix).max() < 1e-6


def test_other_orders_become_that_of_the_format(tmp_path):
    result, path = make(tmp_path, shares.music(1, RATE, 2), stems=("vocals", "no_vocals", "bass", "drums"))
    assert [each.stem for each in result.files[0].tracks] == ["master", "drums", "bass", "vocals", "no_vocals"]
    assert np.abs(track(path, 3) + track(path, 4) - track(path, 0)).max() < 1e-6


@pytest.mark.parametrize(
    ("request_", "count"), [({"stems": 2}, 2), ({"stems": ("vocals",)}, 1), ({"options": {"residual": "file"}}, 5)]
)
def test_anything_but_four_stems_is_refused_before_the_work(tmp_path, request_, count):
    with pytest.raises(StemdError) as caught:
        make(tmp_path, shares.music(1, RATE, 2), engine=NoEngine(), **request_)
    assert caught.value.code == "STEMD-A006"
    assert f"this job gives {count}" in caught.value.message


def test_a_float_stem_file_is_refused(tmp_path):
    with pytest.raises(StemdError) as caught:
        make(tmp_path, shares.music(1, RATE, 2), depth="32f", engine=NoEngine())
    assert caught.value.code == "STEMD-A006"


def test_without_ffmpeg_it_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StemdError) as caught:
        make(tmp_path, shares.music(1, RATE, 2), engine=NoEngine())
    assert caught.value.code == "STEMD-A004"
    assert "apt-get install ffmpeg" in caught.value.remedy


class NoEngine(SharesEngine):
    """Must not be asked to separate."""

    def separate_segments(self, lane, batch):
        raise AssertionError("the separation was started")


def test_damage_is_noticed(tmp_path, monkeypatch):
    real = stem_mp4.StemMp4Writer.finish

    def damaged(self) -> None:
        real(self)
        content = bytearray(self.path.read_bytes())
        content[len(content) // 2] ^= 1
        self.path.write_bytes(content)

    monkeypatch.setattr(stem_mp4.StemMp4Writer, "finish", damaged)
    with pytest.raises(StemdError) as caught:
        make(tmp_path, shares.music(2, RATE, 2))
    assert caught.value.code == "STEMD-S013"


def test_a_full_disk(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "stemd", small]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("cannot mount a tmpfs")
    try:
        source = tmp_path / "song.wav"
        soundfile.write(source, shares.music(5, RATE, 2), RATE)
        (tmp_path / "out").symlink_to(small)
        with pytest.raises(StemdError) as caught:
            shares.run(tmp_path, source, output=Output("stem.mp4", "24"))
        assert caught.value.code == "STEMD-R003"
    finally:
        subprocess.run(["umount", small], check=True)
