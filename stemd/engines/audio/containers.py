"""Does an uncompressed sound file hold all the bytes its header promises?

libsndfile quietly clamps a data chunk that is longer than the file, so a cut-off upload would pass as a shorter
song; and it leaves out what lies beyond a data chunk that is declared too short. These functions read only headers
(WAV, RF64/BW64, Wave64, AIFF, CAF, AU, and those of ``rare_containers``), and the marks that say whether an Ogg stream
reached its end and whether another one follows.
"""

from __future__ import annotations

import os
import re
import struct
from contextlib import suppress
from typing import BinaryIO

from stemd.engines.audio import rare_containers
from stemd.engines.audio.rare_containers import DataChunk

_UNKNOWN_32 = 0xFFFFFFFF
_W64_RIFF = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_W64_FMT, _W64_DATA = b"fmt \xf3\xac\xd3\x11", b"data\xf3\xac\xd3\x11"
_MAX_CHUNKS = 10_000
#: What may stand behind the sound: chunks, by their names, and tags of other formats (ID3v1, ID3v2, APE, Lyrics3).
_CHUNK_NAME = re.compile(rb"[A-Za-z0-9 _()\-.]{4}")
_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN")
LEAST_SOUND = 1024
"""Fewer bytes than these behind the sound are filling."""
#: The first page of an Ogg stream of sound (RFC 3533 §6): the flag of a beginning, one segment, and a codec's mark.
_OGG_BEGINNING = re.compile(rb"OggS\0[\x02\x06].{20}\x01.(?:\x01vorbis|OpusHead|\x7fFLAC|Speex   )", re.DOTALL)
_OGG_MARK = 36
_PIECE = 1 << 20
#: Bytes to look at in each of so many places.
_LOOK, _PLACES = 4096, 1000
#: Bytes per sample of AU's uncompressed encodings (8-bit law, PCM, float).
_AU_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}


def missing_frames(file: BinaryIO) -> int:
    """How many whole frames the header declares beyond the end of the file; 0 where it holds all or does not say."""
    chunk = data_chunk(file)
    if chunk is None or chunk.size is None:
        return 0
    missing = chunk.start + chunk.size - os.fstat(file.fileno()).st_size
    return max(0, missing) // max(1, chunk.frame)


def data_chunk(file: BinaryIO) -> DataChunk | None:
    """The data chunk of an uncompressed container, or ``None`` for any other file."""
    file.seek(0)
    head = file.read(40)
    with suppress(struct.error, IndexError, ZeroDivisionError):  # a header that is cut off, or none after all
        if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE":
            return _wave(file, ">" if head[:4] == b"RIFX" else "<")
        if head[:16] == _W64_RIFF:
            return _wave64(file)
        if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
            return _aiff(file)
        if head[:4] == b"caff":
            return _caf(file)
        return _au(head) if head[:4] in (b".snd", b"dns.") else rare_containers.data_chunk(file)
    return None


def unclaimed(file: BinaryIO, chunk: DataChunk) -> int:
    """How many bytes follow the declared ``chunk`` of a WAV, AIFF or AU that nobody claims: neither its form, nor as
    chunks, tags or zeros.

    They are sound: the sizes have 32 bits and go round at 4 GiB, and a recorder that died did not correct them.
    """
    if chunk.size is None:
        return 0
    order, form = _form(file)
    end, whole = chunk.start + chunk.size, os.fstat(file.fileno()).st_size
    claimed = max(end, form)
    starts = {end, end + end % 2, claimed, claimed + claimed % 2}  # the byte that makes a chunk even may lack
    if order and any(_are_chunks(file, order, at, whole) for at in starts):
        return 0
    return 0 if _is_filling(file, claimed, whole) else whole - end


def _form(file: BinaryIO) -> tuple[str | None, int]:
    """The byte order of a file of chunks, and where it says that it ends: 0 where it does not."""
    file.seek(0)
    head = file.read(8)
    order = {b"RIFF": "<", b"RF64": "<", b"BW64": "<", b"RIFX": ">", b"FORM": ">"}.get(head[:4])
    if order is None or len(head) < 8:
        return order, 0
    size = int(struct.unpack(f"{order}I", head[4:])[0])
    return order, 0 if size == _UNKNOWN_32 else 8 + size


