"""ID3 tags in chunked sound files: WAV, RIFX and RF64 (chunk ``id3 ``) and AIFF (chunk ``ID3 ``)."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

_OPEN_32 = 0xFFFFFFFF
_MOST_CHUNKS = 10_000
_MOST_BYTES = 64 << 20


def read_id3(path: Path) -> bytes:
    """The ID3 tag of the file at ``path``; empty where it has none."""
    with path.open("rb") as file:
        for name, size in _chunks(file):
            if name.lower() == b"id3 ":
                return file.read(min(size, _MOST_BYTES))
    return b""


def zero_peak_time(path: Path) -> None:
    """Leave the time of writing out of libsndfile's chunk ``PEAK`` (float WAV): the same sound is the same bytes."""
    with path.open("r+b") as file:
        if any(name == b"PEAK" for name, _ in _chunks(file)):
            file.seek(4, os.SEEK_CUR)  # its version stands before the time
            file.write(bytes(4))


def append_id3(path: Path, tag: bytes) -> None:
    """Put ``tag`` into a chunk after the sound of a WAV or RF64 file that has none."""
    with path.open("r+b") as file:
        head = file.read(4)
        end = file.seek(0, os.SEEK_END)
        file.write(b"\0" * (end % 2) + b"id3 " + struct.pack("<I", len(tag)) + tag + b"\0" * (len(tag) % 2))
        whole = file.tell() - 8
        if head == b"RF64":
            file.seek(20)  # the size in ds64, which is the first chunk (EBU Tech 3306 §3.5)
            file.write(struct.pack("<Q", whole))
        else:
            file.seek(4)
            file.write(struct.pack("<I", whole))


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Name and size of each chunk, with ``file`` at its first byte."""
    order = _byte_order(file)
    at, long_size = 12, 0
    with suppress(struct.error, ValueError, OverflowError):  # a size beyond any file
        for _ in range(_MOST_CHUNKS if order else 0):
            file.seek(at)
            name, size = struct.unpack(f"{order}4sI", file.read(8))
            if name == b"ds64":
                long_size = struct.unpack("<QQ", file.read(16))[1]
                file.seek(at + 8)
            elif name == b"data" and size == _OPEN_32:
                size = long_size
            yield name, size
            at += 8 + size + size % 2


def _byte_order(file: BinaryIO) -> str:
    head = file.read(12)
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:] == b"WAVE":
        return "<"
    big = (head[:4] == b"RIFX" and head[8:] == b"WAVE") or (head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"))
    return ">" if big else ""
