"""Comments and pictures of FLAC files (RFC 9639 §8): read them, and replace them without touching the audio."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from stemd.engines.audio import id3, vorbis_comment
from stemd.engines.audio.cover import Cover, Picture, front, pack_block, unpack_block

_PADDING, _COMMENT, _PICTURE = 1, 4, 6
_MAGIC = b"fLaC"

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


def with_comments(header: bytes, comments: Mapping[str, str], cover: Cover | None = None) -> bytes:
    """``header`` with these comments and this cover instead of its own; as long as it was where padding allows it."""
    blocks = parse(header)
    maker = next((vorbis_comment.vendor(content) for kind, content in blocks if kind == _COMMENT), b"stemd")
    kept = [block for block in blocks[1:] if block[0] not in (_PADDING, _COMMENT, _PICTURE)]
    pictures = [(_PICTURE, pack_block(cover))] if cover else []
    new = [blocks[0], (_COMMENT, vorbis_comment.pack(maker, comments)), *kept, *pictures]
    room = len(header) - len(build(new))
    if room >= 4:
        new.append((_PADDING, bytes(room - 4)))
    return build(new)


def room_for(comments: Mapping[str, str], cover: Cover | None) -> int:
    """Bytes that are surely enough for these comments and this cover."""
    return 512 + sum(len(f"{key}={value}".encode()) + 4 for key, value in comments.items()) + _size(cover)


def _size(cover: Cover | None) -> int:
    return len(pack_block(cover)) + 4 if cover else 0


def read(path: Path) -> tuple[dict[str, str], Picture | None]:
    """The comments of the FLAC file at ``path`` and its cover; nothing where it has no sound header."""
    try:
        with path.open("rb") as file:
            blocks = parse(_header(file))
        comments = next((vorbis_comment.unpack(content) for kind, content in blocks if kind == _COMMENT), {})
    except (ValueError, struct.error):
        return {}, None
    pictures = [unpack_block(content) for kind, content in blocks if kind == _PICTURE]
    return comments, front([each for each in pictures if each])


def write(path: Path, comments: Mapping[str, str], cover: Cover | None = None) -> None:
    """Replace comments and cover of the FLAC file at ``path``: in place where they fit, else by a rewritten copy."""
    with path.open("r+b") as file:
        old = _header(file)
        new = with_comments(old, comments, cover)
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
    """From ``fLaC`` on, which stands at the file's beginning or behind an ID3 tag that does not belong there."""
    file.seek(0)
    start = file.seek(id3.size(file.read(id3.HEADER)))
    if file.read(4) != _MAGIC:
        raise ValueError("no FLAC header")
    last = False
    while not last:
        head = file.read(4)
        if len(head) < 4:
            raise ValueError("FLAC header cut short")
        last = bool(head[0] & 0x80)
        file.seek(int.from_bytes(head[1:], "big"), os.SEEK_CUR)
    size = file.tell() - start
    file.seek(start)
    return file.read(size)
