"""Ogg comments: replaced by any others, of any length, the sound untouched."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from stemd.engines.audio import ogg_tags
from stemd.engines.audio.cover import Cover
from tests.support.pictures import JPEG, PNG, png
from tests.unit.engines.audio import readers

TAGS = {"TITLE": "Lied (vocals)", "STEMD_JOB_UUID": "0192", "ARTIST": "Ana & Ωmega", "COMMENT": "a=b\nc"}


def bitwise_checksum(data: bytes) -> int:
    """RFC 3533 §6 as it is written."""
    crc = 0
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc


@pytest.fixture(params=["VORBIS", "OPUS"])
def ogg(request, tmp_path):
    path = tmp_path / f"a.{request.param.lower()}"
    sound = np.random.default_rng(0).uniform(-0.3, 0.3, (150_000, 2))
    soundfile.write(path, sound, 48_000, format="OGG", subtype=request.param)
    return path


@given(st.binary(max_size=200))
def test_checksum(data):
    assert ogg_tags.checksum(data) == bitwise_checksum(data)


@pytest.mark.parametrize("room", [0, 10, 250, 255, 65_025, 400_000])
def test_comments_of_any_length(ogg, room):
    audio = soundfile.read(ogg)[0]
    tags = {**TAGS, "LYRICS": "x" * room} if room else TAGS
    for _ in range(2):
        ogg_tags.write(ogg, tags, None)
        assert ogg_tags.read(ogg) == (tags, None)
        assert np.array_equal(soundfile.read(ogg)[0], audio)
    ogg_tags.write(ogg, {}, None)
    assert ogg_tags.read(ogg) == ({}, None)
    assert np.array_equal(soundfile.read(ogg)[0], audio)
    assert [path.name for path in ogg.parent.iterdir()] == [ogg.name]


def test_every_page_is_sound(ogg):
    ogg_tags.write(ogg, {**TAGS, "LYRICS": "la " * 100_000}, None)
    data, at, numbers = ogg.read_bytes(), 0, []
    while at < len(data):
        segments = data[at + 26]
        end = at + 27 + segments + sum(data[at + 27 : at + 27 + segments])
        page = data[at:end]
        crc = struct.unpack_from("<I", page, 22)[0]
        numbers.append(struct.unpack_from("<I", page, 18)[0])
        assert crc == ogg_tags.checksum(page[:22] + bytes(4) + page[26:])
        at = end
    assert numbers == list(range(len(numbers)))


@readers.needs_ffmpeg
@pytest.mark.parametrize("data", [PNG, JPEG, png(noise=bytes(range(1, 256)) * 20_000)], ids=["png", "jpeg", "large"])
def test_an_independent_reader_agrees(ogg, data):
    frames = len(soundfile.read(ogg)[0])
    ogg_tags.write(ogg, TAGS, Cover.of(data))
    found = readers.tags(ogg)
    assert {key: found.get(key) for key in TAGS} == TAGS
    assert readers.picture(ogg) == data
    assert ogg_tags.read(ogg)[1].data == data
    assert len(soundfile.read(ogg)[0]) == frames


@readers.needs_ffmpeg
@pytest.mark.parametrize("codec", ["libvorbis", "libopus"])
def test_what_ffmpeg_writes_is_read(tmp_path, codec):
    path = readers.make(tmp_path / "a.ogg", "-c:a", codec, "-metadata", "title=Ä", "-metadata", "mood=calm")
    tags, picture = ogg_tags.read(path)
    assert (tags["TITLE"], tags["MOOD"], picture) == ("Ä", "calm", None)


def test_no_ogg(tmp_path):
    for content in (b"", b"OggS", b"RIFF" + bytes(100), b"OggS" + bytes(23)):
        (tmp_path / "a.ogg").write_bytes(content)
        assert ogg_tags.read(tmp_path / "a.ogg") == ({}, None)
    with pytest.raises(ValueError):
        ogg_tags.write(tmp_path / "a.ogg", TAGS, None)


def test_headers_cut_short(ogg):
    content = ogg.read_bytes()
    for length in (20, 60, 80, 200):
        ogg.write_bytes(content[:length])
        assert ogg_tags.read(ogg) == ({}, None)
