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
