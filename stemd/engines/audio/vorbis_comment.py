"""Vorbis comments (Vorbis I specification §5), as FLAC and Ogg carry them."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping

from stemd.engines.audio import cover
from stemd.engines.audio.cover import Cover, Picture

PICTURE = "METADATA_BLOCK_PICTURE"


def vendor(comment: bytes) -> bytes:
    """The name of the encoder, with which a comment begins."""
    size = int(struct.unpack_from("<I", comment)[0])
    return comment[4 : 4 + size]


def pack(maker: bytes, comments: Mapping[str, str]) -> bytes:
    """``comments`` after the vendor string ``maker``."""
    lines = [f"{key}={value}".encode("utf-8", "replace") for key, value in comments.items()]
    parts = [struct.pack("<I", len(maker)), maker, struct.pack("<I", len(lines))]
    for line in lines:
        parts += [struct.pack("<I", len(line)), line]
    return b"".join(parts)


def unpack(comment: bytes) -> dict[str, str]:
    """The comments, names in capitals; several of one name joined with ``; ``.

    Raises:
        struct.error: the comment is cut short.
    """
    found: dict[str, str] = {}
    for key, value in _pairs(comment):
        found[key] = f"{found[key]}; {value}" if key in found else value
    return found


def picture_value(picture: Cover) -> str:
    """``picture`` as the value of a ``METADATA_BLOCK_PICTURE`` comment."""
    return base64.b64encode(cover.pack_block(picture)).decode()


def pictures(comment: bytes) -> list[Picture]:
    """The pictures among the comments."""
    found = []
    for key, value in _pairs(comment):
        if key == PICTURE:
            try:
                found.append(cover.unpack_block(base64.b64decode(value, validate=True)))
            except binascii.Error:
                continue
    return [each for each in found if each]


def _pairs(comment: bytes) -> list[tuple[str, str]]:
    at = 4 + len(vendor(comment))
    count = struct.unpack_from("<I", comment, at)[0]
    at += 4
    found = []
    for _ in range(count):
        size = struct.unpack_from("<I", comment, at)[0]
        key, _, value = comment[at + 4 : at + 4 + size].decode("utf-8", "replace").partition("=")
        found.append((key.upper(), value))
        at += 4 + size
    return found
