"""The frames of an MP3 file (ISO/IEC 11172-3 §2.4.1 and 2.4.2), counted: what its header says of them may be wrong.

Without a Xing or VBRI header the length of a file is anybody's guess, and where files were joined the first one's
header speaks only for its own part. So all frames are gone through by their headers, without decoding them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

from stemd.engines.audio import id3

_HEAD = 4
#: By how many frames encoders miscount; the header's own may be among them.
_MISCOUNT = 2
_V1, _V2, _V25 = 3, 2, 0
_RATES = {_V1: (44_100, 48_000, 32_000), _V2: (22_050, 24_000, 16_000), _V25: (11_025, 12_000, 8_000)}
#: Layer → kbit/s by index from 1 on, for MPEG-1 and for the lower rates of MPEG-2 and 2.5.
_KBITS = {
    1: (
        (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
        (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    ),
    2: (
        (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
        (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    ),
    3: (
        (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
        (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    ),
}
_MAY_BEGIN = re.compile(rb"\xff[\xe2-\xff][\x10-\xef]")
#: Between frames one is found again only where this many follow each other: tags and pictures have bytes like them.
_IN_A_ROW = 3
_WINDOW = 1 << 16
#: Where the count of frames stands behind the mark, and the bit of the flags before it that says it is there.
_XING_COUNT, _XING_HAS_COUNT, _VBRI_COUNT = 8, 1, 14


@dataclass(frozen=True, slots=True)
class Frame:
    """What a frame's header says: its bytes with the header, and what it decodes to."""

    size: int
    samples: int
    rate: int
    channels: int


@dataclass(frozen=True, slots=True)
class Survey:
    """What the file holds: how many frames its header ``declares`` (``None``: it does not say) and how many there are.

    ``samples`` are what all of them decode to in a channel. ``spans`` are where they lie, first byte and end, without
    what is between them (tags); ``uniform`` tells whether all have one rate and one number of channels.
    """

    declares: int | None
    frames: int
    samples: int
    spans: tuple[tuple[int, int], ...]
    uniform: bool

    @property
    def beyond(self) -> bool:
        """Whether there is more than the header speaks for: files were joined, and it is the first one's."""
        return self.declares is not None and self.frames > self.declares + _MISCOUNT


def survey(file: BinaryIO) -> Survey:
    """Go through all frames of ``file``."""
    declares, count, samples = None, 0, 0
    spans: list[tuple[int, int]] = []
    kinds = set()
    for at, frame in _frames(file):
        if not count:
            file.seek(at)
            declares = _declared(file.read(frame.size))
        count += 1
        samples += frame.samples
        kinds.add((frame.rate, frame.channels))
        start = spans.pop()[0] if spans and spans[-1][1] == at else at
        spans.append((start, at + frame.size))
    return Survey(declares, count, samples, tuple(spans), len(kinds) <= 1)


def _declared(first: bytes) -> int | None:
    """How many frames the first frame says follow it; ``None`` where it holds sound, or leaves it open."""
    for mark in (b"Xing", b"Info"):
        at = first.find(mark)
        if at >= 0 and int.from_bytes(first[at + 4 : at + 8], "big") & _XING_HAS_COUNT:
            return _number(first, at + _XING_COUNT)
    at = first.find(b"VBRI")
    return _number(first, at + _VBRI_COUNT) if at >= 0 else None


def _number(data: bytes, at: int) -> int | None:
    return int.from_bytes(data[at : at + 4], "big") or None


def _frames(file: BinaryIO) -> Iterator[tuple[int, Frame]]:
    """Where each frame begins, and its header; without a last one that is cut off."""
    whole = file.seek(0, os.SEEK_END)
    at: int | None = 0
    known = False
    while at is not None:
        file.seek(at)
        head = file.read(id3.HEADER)
        frame = _frame(head[:_HEAD]) if known else None
        if frame:
            if at + frame.size <= whole:
                yield at, frame
            at += frame.size
        elif tag := id3.size(head):
            at += tag
        else:
            at = _found_again(file, at)
            known = True


def _found_again(file: BinaryIO, at: int) -> int | None:
    """The first frame at or after ``at`` that others follow, or that ends the file."""
    while True:
        file.seek(at)
        window = file.read(_WINDOW + 2)
        for match in _MAY_BEGIN.finditer(window):
            if _in_a_row(file, at + match.start()):
                return at + match.start()
        if len(window) < _WINDOW + 2:
            return None
        at += _WINDOW


def _in_a_row(file: BinaryIO, at: int) -> bool:
    for index in range(_IN_A_ROW):
        file.seek(at)
        head = file.read(_HEAD)
        if not head and index:
            return True
        frame = _frame(head)
        if frame is None:
            return False
        at += frame.size
    return True


@lru_cache(maxsize=1 << 12)
def _frame(head: bytes) -> Frame | None:
    """The frame that begins with ``head``; ``None`` where none can."""
    if len(head) < _HEAD or head[0] != 0xFF or head[1] < 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bits, rate = head[2] >> 4, head[2] >> 2 & 3
    if version not in _RATES or layer == 4 or bits in (0, 15) or rate == 3:
        return None
    hertz = _RATES[version][rate]
    bit_rate = 1000 * _KBITS[layer][version != _V1][bits - 1]
    padding = head[2] >> 1 & 1
    samples = 384 if layer == 1 else 576 if layer == 3 and version != _V1 else 1152
    slot = 4 if layer == 1 else 1
    size = (samples // 8 * bit_rate // hertz // slot + padding) * slot
    return Frame(size, samples, hertz, 1 if head[3] >> 6 == 3 else 2)
