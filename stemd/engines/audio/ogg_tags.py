"""Comments and pictures of Ogg Vorbis and Ogg Opus files (RFC 3533, RFC 7845 §5): read and replaced.

The comments are the second packet of the stream. Replacing them changes how many pages the headers take, so the
pages of sound behind them get new numbers and checksums; the sound itself is copied.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from stemd.engines.audio import vorbis_comment
from stemd.engines.audio.cover import Cover, Picture, front

_HEAD = struct.Struct("<4sBBqIIIB")
_CONTINUED, _MOST_SEGMENTS = 1, 255
_UNFINISHED = -1
"""The position of a page on which no packet ends."""
#: How the first packet begins → how the comment packet begins, the number of header packets, what ends a comment.
_CODECS = {b"\x01vorbis": (b"\x03vorbis", 3, b"\x01"), b"OpusHead": (b"OpusTags", 2, b"")}
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class Page:
    """One page: ``lacing`` holds the sizes of its segments, ``position`` the codec's clock at its end."""

    flags: int
    position: int
    serial: int
    number: int
    lacing: bytes
    body: bytes

    def to_bytes(self) -> bytes:
        head = self._head(0)
        return self._head(checksum(head + self.body)) + self.body

    def _head(self, crc: int) -> bytes:
        fields = (b"OggS", 0, self.flags, self.position, self.serial, self.number, crc, len(self.lacing))
        return _HEAD.pack(*fields) + self.lacing


@dataclass(frozen=True, slots=True)
class _Headers:
    """The header packets of a stream, on how many pages they stand, and where in the file the sound begins."""

    first: Page
    packets: list[bytes]
    pages: int
    end: int
    mark: bytes
    tail: bytes

    @property
    def comment(self) -> bytes:
        return self.packets[1][len(self.mark) :]


def checksum(page: bytes) -> int:
    """The CRC-32 of a page (RFC 3533 §6: polynomial 0x04c11db7, no reflection), by way of the reflected one of zlib."""
    reflected = ~zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) & 0xFFFFFFFF
    return int.from_bytes(reflected.to_bytes(4, "big").translate(_MIRRORED)[::-1], "big")


def read(path: Path) -> tuple[dict[str, str], Picture | None]:
    """The comments of the file at ``path`` and its cover; nothing where it is no Vorbis or Opus stream."""
    try:
        with path.open("rb") as file:
            comment = _headers(file).comment
        found = vorbis_comment.unpack(comment)
        return found, front(vorbis_comment.pictures(comment))
    except (ValueError, struct.error):
        return {}, None


def write(path: Path, comments: Mapping[str, str], cover: Cover | None) -> None:
    """Replace the comments of the file at ``path`` by a rewritten copy.

    Raises:
        ValueError: it is no Vorbis or Opus stream.
    """
    copy = path.with_name(path.name + ".tags")
    with path.open("rb") as file, copy.open("wb") as target:
        headers = _headers(file)
        picture = {vorbis_comment.PICTURE: vorbis_comment.picture_value(cover)} if cover else {}
        comment = vorbis_comment.pack(vorbis_comment.vendor(headers.comment), {**comments, **picture})
        packets = [headers.mark + comment + headers.tail, *headers.packets[2:]]
        pages = list(_paged(packets, headers.first.serial))
        target.write(headers.first.to_bytes())
        target.writelines(page.to_bytes() for page in pages)
        shift = len(pages) - headers.pages
        file.seek(headers.end)
        while (page := _next_page(file)) is not None:
            target.write(replace(page, number=page.number + shift).to_bytes())
    copy.rename(path)


def _headers(file: BinaryIO) -> _Headers:
    first = _next_page(file)
    codec = next((codec for start, codec in _CODECS.items() if first and first.body.startswith(start)), None)
    if first is None or codec is None:
        raise ValueError("no Vorbis or Opus stream")
    mark, count, tail = codec
    packets, pages, open_packet = [first.body], 0, bytearray()
    while len(packets) < count:
        page = _next_page(file)
        if page is None or page.serial != first.serial:
            raise ValueError("the headers are cut short")
        pages += 1
        at = 0
        for size in page.lacing:
            open_packet += page.body[at : at + size]
            at += size
            if size < _MOST_SEGMENTS:
                packets.append(bytes(open_packet))
                open_packet.clear()
    if not packets[1].startswith(mark):
        raise ValueError("no comments where they must be")
    return _Headers(first, packets[:count], pages, file.tell(), mark, tail)


def _next_page(file: BinaryIO) -> Page | None:
    head = file.read(_HEAD.size)
    if not head:
        return None
    if len(head) < _HEAD.size or head[:4] != b"OggS":
        raise ValueError("no Ogg page where one must be")
    _, _, flags, position, serial, number, _, segments = _HEAD.unpack(head)
    lacing = file.read(segments)
    body = file.read(sum(lacing))
    if len(lacing) < segments or len(body) < sum(lacing):
        raise ValueError("an Ogg page is cut short")
    return Page(flags, position, serial, number, lacing, body)


def _paged(packets: list[bytes], serial: int) -> Iterator[Page]:
    """Header packets on pages of their own, from number 1 on."""
    lacing = b"".join(b"\xff" * (len(each) // 255) + bytes([len(each) % 255]) for each in packets)
    body, at, flags = b"".join(packets), 0, 0
    for number, start in enumerate(range(0, len(lacing), _MOST_SEGMENTS), 1):
        part = lacing[start : start + _MOST_SEGMENTS]
        size = sum(part)
        position = 0 if min(part) < 255 else _UNFINISHED
        yield Page(flags, position, serial, number, part, body[at : at + size])
        at += size
        flags = _CONTINUED if part[-1] == 255 else 0
