"""Cover art: a JPEG or PNG that goes into every stem, unchanged."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from stemd.core.errors import StemdError
from stemd.core.job import printable
from stemd.engines.faults import reading

MOST_BYTES = 16_000_000
"""A picture block of FLAC holds less than 16 MiB (RFC 9639 §8.1), so that is what every format gets."""
FRONT = 3
"""The picture type "front cover", the same number in ID3, FLAC and Vorbis comments."""
_MAGIC = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}


@dataclass(frozen=True, slots=True)
class Cover:
    """One picture as it stands in its file; ``mime`` is ``image/jpeg`` or ``image/png``."""

    mime: str
    data: bytes

    @classmethod
    def of(cls, data: bytes) -> Cover | None:
        """``data`` as a cover, by its first bytes; ``None`` for another kind of picture or one too large."""
        mime = next((mime for magic, mime in _MAGIC.items() if data.startswith(magic)), None)
        return cls(mime, data) if mime and len(data) <= MOST_BYTES else None


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture found in a source: its type (``FRONT`` …) and its bytes, of any kind."""

    kind: int
    data: bytes


def front(pictures: list[Picture]) -> Picture | None:
    """The front cover, else the first picture there is."""
    return next((each for each in pictures if each.kind == FRONT), pictures[0] if pictures else None)


def load(path: Path) -> Cover:
    """The cover a job brings.

    Raises:
        StemdError: STEMD-A007 (no JPEG or PNG, or too large), STEMD-S008, STEMD-S006 or STEMD-S014 (not readable).
    """
    with reading(path), path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if cover := Cover.of(data):
        return cover
    why = f"is larger than {MOST_BYTES} bytes" if len(data) > MOST_BYTES else "is neither JPEG nor PNG"
    raise StemdError("STEMD-A007", f"art: {printable(path.name)} {why}")


def pack_block(cover: Cover) -> bytes:
    """``cover`` as the content of a FLAC picture block (RFC 9639 §8.8), its measures left open."""
    mime = cover.mime.encode()
    head = struct.pack(">II", FRONT, len(mime)) + mime
    return head + struct.pack(">6I", 0, 0, 0, 0, 0, len(cover.data)) + cover.data


def unpack_block(block: bytes) -> Picture | None:
    """The picture in a FLAC picture block; ``None`` where the block is broken."""
    try:
        kind, size = struct.unpack_from(">II", block)
        at = 8 + size
        at += 4 + struct.unpack_from(">I", block, at)[0] + 16
        length = struct.unpack_from(">I", block, at)[0]
    except struct.error:
        return None
    data = block[at + 4 : at + 4 + length]
    return Picture(kind, data) if length and len(data) == length else None
