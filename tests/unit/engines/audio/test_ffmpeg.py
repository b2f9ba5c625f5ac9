"""What ffmpeg's containers declare of their sound, and what they declare of something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stemd.core.errors import StemdError
from stemd.engines.audio.decode import Source, open_source
from stemd.engines.audio.mp4_boxes import box, replace_udta
from stemd.engines.audio.mp4_tags import build
from tests.support.pictures import JPEG
from tests.unit.engines.audio.readers import facts, make, needs_ffmpeg

pytestmark = needs_ffmpeg
RATE = 44_100
STEREO = ("-ac", "2", "-ar", str(RATE))
AAC_DELAY = 1024


def film(target: Path, *options: str, seconds: float, late: float = 0.0) -> Path:
    """Sound of ``seconds``, beginning ``late``, beside a picture of 4 s."""
    picture = ("-f", "lavfi", "-i", "color=c=black:s=64x64:r=10:d=4")
    sound = ("-itsoffset", str(late), "-f", "lavfi", "-i", f"anoisesrc=d={seconds}:a=0.1")
    return make(target, *picture, *sound, "-map", "1:v", "-map", "2:a", *STEREO, *options)


def count(source: Source) -> int:
    return sum(len(block) for block in source.blocks())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mkv", ("-c:v", "mpeg4", "-c:a", "aac")),
        ("a.webm", ("-c:v", "libvpx", "-c:a", "libopus", "-ar", "48000")),
        ("a.flv", ("-c:v", "flv", "-c:a", "aac")),
        ("a.wmv", ("-c:v", "wmv2", "-c:a", "wmav2")),
        ("a.mp4", ("-c:v", "mpeg4", "-c:a", "aac")),
        ("a.ts", ("-c:v", "mpeg2video", "-r", "25", "-c:a", "mp2")),
        ("a.avi", ("-c:v", "mpeg4", "-c:a", "mp2")),
    ],
)
def test_a_picture_may_last_longer_than_the_sound(tmp_path, name, options):
    source = open_source(film(tmp_path / name, *options, seconds=2.0))
    assert abs(count(source) - 2.0 * source.rate) < 0.1 * source.rate


@pytest.mark.parametrize(
    ("name", "options"), [("a.wma", ("-c:a", "wmav2")), ("a.mka", ("-c:a", "flac")), ("a.flv", ("-c:a", "aac"))]
)
def test_a_length_that_can_only_be_the_sounds_is_binding(tmp_path, name, options):
    path = make(tmp_path / name, *STEREO, *options, seconds=5.0)
    assert abs(count(open_source(path)) - 5 * RATE) < RATE // 10
    assert_refused_when_cut(path)


def test_a_cover_has_no_length(tmp_path):
    cover = tmp_path / "cover.jpg"
    cover.write_bytes(JPEG)
    attached = ("-attach", str(cover), "-metadata:s:t", "mimetype=image/jpeg")
    path = make(tmp_path / "a.mka", *STEREO, "-c:a", "flac", *attached, seconds=5.0)
    without_statistics(path)
    source = open_source(path)
    assert (count(source), source.cover().data, source.warnings) == (5 * RATE, JPEG, [])
    assert_refused_when_cut(path)


def without_statistics(path: Path) -> None:
    """Take the tag away in which ffmpeg says how long a Matroska track is."""
    content = path.read_bytes()
    assert b"DURATION" in content
    path.write_bytes(content.replace(b"DURATION", b"WHATEVER"))


def assert_refused_when_cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 5])
    with pytest.raises(StemdError) as caught:
        count(open_source(path))
    assert caught.value.code == "STEMD-A002"


def test_a_film_whose_sound_states_its_length_is_refused_when_cut(tmp_path):
    path = film(tmp_path / "a.mkv", "-c:v", "mpeg4", "-c:a", "aac", seconds=3.5)
    assert_refused_when_cut(path)


@pytest.mark.parametrize("name", ["a.flv", "a.mkv"])
def test_a_film_whose_sound_does_not_is_read_as_it_is_and_that_is_said(tmp_path, name):
    path = film(tmp_path / name, "-c:v", "flv", "-c:a", "aac", seconds=2.0)
    if name == "a.mkv":
        without_statistics(path)
    source = open_source(path)
    assert abs(count(source) - 2 * RATE) < RATE // 10
    assert source.probe.declared is None
    assert "states its length" in source.warnings[0]


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
@pytest.mark.parametrize("late", [0.01, 0.03, 0.5, 1.5])
def test_sound_that_begins_late_is_whole(tmp_path, name, late):
    source = open_source(film(tmp_path / name, "-c:v", "mpeg4", "-c:a", "alac", seconds=2.0, late=late))
    assert count(source) == 2 * RATE


@pytest.mark.parametrize("late", [0.03, 1.5])
def test_aac_that_begins_late_keeps_its_last_frames(tmp_path, late):
    source = open_source(film(tmp_path / "a.mp4", "-c:v", "mpeg4", "-c:a", "aac", seconds=2.0, late=late))
    assert 2 * RATE <= count(source) <= 2 * RATE + AAC_DELAY


def test_a_delay_that_only_itunes_tag_names_is_left_out(tmp_path):
    path = make(tmp_path / "a.m4a", *STEREO, "-c:a", "aac", "-use_editlist", "0", seconds=2.0)
    assert count(open_source(path)) == 2 * RATE + AAC_DELAY
    gapless = f" 00000000 {AAC_DELAY:08X} 000001BC {2 * RATE:016X}"
    replace_udta(path, box(b"udta", build({"iTunSMPB": gapless}, None)))
    assert float(facts(path)["streams"][0]["start_time"]) > 0
    source = open_source(path)
    sound = np.concatenate(list(source.blocks()))
    assert len(sound) == 2 * RATE
