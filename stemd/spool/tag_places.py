"""Where in a recording anything but sound may stand: what is searched for somebody's name. Looks, changes nothing.

Sound is left out, not only because there is so much of it: three letters are found by chance in every few megabytes of
it. A container is followed by the lengths it gives; where these lead nowhere, the rest counts as no sound.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

#: Bytes ``(from, to)`` of the file; several that are read as one text: a comment goes on from page to page.
Range = tuple[int, int]
Passage = list[Range]

#: Behind the sound of a stream without a container: ID3v1 and Lyrics3. An APE tag may be longer and says so.
_TAIL = 8192
#: An ID3v1 and its fields behind the word ``TAG``: nothing need stand between two of them.
_ID3V1, _FIELDS = 128, (30, 30, 30, 4, 30, 1)
#: More chunks, or pages that are no sound, than any music has: the rest is searched as a whole.
_MOST = 100_000
_OPEN_32 = 0xFFFFFFFF
#: Containers of chunks: what they may hold, the order of their bytes, the chunk of the sound.
_CHUNKED = {
    **dict.fromkeys((b"RIFF", b"RF64", b"BW64"), ((b"WAVE",), "<", b"data")),
    b"FORM": ((b"AIFF", b"AIFC"), ">", b"SSND"),
}


def passages(file: int, size: int) -> list[Passage] | None:
    """All of the open ``file`` of ``size`` bytes but its sound; ``None`` where that cannot be told."""
    start = _end_of_id3(file)
    head = os.pread(file, 12, start)
    if head[:4] == b"fLaC":
        return [[(0, _end_of_flac(file, start + 4, size))], *_tail(file, size)]
    kinds, order, sound = _CHUNKED.get(head[:4], ((), "", b""))
    if head[8:] in kinds:
        return [[each] for each in _chunks(file, start, size, order, sound)]
    if head[4:8] == b"ftyp":
        return [[each] for each in _boxes(file, size)]
    if head[:4] == b"OggS":
        pages = _pages(file, start, size)
        return None if pages is None else [[(0, start)], pages]
    if start or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0):  # MPEG audio
        return [[(0, start)], *_tail(file, size)]
    return None


def _end_of_id3(file: int) -> int:
    head = os.pread(file, 10, 0)
    if len(head) < 10 or head[:3] != b"ID3":
        return 0
    length = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    return 10 + length + 10 * bool(head[5] & 0x10)


def _end_of_flac(file: int, at: int, size: int) -> int:
    """Where the metadata blocks end and the frames begin."""
    while at < size:
        head = os.pread(file, 4, at)
        if len(head) < 4:
            return size
        at += 4 + int.from_bytes(head[1:], "big")
        if head[0] & 0x80:
            break
    return min(at, size)


def _tail(file: int, size: int) -> Iterator[Passage]:
    begin, end = max(0, size - _TAIL), size
    for footer in (size - 32, size - 160):  # at the end, or before an ID3v1
        head = os.pread(file, 32, footer) if footer >= 0 else b""
        if head[:8] == b"APETAGEX":
            begin = min(begin, max(0, footer - int.from_bytes(head[12:16], "little")))
    if size >= _ID3V1 and os.pread(file, 3, size - _ID3V1) == b"TAG":
        end = size - _ID3V1 + 3
        for field, width in enumerate(_FIELDS):
            at = end + sum(_FIELDS[:field])
            yield [(at, at + width)]
    yield [(begin, end)]


def _chunks(file: int, start: int, size: int, order: str, sound: bytes) -> Iterator[Range]:
    """RIFF and IFF: all but the content of the chunk called ``sound``."""
    begin, at, long_size = 0, start + 12, 0
    for _ in range(_MOST):
        if at + 8 > size or len(head := os.pread(file, 24, at)) < 8:
            break
        name, length = struct.unpack_from(f"{order}4sI", head)
        if name == b"ds64" and len(head) == 24:
            long_size = struct.unpack_from("<Q", head, 16)[0]
        if name == sound:
            yield begin, at + 8
            begin = min(size, at + 8 + (length if length != _OPEN_32 else long_size or size))
        at += 8 + (length if length != _OPEN_32 else long_size or size)
        at += at % 2
    yield begin, size


def _boxes(file: int, size: int) -> Iterator[Range]:
    """MP4 and its like: all but the content of ``mdat``."""
    begin = at = 0
    for _ in range(_MOST):
        if at + 8 > size or len(head := os.pread(file, 16, at)) < 8:
            break
        length, name = struct.unpack_from(">I4s", head)
        if length == 1 and len(head) == 16:
            length = struct.unpack_from(">Q", head, 8)[0]
        elif length == 0:
            length = size - at
        if length < 8:
            break
        if name == b"mdat":
            yield begin, at + 8
            begin = min(size, at + length)
        at += length
    yield begin, size


def _pages(file: int, at: int, size: int) -> Passage | None:
    """Ogg: the content of the pages before any sound, which count none (RFC 3533 §6); also of what is chained on."""
    found: Passage = []
    while at < size and len(found) < _MOST:
        head = os.pread(file, 282, at)
        if head[:4] != b"OggS" or len(head) < 27 or len(head) < 27 + head[26]:
            return None
        content = at + 27 + head[26]
        at = content + sum(head[27 : 27 + head[26]])
        if head[6:14] in (bytes(8), b"\xff" * 8):
            found.append((content, at))
    return found if at >= size else None
