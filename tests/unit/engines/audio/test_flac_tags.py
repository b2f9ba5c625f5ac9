"""FLAC comments: replaced in place or by a longer header, the audio untouched."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from stemd.engines.audio import flac_tags, vorbis_comment
from stemd.engines.audio.cover import FRONT, Cover, pack_block
from tests.support.pictures import PNG

TAGS = {"TITLE": "Lied (vocals)", "STEMD_JOB_UUID": "0192", "ARTIST": "Ana & Ωmega", "COMMENT": "a=b\nc"}


@pytest.fixture
def flac(tmp_path):
    path = tmp_path / "a.flac"
    with soundfile.SoundFile(path, "w", 44_100, 2, "PCM_24", format="FLAC") as sound:
        sound.comment = "x" * 400
        sound.write(np.random.default_rng(0).uniform(-0.5, 0.5, (5000, 2)))
    return path


def test_in_place_where_they_fit(flac):
    before, audio = flac.stat(), soundfile.read(flac)[0]
    flac_tags.write(flac, TAGS)
    assert flac.stat().st_size == before.st_size and flac.stat().st_ino == before.st_ino
    assert vorbis_comment.unpack(comment_of(flac)) == TAGS
    assert np.array_equal(soundfile.read(flac)[0], audio)


def test_longer_than_the_room(flac):
    audio = soundfile.read(flac)[0]
    flac_tags.write(flac, {**TAGS, "LYRICS": "la " * 5000})
    assert vorbis_comment.unpack(comment_of(flac))["LYRICS"] == "la " * 5000
    assert np.array_equal(soundfile.read(flac)[0], audio)
    assert [path.name for path in flac.parent.iterdir()] == ["a.flac"]


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffprobe is not installed")
def test_an_independent_reader_agrees(flac):
    flac_tags.write(flac, TAGS)
    command = ["ffprobe", "-v", "error", "-show_entries", "format_tags", "-of", "json", flac]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["format"]["tags"]
    assert {key.upper(): value for key, value in found.items()} == TAGS


def test_a_cover_in_place_where_there_is_room_and_longer_where_there_is_none(flac):
    audio = soundfile.read(flac)[0]
    small, large = Cover("image/png", PNG), Cover("image/png", PNG + bytes(100_000))
    for cover in (small, large, small):
        flac_tags.write(flac, TAGS, cover)
        comments, picture = flac_tags.read(flac)
        assert comments == TAGS and picture.data == cover.data and picture.kind == FRONT
        assert np.array_equal(soundfile.read(flac)[0], audio)
    flac_tags.write(flac, TAGS)
    assert flac_tags.read(flac) == (TAGS, None)


def test_the_front_cover_is_preferred(flac):
    header, audio = flac.read_bytes(), soundfile.read(flac)[0]
    blocks = flac_tags.parse(header)
    front, back = pack_block(Cover("image/png", PNG)), bytearray(pack_block(Cover("image/png", PNG + b"back")))
    back[3] = 4
    size = len(flac_tags.build(blocks))
    flac.write_bytes(flac_tags.build([*blocks, (6, bytes(back)), (6, front)]) + header[size:])
    assert np.array_equal(soundfile.read(flac)[0], audio)
    assert flac_tags.read(flac)[1].data == PNG


def test_no_flac(tmp_path):
    (tmp_path / "a.flac").write_bytes(b"fLaC\x00\x00")
    assert flac_tags.read(tmp_path / "a.flac") == ({}, None)
    with pytest.raises(ValueError):
        flac_tags.parse(b"RIFF")


@given(
    st.integers(0, 600),
    st.dictionaries(st.text("ABCXYZ_", min_size=1, max_size=8), st.text(max_size=40), max_size=5),
)
def test_header_stays_the_same_length_where_there_is_room(room, comments):
    vendor = b"libFLAC"
    comment = len(vendor).to_bytes(4, "little") + vendor + (0).to_bytes(4, "little")
    header = flac_tags.build([(0, bytes(34)), (4, comment), (3, b"seek"), (1, bytes(room))])
    new = flac_tags.with_comments(header, comments)
    blocks = flac_tags.parse(new)
    assert blocks[0] == (0, bytes(34)) and (3, b"seek") in blocks
    found = vorbis_comment.unpack(next(content for kind, content in blocks if kind == 4))
    assert found == comments
    needed = sum(4 + len(f"{key}={value}".encode("utf-8", "replace")) for key, value in comments.items())
    assert (len(new) == len(header)) == (needed <= room or needed == room + 4)


def comment_of(path):
    return next(content for kind, content in flac_tags.parse(path.read_bytes()) if kind == 4)
