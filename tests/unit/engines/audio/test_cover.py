"""Cover art: what counts as one, and where it is found."""

from __future__ import annotations

import pytest

from stemd.core.errors import StemdError
from stemd.engines.audio import cover, flac_tags
from stemd.engines.audio.cover import MOST_BYTES, Cover
from stemd.engines.audio.decode import open_source
from tests.support.pictures import JPEG, PNG
from tests.unit.engines.audio import readers


def test_by_its_first_bytes():
    assert Cover.of(PNG) == Cover("image/png", PNG)
    assert Cover.of(JPEG) == Cover("image/jpeg", JPEG)
    assert Cover.of(b"GIF89a") is None
    assert Cover.of(b"") is None
    assert Cover.of(JPEG + bytes(MOST_BYTES)) is None


@pytest.mark.parametrize("content", [b"GIF89a", b"", JPEG + bytes(MOST_BYTES)], ids=["gif", "empty", "large"])
def test_a_job_s_cover_that_is_none(tmp_path, content):
    (tmp_path / "cover.jpg").write_bytes(content)
    with pytest.raises(StemdError) as caught:
        cover.load(tmp_path / "cover.jpg")
    assert caught.value.code == "STEMD-A007"


def test_blocks():
    block = cover.pack_block(Cover("image/png", PNG))
    assert cover.unpack_block(block).data == PNG
    assert cover.unpack_block(block[:-1]) is None
    assert cover.unpack_block(b"") is None


@readers.needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "options"),
    [("a.mp3", []), ("a.flac", []), ("a.m4a", []), ("a.m4a", ["-c:a", "alac"]), ("a.aiff", ["-write_id3v2", "1"])],
)
@pytest.mark.parametrize("data", [PNG, JPEG], ids=["png", "jpeg"])
def test_found_in_what_ffmpeg_writes(tmp_path, name, options, data):
    picture = tmp_path / ("c.png" if data == PNG else "c.jpg")
    picture.write_bytes(data)
    path = readers.make(
        tmp_path / name,
        "-i",
        picture,
        "-map",
        "0:a",
        "-map",
        "1:v",
        "-c:v",
        "copy",
        *options,
        "-disposition:v",
        "attached_pic",
    )
    assert open_source(path).cover() == Cover.of(data)


@readers.needs_ffmpeg
def test_a_film_is_no_cover(tmp_path):
    film = ["-f", "lavfi", "-i", "testsrc=d=1:s=32x32", "-c:v", "mpeg4"]
    assert open_source(readers.make(tmp_path / "a.mp4", *film)).cover() is None


@readers.needs_ffmpeg
def test_a_picture_of_another_kind_is_left_out_with_a_warning(tmp_path):
    (tmp_path / "c.gif").write_bytes(b"GIF89a" + bytes(20))
    path = readers.make(tmp_path / "a.flac")
    content = path.read_bytes()
    blocks = flac_tags.parse(content)
    gif = (6, cover.pack_block(Cover("image/gif", b"GIF89a" + bytes(20))))
    path.write_bytes(flac_tags.build([*blocks, gif]) + content[len(flac_tags.build(blocks)) :])
    source = open_source(path)
    assert source.cover() is None and "cover" in source.warnings[0]
