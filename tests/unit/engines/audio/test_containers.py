"""The marks in headers that say how much of a recording there is."""

from __future__ import annotations

import io

import pytest

from stemd.engines.audio import containers
from stemd.engines.audio.ogg_tags import Page

MIB = 1 << 20
BEGINNINGS = [b"\x01vorbis" + bytes(23), b"OpusHead" + bytes(11), b"\x7fFLAC" + bytes(46)]


def page(flags: int, body: bytes, number: int = 0) -> bytes:
    return Page(flags, 0, 7, number, bytes([len(body)]), body).to_bytes()


@pytest.mark.parametrize("body", BEGINNINGS)
@pytest.mark.parametrize("before_the_border", [0, 1, 27, 35, 36, 37, 100])
def test_streams_that_begin_in_an_ogg_are_counted(body, before_the_border):
    first = page(2, body)
    sound = bytes(MIB - before_the_border - len(first))
    assert containers.ogg_streams(io.BytesIO(first + sound)) == 1
    assert containers.ogg_streams(io.BytesIO(first + sound + page(2, body) + bytes(100))) == 2
    assert containers.ogg_streams(io.BytesIO(first + sound + page(2, body))) == 2


def test_what_is_no_beginning_of_sound_is_not_counted():
    picture, later = page(2, b"\x80theora" + bytes(35)), page(4, BEGINNINGS[0], 1)
    assert containers.ogg_streams(io.BytesIO(picture + page(2, BEGINNINGS[0]) + later)) == 1


NIST = (
    b"NIST_1A\n   1024\nchannel_count -i 1\nsample_count -i 96000\nsample_n_bytes -i 2\n"
    b"sample_coding -s%d %s\nend_head\n"
)


@pytest.mark.parametrize(
    "content",
    [
        bytes.fromhex("f07e0001000000") + bytes(40),
        bytes.fromhex("f07e0001000010"),
        b"RIFF\1",
        (NIST % (26, b"pcm,embedded-shorten-v2.00")).ljust(1024) + b"ajkg",
    ],
    ids=["no width", "cut off", "no more than a name", "compressed"],
)
def test_a_header_that_tells_nothing_of_the_bytes_misses_none(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with (tmp_path / "a").open("rb") as file:
        assert containers.missing_frames(file) == 0


def test_an_uncompressed_nist_file_that_is_cut_off_misses_some(tmp_path):
    (tmp_path / "a").write_bytes((NIST % (3, b"pcm")).ljust(1024) + bytes(96_000))
    with (tmp_path / "a").open("rb") as file:
        assert containers.missing_frames(file) == 48_000
