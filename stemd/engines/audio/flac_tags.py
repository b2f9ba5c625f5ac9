"""Vorbis comments of FLAC files (RFC 9639 §8): read them all, and replace them without touching the audio."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

_PADDING, _COMMENT = 1, 4
_MAGIC = b"fLaC"
#: About one rendering of the source, not about the work: wrong on a stem.
_NOT_FOR_STEMS = ("REPLAYGAIN_", "METADATA_BLOCK_PICTURE", "CUESHEET", "STEMD_", "ENCODER", "R128_")

Block = tuple[int, bytes]


def parse(header: bytes) -> list[Block]:
    """The metadata blocks of a complete FLAC header (from ``fLaC`` on): kind and content of each.

    Raises:
        ValueError: not a complete FLAC header.
    """
    if header[:4] != _MAGIC:
        raise ValueError("no FLAC header")
    blocks: list[Block] = []
    at, last = 4, False
    while not last:
        if at + 4 > len(header):
            raise ValueError("FLAC header cut short")
        last, kind = bool(header[at] & 0x80), header[at] & 0x7F
        size = int.from_bytes(header[at + 1 : at + 4], "big")
        content = header[at + 4 : at + 4 + size]
        if len(content) < size:
            raise ValueError("FLAC header cut short")
        blocks.append((kind, content))
        at += 4 + size
    return blocks


def build(blocks: list[Block]) -> bytes:
    """The inverse of ``parse``."""
    parts = [_MAGIC]
    for index, (kind, content) in enumerate(blocks):
        last = 0x80 if index == len(blocks) - 1 else 0
        parts.append(bytes([last | kind]) + len(content).to_bytes(3, "big") + content)
    return b"".join(parts)


def with_comments(header: bytes, comments: Mapping[str, str]) -> bytes:
    """``header`` with these comments instead of its own; of the same length where padding can make it so."""
    blocks = parse(header)
    vendor = next((_vendor(content) for kind, content in blocks if kind == _COMMENT), b"stemd")
    kept = [block for block in blocks[1:] if block[0] not in (_PADDING, _COMMENT)]
    new = [blocks[0], (_COMMENT, _pack(vendor, comments)), *kept]
    room = len(header) - len(build(new))
    if room >= 4:
        new.append((_PADDING, bytes(room - 4)))
    return build(new)


def _vendor(comment: bytes) -> bytes:
    size = int(struct.unpack_from("<I", comment)[0])
    return comment[4 : 4 + size]


def _pack(vendor: bytes, comments: Mapping[str, str]) -> bytes:
    lines = [f"{key}={value}".encode("utf-8", "replace") for key, value in comments.items()]
    parts = [struct.pack("<I", len(vendor)), vendor, struct.pack("<I", len(lines))]
    for line in lines:
        parts += [struct.pack("<I", len(line)), line]
    return b"".join(parts)


def unpack(comment: bytes) -> dict[str, str]:
    """The comments in a VORBIS_COMMENT block, names in capitals; several of one name joined with ``; ``."""
    at = 4 + len(_vendor(comment))
    count = struct.unpack_from("<I", comment, at)[0]
    at += 4
    found: dict[str, str] = {}
    for _ in range(count):
        size = struct.unpack_from("<I", comment, at)[0]
        key, _, value = comment[at + 4 : at + 4 + size].decode("utf-8", "replace").partition("=")
        key = key.upper()
        found[key] = f"{found[key]}; {value}" if key in found else value
        at += 4 + size
    return found


def read(path: Path) -> dict[str, str]:
    """The comments of the FLAC file at ``path`` that also hold for a stem of it; none where it has no sound header."""
    try:
        with path.open("rb") as file:
            blocks = parse(_header(file))
        found = next((unpack(content) for kind, content in blocks if kind == _COMMENT), {})
    except (ValueError, struct.error):
        return {}
    return {key: value for key, value in found.items() if value and not key.startswith(_NOT_FOR_STEMS)}


def write(path: Path, comments: Mapping[str, str]) -> None:
    """Replace the comments of the FLAC file at ``path``: in place where they fit, else by a rewritten copy."""
    with path.open("r+b") as file:
        old = _header(file)
        new = with_comments(old, comments)
        if len(new) == len(old):
            file.seek(0)
            file.write(new)
            return
        copy = path.with_name(path.name + ".tags")
        with copy.open("wb") as target:
            target.write(new)
            file.seek(len(old))
            shutil.copyfileobj(file, target, 1 << 20)
    copy.rename(path)


def _header(file: BinaryIO) -> bytes:
    file.seek(0)
    if file.read(4) != _MAGIC:
        raise ValueError("no FLAC header")
    last = False
    while not last:
        head = file.read(4)
        if len(head) < 4:
            raise ValueError("FLAC header cut short")
        last = bool(head[0] & 0x80)
        file.seek(int.from_bytes(head[1:], "big"), os.SEEK_CUR)
    size = file.tell()
    file.seek(0)
    return file.read(size)
