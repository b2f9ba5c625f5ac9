"""Where the samples lie in containers that hardly anybody uses any more, and how many bytes of them are promised.

IRCAM, PAF, PVF and XI are not among them: their headers do not state how long the sound is.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

NO_LENGTH = frozenset({"IRCAM", "PAF", "PVF", "XI"})
"""Containers, in libsndfile's words, that do not state a length."""
_NIST_HEADER = 1024
_NIST_FIELD = re.compile(rb"^(channel_count|sample_count|sample_n_bytes) -i (\d+)", re.MULTILINE)
_NIST_COMPRESSED = re.compile(rb"^sample_coding -s\d+ [^\n]*,", re.MULTILINE)
_SDS_HEADER, _SDS_BLOCK, _SDS_DATA = 21, 127, 120
_VOC_SOUND, _VOC_SOUND_16 = 1, 9
#: Bytes per value of a MATLAB 4 matrix, by the tens of its type.
_MAT4_WIDTHS = (8, 4, 4, 2, 2, 1)
_MAT5_HEADER = 128
_MAX_BLOCKS = 10_000


@dataclass(frozen=True, slots=True)
class DataChunk:
    """Where the samples lie: first byte, declared bytes (``None``: the header leaves it open), bytes per frame."""

    start: int
    size: int | None
    frame: int


def data_chunk(file: BinaryIO) -> DataChunk | None:
    """The samples of a rare container, or ``None`` for any other file.

    Raises:
        struct.error, IndexError, ZeroDivisionError: the header is cut short, or is none after all.
    """
    file.seek(0)
    head = file.read(_NIST_HEADER)
    parser = next((parser for mark, parser in _PARSERS if mark.match(head)), None)
    return parser(file, head) if parser else None


def _svx(_: BinaryIO, head: bytes) -> DataChunk | None:
    at, frame = 12, 1 if head[8:12] == b"8SVX" else 2
    while at < len(head):
        name, size = struct.unpack_from(">4sI", head, at)
        if name == b"BODY":
            return DataChunk(at + 8, size, frame)
        at += 8 + size + size % 2
    return None


def _avr(_: BinaryIO, head: bytes) -> DataChunk:
    stereo, bits = struct.unpack_from(">HH", head, 12)
    frame = (2 if stereo else 1) * bits // 8
    return DataChunk(128, struct.unpack_from(">I", head, 26)[0] * frame, frame)


def _nist(_: BinaryIO, head: bytes) -> DataChunk | None:
    fields = {name: int(value) for name, value in _NIST_FIELD.findall(head)}
    if b"sample_count" not in fields or _NIST_COMPRESSED.search(head):
        return None
    frame = fields.get(b"channel_count", 1) * fields.get(b"sample_n_bytes", 1)
    return DataChunk(_NIST_HEADER, fields[b"sample_count"] * frame, frame)


def _voc(file: BinaryIO, head: bytes) -> DataChunk | None:
    at = struct.unpack_from("<H", head, 20)[0]
    for _ in range(_MAX_BLOCKS):
        file.seek(at)
        kind, low, high = struct.unpack("<BHB", file.read(4))
        if kind in (0, _VOC_SOUND, _VOC_SOUND_16):
            return DataChunk(at + 4, low + (high << 16), 1) if kind else None
        at += 4 + low + (high << 16)
    return None


def _sds(_: BinaryIO, head: bytes) -> DataChunk:
    each = _SDS_DATA // -(-head[6] // 7)
    frames = head[10] | head[11] << 7 | head[12] << 14
    return DataChunk(_SDS_HEADER, -(-frames // each) * _SDS_BLOCK, _SDS_BLOCK)


def _mpc(_: BinaryIO, head: bytes) -> DataChunk:
    frame = 4 if head[21] else 2
    return DataChunk(42, struct.unpack_from("<I", head, 30)[0] * frame, frame)


def _wve(_: BinaryIO, head: bytes) -> DataChunk:
    return DataChunk(32, struct.unpack_from(">I", head, 18)[0], 1)


def _mat4(_: BinaryIO, head: bytes) -> DataChunk | None:
    """The second matrix of two: libsndfile wants the rate in the first, which holds one number."""
    order = ">" if head[2] else "<"
    if struct.unpack_from(f"{order}3I", head, 4) != (1, 1, 0):
        return None
    at = 20 + struct.unpack_from(f"{order}I", head, 16)[0] + 8
    kind, channels, frames, _, name = struct.unpack_from(f"{order}5I", head, at)
    frame = channels * _MAT4_WIDTHS[min(5, kind // 10 % 10)]
    return DataChunk(at + 20 + name, frames * frame, frame)


def _mat5(file: BinaryIO, head: bytes) -> DataChunk | None:
    """The longest matrix: the others hold one number. Flags, size and name come before its values."""
    order = "<" if head[126:128] == b"IM" else ">"
    at, longest, found = _MAT5_HEADER, 0, None
    for _ in range(_MAX_BLOCKS):
        file.seek(at)
        if len(head := file.read(8)) < 8:
            break
        size = struct.unpack(f"{order}4xI", head)[0]
        if size > longest:
            file.seek(at + 40)
            kind, name = struct.unpack(f"{order}2I", file.read(8))
            values = at + 48 + (0 if kind >> 16 else -(-name // 8) * 8)
            file.seek(values)
            longest, found = size, DataChunk(values + 8, struct.unpack(f"{order}4xI", file.read(8))[0], 1)
        at += 8 + size
    return found


#: What a container begins with, and who knows the rest. An MPC2000 file: a name, level, tuning, whether it is stereo.
_PARSERS: tuple[tuple[re.Pattern[bytes], Callable[[BinaryIO, bytes], DataChunk | None]], ...] = (
    (re.compile(rb"FORM....(?:8SVX|16SV)", re.DOTALL), _svx),
    (re.compile(rb"2BIT"), _avr),
    (re.compile(rb"NIST_1A"), _nist),
    (re.compile(rb"Creative Voice File"), _voc),
    (re.compile(rb"ALawSoundFile\*\*"), _wve),
    (re.compile(rb"\xf0\x7e.\x01", re.DOTALL), _sds),
    (re.compile(rb"\x01\x04[ -~]{17}..[\0\1]", re.DOTALL), _mpc),
    (re.compile(rb"MATLAB.{120}(?:IM|MI)", re.DOTALL), _mat5),
    (re.compile(rb"\0\0(?:\0\0|\x03\xe8)"), _mat4),
)
