"""Names in the tags of real recordings are found wherever they stand; letters in their sound are no name."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import pytest

from stemd.spool import tag_places
from stemd.spool.books import Books
from stemd.spool.verification import Secrets, search

USER = "zaide-42"
MIB = 1 << 20
#: Of each container: its suffix, and what ffmpeg is told to make it.
KINDS = {
    "flac": ("flac", []),
    "wav": ("wav", []),
    "rf64": ("wav", ["-rf64", "always"]),
    "aiff": ("aiff", ["-write_id3v2", "1"]),
    "mp3": ("mp3", ["-b:a", "320k"]),
    "mp3, in UTF-16": ("mp3", ["-b:a", "320k", "-id3v2_version", "3"]),
    "aac": ("aac", ["-b:a", "256k", "-write_id3v2", "1"]),
    "m4a": ("m4a", ["-b:a", "256k"]),
    "m4a, the index first": ("m4a", ["-b:a", "256k", "-movflags", "+faststart"]),
    "vorbis": ("ogg", ["-c:a", "libvorbis", "-q:a", "9"]),
    "opus": ("opus", ["-b:a", "256k"]),
    "flac in ogg": ("oga", ["-c:a", "flac"]),
    "matroska": ("mka", ["-c:a", "flac"]),
}
FOLLOWED = sorted(KINDS.keys() - {"matroska"})


@lru_cache
def made(kind: str, title: str, seconds: int) -> bytes:
    suffix, options = KINDS[kind]
    noise = ["-f", "lavfi", "-i", f"anoisesrc=d={seconds}:c=white:a=0.5:r=44100:s=1"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"song.{suffix}")
        command = ["ffmpeg", "-v", "error", *noise, "-metadata", f"title={title}", *options, str(path)]
        subprocess.run(command, check=True)
        return path.read_bytes()


def recording(folder: Path, kind: str, title: str, seconds: int = 6) -> Path:
    """Noise, with a tag."""
    path = folder / f"song.{KINDS[kind][0]}"
    path.write_bytes(made(kind, title, seconds))
    return path


def found(way) -> list[str]:
    books = Books.of(way.config).open()
    return search(way.config, books, Secrets(USER, frozenset(), frozenset(), frozenset()))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_name_in_a_tag_is_found(way, kind):
    path = recording(way.spool.outbox, kind, f"by {USER} himself")
    assert path.stat().st_size > 100_000
    assert found(way) == [f"outbox/{path.name}"]


@pytest.mark.parametrize("kind", FOLLOWED)
def test_its_letters_in_the_sound_are_no_name(way, kind):
    """Three of them come by chance in every few megabytes."""
    path = recording(way.spool.outbox, kind, "of nobody")
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(f" {USER} ".encode())
    assert found(way) == []
    with path.open("rb") as file:
        passages = tag_places.passages(file.fileno(), size := path.stat().st_size)
    assert passages is not None
    assert sum(end - begin for ranges in passages for begin, end in ranges) < size / 10


def test_a_name_behind_a_large_picture_is_found(way):
    """In the middle of the file, where neither its beginning nor its end is near."""
    path = recording(way.spool.outbox, "flac", "of nobody", 20)
    content = path.read_bytes()
    blocks, at, last = {}, 4, False
    while not last:
        last, kind = bool(content[at] & 0x80), content[at] & 0x7F
        end = at + 4 + int.from_bytes(content[at + 1 : at + 4], "big")
        blocks[kind], at = content[at + 4 : end], end
    image = os.urandom(3 * MIB)
    facts = [3, 10, b"image/jpeg", 0, b"", 1200, 1200, 24, 0, len(image), image]
    picture = b"".join(each if isinstance(each, bytes) else each.to_bytes(4, "big") for each in facts)
    text = f"TITLE=by {USER} himself".encode()
    comment = bytes(4) + (1).to_bytes(4, "little") + len(text).to_bytes(4, "little") + text
    order = [(0, blocks[0]), (6, picture), (0x84, comment)]
    header = b"".join(bytes([kind]) + len(data).to_bytes(3, "big") + data for kind, data in order)
    path.write_bytes(b"fLaC" + header + content[at:])
    asked = ["ffprobe", "-v", "error", "-show_entries", "format_tags", "-of", "json", str(path)]
    probed = json.loads(subprocess.run(asked, check=True, capture_output=True).stdout)
    assert USER in str(probed), "it is a tag to others too"
    assert MIB < path.read_bytes().index(USER.encode()) < path.stat().st_size - MIB
    assert found(way) == [f"outbox/{path.name}"]


@pytest.mark.parametrize("where", ["ID3v1", "APE", "APE before an ID3v1"])
def test_so_is_one_behind_the_sound(way, where):
    """An APE tag with a picture, as players put it there."""
    path = recording(way.spool.outbox, "mp3", "of nobody")
    name = USER.encode()
    items = b"TITLE\0" + name + bytes(100_000)
    facts = [2000, len(items) + 32, 1, 0]
    ape = items + b"APETAGEX" + b"".join(each.to_bytes(4, "little") for each in facts) + bytes(8)
    id3v1 = b"TAG" + (name if where == "ID3v1" else b"x").ljust(125, b"\0")
    path.write_bytes(path.read_bytes() + ape * where.startswith("APE") + id3v1 * where.endswith("ID3v1"))
    assert found(way) == [f"outbox/{path.name}"]


def test_a_comment_that_goes_on_on_another_page_is_one(way):
    path = recording(way.spool.outbox, "vorbis", "x" * 60_000 + f" {USER} " + "y" * 60_000)
    content = bytearray(path.read_bytes())
    at = content.index(USER.encode())
    page = content.rindex(b"OggS", 0, at)
    segments = content[page + 26]
    begin = page + 27 + segments
    assert begin < at, "it is in the page's content"
    with path.open("rb") as file:
        (_, pages) = tag_places.passages(file.fileno(), len(content)) or []
    assert len(pages) >= 3
    # the name, moved to where one page ends and the next begins
    first, second = pages[1], pages[2]
    name = USER.encode()
    content[at : at + len(name)] = b"z" * len(name)
    content[first[1] - 4 : first[1]] = name[:4]
    content[second[0] : second[0] + 4] = name[4:]
    content[first[1] - 5], content[second[0] + 4] = ord(" "), ord(" ")
    path.write_bytes(content)
    assert found(way) == [f"outbox/{path.name}"]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_what_is_cut_off_or_damaged_is_searched_all_the_same(way, kind):
    """Wherever the lengths lead: nothing fails, and a name that stands at its very end is found."""
    path = recording(way.spool.outbox, kind, "of nobody")
    content = path.read_bytes()
    for size in (5, 13, 30, 60, 300, 5000):
        (way.spool.outbox / f"{size}.{path.suffix}").write_bytes(content[:size])
        damaged = content[: size // 2] + b"\xff" * 8 + content[size // 2 :]
        (way.spool.outbox / f"{size} damaged{path.suffix}").write_bytes(damaged)
    assert found(way) == []
    path.write_bytes(b"\0\0\0\0" + content[4:100_000] + f" {USER}".encode())
    assert found(way) == [f"outbox/{path.name}"], "nobody knows what it is: it is read whole"
