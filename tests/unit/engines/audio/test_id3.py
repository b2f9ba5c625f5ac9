"""ID3v2: every version is read, 2.4 is written, broken tags harm nothing."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemd.engines.audio import id3
from stemd.engines.audio.cover import FRONT, Cover
from tests.support.pictures import JPEG, PNG
from tests.unit.engines.audio import readers

TAGS = {
    "TITLE": "Lied (vocals)", "ARTIST": "Ana & Ωmega", "ALBUMARTIST": "B", "TRACKNUMBER": "3/12", "DATE": "1999-05-01",
    "COMMENT": "a=b\nc", "LYRICS": "la\nla", "ISRC": "XX", "STEMD_JOB_UUID": "0192", "MOOD": "",
}  # fmt: skip


def synchsafe(value: int) -> bytes:
    return bytes(value >> shift & 0x7F for shift in (21, 14, 7, 0))


def tag(version: int, frames: bytes, flags: int = 0) -> bytes:
    return b"ID3" + bytes([version, 0, flags]) + synchsafe(len(frames)) + frames


def frame(name: str, content: bytes, version: int, flags: int = 0) -> bytes:
    if version == 2:
        return name.encode() + struct.pack(">I", len(content))[1:] + content
    size = synchsafe(len(content)) if version == 4 else struct.pack(">I", len(content))
    return name.encode() + size + bytes([0, flags]) + content


def test_there_and_back():
    data = id3.build(TAGS, Cover("image/png", PNG))
    assert id3.size(data[:10]) == len(data)
    tags, picture = id3.parse(data)
    assert tags == {key: value for key, value in TAGS.items() if value}
    assert (picture.kind, picture.data) == (FRONT, PNG)
    assert id3.parse(id3.build({}, None)) == ({}, None)


@given(st.dictionaries(st.sampled_from(["TITLE", "COMMENT", "LYRICS", "X", "Y Z"]), st.text(max_size=300), max_size=5))
def test_any_text(tags):
    def plain(value: str) -> str:
        return "; ".join(part.strip() for part in value.split("\0") if part.strip())

    found, _ = id3.parse(id3.build(tags, None))
    expected = {
        key: plain(value.encode("utf-8", "replace").decode().replace("\ufeff", "")) for key, value in tags.items()
    }
    assert found == {key: value for key, value in expected.items() if value}


@pytest.mark.parametrize(
    ("code", "text"),
    [(0, "Über".encode("latin-1")), (1, b"\xff\xfe" + "Über".encode("utf-16-le")), (3, "Über".encode()),
     (1, b"\xfe\xff" + "Über".encode("utf-16-be")), (2, "Über".encode("utf-16-be"))],
)  # fmt: skip
@pytest.mark.parametrize(("version", "name"), [(2, "TT2"), (3, "TIT2"), (4, "TIT2")])
def test_encodings(version, name, code, text):
    assert id3.parse(tag(version, frame(name, bytes([code]) + text, version)))[0] == {"TITLE": "Über"}


def test_a_description_in_two_bytes_a_letter():
    content = b"\x01" + b"\xff\xfe" + "Mood\0calm Ā".encode("utf-16-le").replace(b"c\0", b"\xff\xfec\0", 1)
    assert id3.parse(tag(3, frame("TXXX", content, 3)))[0] == {"MOOD": "calm Ā"}


def test_several_values_and_comments_of_programs():
    frames = frame("TPE1", b"\x03A\0B", 4) + frame("COMM", b"\x00engiTunNORM\0 0001", 4)
    assert id3.parse(tag(4, frames + frame("COMM", b"\x00eng\0mine", 4)))[0] == {"ARTIST": "A; B", "COMMENT": "mine"}


def test_pictures_of_old_tags():
    back = frame("PIC", b"\x00PNG\x04\0" + PNG, 2)
    front = frame("PIC", b"\x00JPG\x03cover\0" + JPEG, 2)
    assert id3.parse(tag(2, back + front))[1].data == JPEG
    assert id3.parse(tag(2, back))[1].data == PNG


def test_unsynchronised():
    content = b"\x00image/jpeg\0\x03\0" + JPEG
    escaped = content.replace(b"\xff", b"\xff\0")
    assert id3.parse(tag(4, frame("APIC", escaped, 4, 0x02)))[1].data == JPEG
    assert id3.parse(tag(4, frame("APIC", struct.pack(">I", len(content)) + escaped, 4, 0x03)))[1].data == JPEG
    whole = frame("APIC", content, 3).replace(b"\xff", b"\xff\0")
    assert id3.parse(tag(3, whole, 0x80))[1].data == JPEG


def test_an_extended_header_is_passed_over():
    frames = frame("TIT2", b"\x03x", 3)
    assert id3.parse(tag(3, struct.pack(">IHI", 6, 0, 0) + frames, 0x40))[0] == {"TITLE": "x"}
    assert id3.parse(tag(4, synchsafe(6) + b"\x01\0" + frame("TIT2", b"\x03x", 4), 0x40))[0] == {"TITLE": "x"}


def test_compressed_and_encrypted_frames_are_left_out():
    for flags in (0x08, 0x04):
        assert id3.parse(tag(4, frame("TIT2", b"\x03x", 4, flags)))[0] == {}
    assert id3.parse(tag(3, frame("TIT2", b"\x00x", 3, 0x80)))[0] == {}


def by_itunes(*frames: tuple[str, bytes]) -> bytes:
    """Frames of version 2.4 whose sizes are written as in 2.3."""
    return b"".join(name.encode() + struct.pack(">I", len(content)) + b"\0\0" + content for name, content in frames)


PHOTO = b"\x00image/jpeg\0\x03\0" + JPEG + bytes(range(256)) * 100


@pytest.mark.parametrize("padding", [0, 5, 10, 2000])
@pytest.mark.parametrize("order", [1, -1])
def test_plain_sizes_in_2_4(order, padding):
    frames = [("APIC", PHOTO), ("TIT2", b"\x03after"), ("COMM", b"\0eng\0" + b"long " * 60)][::order]
    found, picture = id3.parse(tag(4, by_itunes(*frames) + bytes(padding)))
    assert found == {"TITLE": "after", "COMMENT": "long " * 59 + "long"}
    assert picture.data == PHOTO[14:]


@pytest.mark.parametrize("padding", [0, 5, 10, 2000])
@pytest.mark.parametrize("size", [127, 128, 255, 256, 1000, 20_000, 70_000])
def test_sizes_of_2_4_are_believed_where_they_lead_on(size, padding):
    content = b"\x03" + b"TIT2" * (size // 4) + b"x" * (size % 4)
    frames = frame("TPE1", content, 4) + frame("TIT2", b"\x03after", 4)
    found, _ = id3.parse(tag(4, frames + bytes(padding)))
    assert found["TITLE"] == "after"
    assert found["ARTIST"] == content[1:].decode()


def test_a_size_that_leads_nowhere_either_way_is_the_one_of_2_4():
    frames = frame("TIT2", b"\x03" + b"x" * 299, 4)
    found, _ = id3.parse(tag(4, frames + b"?!" * 50))
    assert found == {"TITLE": "x" * 299}


@given(st.binary(max_size=300), st.sampled_from([2, 3, 4]), st.integers(0, 255))
def test_nonsense_does_no_harm(body, version, flags):
    id3.parse(tag(version, body, flags))
    id3.parse(b"ID3" + body)


@readers.needs_ffmpeg
@pytest.mark.parametrize("version", ["3", "4"])
def test_what_ffmpeg_writes_is_read(tmp_path, version):
    (tmp_path / "c.jpg").write_bytes(JPEG)
    path = readers.make(
        tmp_path / "a.mp3", "-i", tmp_path / "c.jpg", "-map", "0", "-map", "1", "-c:v", "copy",
        "-id3v2_version", version, "-metadata", "title=Ä", "-metadata", "album_artist=B", "-metadata", "mood=calm",
        "-metadata:s:v", "comment=Cover (front)",
    )  # fmt: skip
    data = path.read_bytes()
    tags, picture = id3.parse(data[: id3.size(data[:10])])
    assert (tags["TITLE"], tags["ALBUMARTIST"], tags["MOOD"]) == ("Ä", "B", "calm")
    assert (picture.kind, picture.data) == (FRONT, JPEG)
