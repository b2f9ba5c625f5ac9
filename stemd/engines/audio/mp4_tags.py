"""Tags of MP4 files in the form of iTunes: ``udta/meta/ilst``, one item per tag."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from stemd.engines.audio.cover import Cover
from stemd.engines.audio.mp4_boxes import box, full_box

_TEXT, _NUMBERS, _JPEG, _PNG, _INTEGER = 1, 0, 13, 14, 21
_ITEMS = {
    "TITLE": b"\xa9nam", "ARTIST": b"\xa9ART", "ALBUM": b"\xa9alb", "ALBUMARTIST": b"aART", "COMPOSER": b"\xa9wrt",
    "DATE": b"\xa9day", "GENRE": b"\xa9gen", "COMMENT": b"\xa9cmt", "GROUPING": b"\xa9grp", "LYRICS": b"\xa9lyr",
    "COPYRIGHT": b"cprt",
}  # fmt: skip
_PAIRS = {"TRACKNUMBER": b"trkn", "DISCNUMBER": b"disk"}
_OWNER = b"com.apple.iTunes"


def build(tags: Mapping[str, str], cover: Cover | None) -> bytes:
    """The box ``meta`` that holds ``tags`` and ``cover``."""
    items = [_item(name, value) for name, value in tags.items()]
    if cover:
        items.append(box(b"covr", _data(_PNG if cover.mime == "image/png" else _JPEG, cover.data)))
    handler = full_box(b"hdlr", bytes(4), b"mdir", b"appl", bytes(9))
    return full_box(b"meta", handler, box(b"ilst", *items))


def _item(name: str, value: str) -> bytes:
    text = value.encode("utf-8", "replace")
    if name in _ITEMS:
        return box(_ITEMS[name], _data(_TEXT, text))
    if name in _PAIRS and (pair := _pair(value)):
        return box(_PAIRS[name], _data(_NUMBERS, struct.pack(">HHH", 0, *pair) + bytes(2 * (name == "TRACKNUMBER"))))
    if name == "BPM" and value.isdecimal() and int(value) < 1 << 16:
        return box(b"tmpo", _data(_INTEGER, struct.pack(">H", int(value))))
    key = name.encode("utf-8", "replace")
    return box(b"----", full_box(b"mean", _OWNER), full_box(b"name", key), _data(_TEXT, text))


def _data(kind: int, content: bytes) -> bytes:
    return box(b"data", struct.pack(">II", kind, 0), content)


def _pair(value: str) -> tuple[int, int] | None:
    """``3`` and ``3/12`` as two numbers."""
    first, _, second = value.partition("/")
    numbers = [part.strip() for part in (first, second or "0")]
    if not all(part.isascii() and part.isdecimal() and int(part) < 1 << 16 for part in numbers):
        return None
    return int(numbers[0]), int(numbers[1])
