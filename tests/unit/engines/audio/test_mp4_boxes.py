"""Putting a box into ``moov/udta``: sizes and offsets stay true wherever ``moov`` stands."""

from __future__ import annotations

import json
import struct
import subprocess

import pytest

from stemd.engines.audio import mp4_boxes, mp4_tags
from stemd.engines.audio.cover import Cover
from stemd.engines.audio.mp4_boxes import box, children, replace_udta, shifted, top_level, with_udta
from tests.support.pictures import JPEG, PNG
from tests.unit.engines.audio import readers


def inner(data: bytes, *path: bytes) -> bytes:
    """The content of the box at ``path``."""
    for kind in path:
        found = next(each for each in children(data, 0, len(data)) if each.kind == kind)
        data = data[found.start + found.header : found.end]
    return data


def sound(path) -> bytes:
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(path), "-f", "s32le", "pipe:1"]
    return subprocess.run(command, capture_output=True, check=True).stdout


def long_box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4sQ", 1, kind, 16 + len(content)) + content


@readers.needs_ffmpeg
@pytest.mark.parametrize("options", [[], ["-movflags", "+faststart"]], ids=["moov last", "moov first"])
def test_in_a_real_file(tmp_path, options):
    path = readers.make(tmp_path / "a.mp4", "-c:a", "alac", "-metadata", "title=old", *options, seconds=3)
    before = sound(path)
    kinds = [each.kind for each in top_level(path.open("rb"))]
    for text in (b"a", b"b" * 100_000, b"c"):
        udta = box(b"udta", mp4_tags.build({"TITLE": "new"}, None), box(b"stem", text))
        replace_udta(path, udta)
        assert sound(path) == before
        assert readers.tags(path)["TITLE"] == "new"
        assert inner(path.read_bytes(), b"moov", b"udta", b"stem") == text
        assert [each.kind for each in top_level(path.open("rb"))] == kinds
    assert path.read_bytes().count(b"udta") == 1
    assert [each.name for each in tmp_path.iterdir()] == ["a.mp4"]


def moov(*tables: bytes) -> bytes:
    return box(b"moov", box(b"mvhd", bytes(100)), *(
        box(b"trak", box(b"tkhd", bytes(84)), box(b"mdia", box(b"minf", box(b"stbl", table)))) for table in tables
    ))  # fmt: skip


def stco(*offsets: int) -> bytes:
    return mp4_boxes.full_box(b"stco", struct.pack(f">{1 + len(offsets)}I", len(offsets), *offsets))


def co64(*offsets: int) -> bytes:
    return mp4_boxes.full_box(b"co64", struct.pack(f">I{len(offsets)}Q", len(offsets), *offsets))


def test_only_offsets_behind_move():
    old = moov(stco(50, 1000, 2000), co64(60, 1 << 40))
    assert shifted(old, 7, 1000) == moov(stco(50, 1007, 2007), co64(60, (1 << 40) + 7))
    assert shifted(old, -7, 0) == moov(stco(43, 993, 1993), co64(53, (1 << 40) - 7))


def test_an_offset_that_does_not_fit_any_more():
    with pytest.raises(ValueError, match="4 GiB"):
        shifted(moov(stco(0xFFFFFFF0)), 100, 0)


def test_a_media_box_of_more_than_4_gib_in_a_sparse_file(tmp_path):
    path = tmp_path / "a.mp4"
    size = 5 << 30
    with path.open("wb") as file:
        file.write(box(b"ftyp", b"isom"))
        file.write(struct.pack(">I4sQ", 1, b"mdat", 16 + size))
        start = file.tell()
        file.truncate(start + size)
        file.seek(start + size)
        file.write(moov(co64(start + size - 10)))
    replace_udta(path, box(b"udta", box(b"stem", b"{}")))
    with path.open("rb") as file:
        boxes = list(top_level(file))
        assert [(each.kind, each.end - each.start) for each in boxes[:2]] == [(b"ftyp", 12), (b"mdat", 16 + size)]
        file.seek(boxes[2].start)
        assert inner(file.read(), b"moov", b"udta", b"stem") == b"{}"


def test_moov_first_moves_the_media_by_what_was_added(tmp_path):
    path = tmp_path / "a.mp4"
    head = box(b"ftyp", b"isom")
    first = len(head) + len(moov(stco(0))) + 8
    path.write_bytes(head + moov(stco(first)) + box(b"mdat", b"sound"))
    udta = box(b"udta", box(b"stem", b"{}"))
    replace_udta(path, udta)
    data = path.read_bytes()
    where = struct.unpack(">I", inner(data, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stco")[8:])[0]
    assert (data[where : where + 5], where) == (b"sound", first + len(udta))


def test_long_boxes_and_boxes_to_the_end(tmp_path):
    new = with_udta(long_box(b"moov", box(b"mvhd", b"x") + box(b"udta", b"old")), box(b"udta", b"new"))
    assert new == box(b"moov", box(b"mvhd", b"x"), box(b"udta", b"new"))
    path = tmp_path / "a.mp4"
    path.write_bytes(moov(stco()) + struct.pack(">I4s", 0, b"mdat") + b"sound")
    assert [each.kind for each in top_level(path.open("rb"))] == [b"moov", b"mdat"]


@pytest.mark.parametrize("content", [b"", b"RIFFxxxx", box(b"ftyp"), box(b"moov") + b"\0\0", b"\0\0\0\x04moov"])
def test_no_mp4(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(ValueError):
        replace_udta(tmp_path / "a.mp4", box(b"udta"))


@readers.needs_ffmpeg
@pytest.mark.parametrize("data", [PNG, JPEG], ids=["png", "jpeg"])
def test_tags_as_an_independent_reader_sees_them(tmp_path, data):
    path = readers.make(tmp_path / "a.mp4", "-c:a", "alac")
    tags = {
        "TITLE": "Ä", "ARTIST": "A", "ALBUMARTIST": "B", "TRACKNUMBER": "3/12", "DISCNUMBER": "1", "DATE": "1999",
        "LYRICS": "la", "STEMD_JOB_UUID": "0192", "MOOD": "calm",
    }  # fmt: skip
    replace_udta(path, box(b"udta", mp4_tags.build({**tags, "BPM": "120"}, Cover.of(data))))
    found = readers.tags(path)
    expected = {**tags, "ALBUM_ARTIST": "B", "TRACK": "3/12", "DISC": "1"}
    for key in ("ALBUMARTIST", "TRACKNUMBER", "DISCNUMBER"):
        expected.pop(key)
    assert {key: found.get(key) for key in expected} == expected, json.dumps(found)
    assert readers.picture(path) == data


def test_a_track_number_that_is_none_is_kept_as_text():
    assert b"trkn" not in mp4_tags.build({"TRACKNUMBER": "A1"}, None)
    assert b"A1" in mp4_tags.build({"TRACKNUMBER": "A1"}, None)