def _are_chunks(file: BinaryIO, order: str, at: int, whole: int) -> bool:
    """Whether chunks follow from ``at`` on; the last may be cut off, or damaged."""
    for count in range(_MAX_CHUNKS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8 or not _CHUNK_NAME.fullmatch(head[:4]):
            return count > 0 or at >= whole
        size = int(struct.unpack(f"{order}I", head[4:])[0])
        at += 8 + size + size % 2
    return True


def _is_filling(file: BinaryIO, at: int, whole: int) -> bool:
    """Whether there are zeros alone from ``at`` on, or next to nothing or a tag behind them.

    After a mebibyte of zeros the rest is only looked at in some places: there may be many gigabytes of it.
    """
    file.seek(at)
    head = file.read(_PIECE)
    if sound := head.lstrip(b"\0"):
        at += len(head) - len(sound)
        return whole - at < LEAST_SOUND or sound.startswith(_TAGS)
    places = range(at, whole - LEAST_SOUND, max(_LOOK, (whole - at) // _PLACES))
    return not any(_is_sound(file, place) for place in places)


def _is_sound(file: BinaryIO, at: int) -> bool:
    file.seek(at)
    return bool(file.read(_LOOK).strip(b"\0"))


def _wave(file: BinaryIO, order: str) -> DataChunk | None:
    at, frame, long_size = 12, 1, None
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        name, size = struct.unpack(f"{order}4sI", file.read(8))
        if name == b"ds64":
            long_size = struct.unpack("<QQ", file.read(16))[1]
        elif name == b"fmt ":
            frame = struct.unpack(f"{order}HHIIH", file.read(14))[4]
        elif name == b"data":
            if size == _UNKNOWN_32 and long_size is not None:
                return DataChunk(at + 8, long_size, frame)
            return DataChunk(at + 8, None if size in (0, _UNKNOWN_32) else size, frame)
        at += 8 + size + size % 2
    return None


def _wave64(file: BinaryIO) -> DataChunk | None:
    at, frame = 40, 1
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        name, size = struct.unpack("<16sQ", file.read(24))
        if name.startswith(_W64_FMT):
            frame = struct.unpack("<HHIIH", file.read(14))[4]
        elif name.startswith(_W64_DATA):
            return DataChunk(at + 24, size - 24 if size > 24 else None, frame)
        at += max(24, (size + 7) // 8 * 8)
    return None


def _aiff(file: BinaryIO) -> DataChunk | None:
    at, frame = 12, 1
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        name, size = struct.unpack(">4sI", file.read(8))
        if name == b"COMM":
            channels, _, bits = struct.unpack(">hIh", file.read(8))
            frame = channels * ((bits + 7) // 8)
        elif name == b"SSND":
            offset = struct.unpack(">I", file.read(4))[0]
            return DataChunk(at + 16 + offset, max(0, size - 8 - offset) or None, frame)
        at += 8 + size + size % 2
    return None


def _caf(file: BinaryIO) -> DataChunk | None:
    at, frame = 8, 1
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        name, size = struct.unpack(">4sq", file.read(12))
        if name == b"desc":
            frame = struct.unpack(">d4sII", file.read(20))[3] or 1
        elif name == b"data":
            return DataChunk(at + 12, None if size < 0 else size, frame)
        at += 12 + max(0, size)
    return None


def _au(head: bytes) -> DataChunk:
    start, size, encoding, _, channels = struct.unpack(">5I" if head[:1] == b"." else "<5I", head[4:24])
    return DataChunk(start, None if size == _UNKNOWN_32 else size, _AU_WIDTHS.get(encoding, 1) * channels)


def ogg_is_complete(file: BinaryIO) -> bool:
    """Whether the last Ogg page carries the end-of-stream flag (RFC 3533 §6)."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 65_536 * 2))
    tail = file.read()
    at = tail.rfind(b"OggS")
    return at >= 0 and at + 5 < len(tail) and bool(tail[at + 5] & 4)


def ogg_streams(file: BinaryIO) -> int:
    """How many streams of sound begin in an Ogg file: more than one where files were joined (RFC 3533 §4)."""
    file.seek(0)
    count, kept = 0, b""
    while piece := file.read(_PIECE):
        data = kept + piece
        found = list(_OGG_BEGINNING.finditer(data))
        count += len(found)
        kept = data[max(len(data) - _OGG_MARK + 1, found[-1].end() if found else 0) :]
    return count
