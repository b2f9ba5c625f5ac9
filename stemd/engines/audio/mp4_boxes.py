"""The boxes of an MP4 file (ISO/IEC 14496-12 §4.2), as far as changing ``moov/udta`` needs them."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_LONG, _TO_THE_END = 1, 0
_CONTAINERS = (b"trak", b"mdia", b"minf", b"stbl")
_OFFSETS = {b"stco": "I", b"co64": "Q"}


@dataclass(frozen=True, slots=True)
class Box:
    """One box: where it starts in its file or parent, how long its header is, and where it ends."""

    kind: bytes
    start: int
    header: int
    end: int


def box(kind: bytes, *content: bytes) -> bytes:
    """A box with this content."""
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + kind + body


def full_box(kind: bytes, *content: bytes) -> bytes:
    """A box of version 0 without flags."""
    return box(kind, bytes(4), *content)


def children(data: bytes, start: int, end: int) -> Iterator[Box]:
    """The boxes in ``data`` from ``start`` to ``end``.

    Raises:
        ValueError: they do not fill that room.
    """
    while start < end:
        found = _box_at(data[start : start + 16], start, end)
        yield found
        start = found.end


def top_level(file: BinaryIO) -> Iterator[Box]:
    """The boxes a file consists of.

    Raises:
        ValueError: it is no MP4 file.
    """
    end, start = file.seek(0, os.SEEK_END), 0
    while start < end:
        file.seek(start)
        found = _box_at(file.read(16), start, end)
        yield found
        start = found.end


def _box_at(head: bytes, start: int, end: int) -> Box:
    if len(head) < 8:
        raise ValueError("a box is cut short")
    size, kind = struct.unpack(">I4s", head[:8])
    header = 8
    if size == _LONG and len(head) >= 16:
        size, header = struct.unpack(">Q", head[8:16])[0], 16
    elif size == _TO_THE_END:
        size = end - start
    if size < header or start + size > end:
        raise ValueError(f"box {kind!r} does not fit where it stands")
    return Box(kind, start, header, start + size)


def with_udta(moov: bytes, udta: bytes) -> bytes:
    """The box ``moov`` with ``udta`` instead of its own."""
    (outer,) = children(moov, 0, len(moov))
    kept = [moov[each.start : each.end] for each in children(moov, outer.header, outer.end) if each.kind != b"udta"]
    return box(b"moov", *kept, udta)


def shifted(moov: bytes, shift: int, behind: int) -> bytes:
    """The box ``moov`` with every offset to media data at or after ``behind`` moved by ``shift`` bytes.

    Raises:
        ValueError: an offset does not fit into 32 bits any more.
    """
    data = bytearray(moov)
    (outer,) = children(moov, 0, len(moov))
    for table in _tables(moov, outer):
        width = _OFFSETS[table.kind]
        start = table.start + table.header + 4
        count = struct.unpack_from(">I", data, start)[0]
        form = f">{count}{width}"
        moved = [each + shift if each >= behind else each for each in struct.unpack_from(form, data, start + 4)]
        try:
            struct.pack_into(form, data, start + 4, *moved)
        except struct.error as error:
            raise ValueError("the media data would lie beyond 4 GiB") from error
    return bytes(data)


def _tables(moov: bytes, parent: Box) -> Iterator[Box]:
    for each in children(moov, parent.start + parent.header, parent.end):
        if each.kind in _OFFSETS:
            yield each
        elif each.kind in _CONTAINERS:
            yield from _tables(moov, each)


def replace_udta(path: Path, udta: bytes) -> None:
    """Put the box ``udta`` into the ``moov`` of the MP4 file at ``path``, in place of the one it has.

    Where ``moov`` is the last box it is written anew in its place; where something follows, a copy is made in which
    that has moved along, offsets included.

    Raises:
        ValueError: it is no MP4 file.
    """
    with path.open("r+b") as file:
        boxes = list(top_level(file))
        where = next((each for each in boxes if each.kind == b"moov"), None)
        if where is None:
            raise ValueError("there is no moov box")
        file.seek(where.start)
        old = file.read(where.end - where.start)
        new = with_udta(old, udta)
        if where is boxes[-1]:
            file.seek(where.start)
            file.write(new)
            file.truncate()
            return
        copy = path.with_name(path.name + ".tags")
        with copy.open("wb") as target:
            file.seek(0)
            _copy(file, target, where.start)
            target.write(shifted(new, len(new) - len(old), where.end))
            file.seek(where.end)
            shutil.copyfileobj(file, target, 1 << 20)
    copy.rename(path)


def _copy(file: BinaryIO, target: BinaryIO, count: int) -> None:
    while count and (data := file.read(min(count, 1 << 20))):
        target.write(data)
        count -= len(data)
