"""What libsndfile reads of a file: the texts as they are written, in whatever letters."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemd.engines.audio import flac_tags, id3, sndfile
from stemd.engines.audio.cover import Cover
from stemd.engines.audio.decode import open_source
from tests.support.pictures import PNG

RATE = 44_100


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def with_info(path: Path, title: bytes, artist: bytes) -> Path:
    """A WAV with a list of INFO."""
    soundfile.write(path, np.zeros((100, 2)), RATE)
    info = chunk(b"LIST", b"INFO" + chunk(b"INAM", title + b"\0") + chunk(b"IART", artist + b"\0"))
    content = bytearray(path.read_bytes() + info)
    struct.pack_into("<I", content, 4, len(content) - 8)
    path.write_bytes(content)
    return path


def with_id3v1(path: Path, title: bytes, artist: bytes) -> Path:
    soundfile.write(path, np.zeros((RATE, 2)), RATE)
    tag = b"TAG" + title.ljust(30, b"\0") + artist.ljust(30, b"\0") + bytes(30) + b"1999" + bytes(31)
    path.write_bytes(path.read_bytes() + tag)
    return path


@pytest.mark.parametrize("covers", [(None, None), (b"own", None), (None, b"in front"), (b"own", b"in front")])
def test_a_flac_with_an_id3_tag_in_front(tmp_path, covers):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.zeros((100, 2)), RATE)
    own, strange = (Cover("image/png", PNG + each) if each else None for each in covers)
    flac_tags.write(path, {"TITLE": "own", "ISRC": "X"}, own)
    tag = id3.build({"TITLE": "strange", "ALBUMARTIST": "Z"}, strange)
    path.write_bytes(tag + path.read_bytes())
    source = open_source(path)
    assert source.probe.tags == {"TITLE": "own", "ISRC": "X", "ALBUMARTIST": "Z"}
    assert source.cover() == (own or strange)
    assert sum(len(block) for block in source.blocks()) == 100


@pytest.mark.parametrize("make", [with_info, with_id3v1])
@pytest.mark.parametrize(
    ("title", "artist", "wanted"),
    [
        ("Café".encode("latin-1"), "Björk".encode("latin-1"), ("Café", "Björk")),
        ("“Déjà” €5…".encode("cp1252"), b"plain", ("“Déjà” €5…", "plain")),
        ("Café".encode(), "Σίσυφος".encode(), ("Café", "Σίσυφος")),
        ("é и так далее и та".encode()[:30], b"x", ("é и так далее и т", "x")),
        (b"a\x81b\xff", b"x", ("a\ufffdbÿ", "x")),
    ],
    ids=["latin-1", "windows", "utf-8", "utf-8 that is cut off", "no letters"],
)
def test_letters_of_old_tags(tmp_path, make, title, artist, wanted):
    found = sndfile.probe(make(tmp_path / ("a.wav" if make is with_info else "a.mp3"), title, artist))
    assert (found.tags["TITLE"], found.tags["ARTIST"]) == wanted
