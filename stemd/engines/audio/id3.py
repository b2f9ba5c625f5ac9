"""ID3v2 tags (id3.org, versions 2.2 to 2.4): read from any of them, written as 2.4 in UTF-8."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stemd.engines.audio.cover import FRONT, Cover, Picture, front

HEADER = 10
"""Bytes of the header, which says how long the rest is."""
_TEXTS = {
    "TIT2": "TITLE", "TPE1": "ARTIST", "TALB": "ALBUM", "TPE2": "ALBUMARTIST", "TCOM": "COMPOSER", "TDRC": "DATE",
    "TRCK": "TRACKNUMBER", "TPOS": "DISCNUMBER", "TCON": "GENRE", "TCOP": "COPYRIGHT", "TSRC": "ISRC", "TBPM": "BPM",
    "TKEY": "INITIALKEY", "TLAN": "LANGUAGE", "TPUB": "LABEL", "TEXT": "LYRICIST", "TIT1": "GROUPING",
    "TIT3": "SUBTITLE", "TPE3": "CONDUCTOR", "TPE4": "REMIXER",
}  # fmt: skip
_FRAMES = {tag: frame for frame, tag in _TEXTS.items()}
#: Names of older versions → that of 2.4.
_OLDER = {
    "TT2": "TIT2", "TP1": "TPE1", "TAL": "TALB", "TP2": "TPE2", "TCM": "TCOM", "TYE": "TDRC", "TYER": "TDRC",
    "TRK": "TRCK", "TPA": "TPOS", "TCO": "TCON", "TCR": "TCOP", "TRC": "TSRC", "TBP": "TBPM", "TKE": "TKEY",
    "TXX": "TXXX", "COM": "COMM", "ULT": "USLT", "PIC": "APIC", "TPB": "TPUB",
}  # fmt: skip
_ENCODINGS = {0: "latin-1", 1: "utf-16", 2: "utf-16-be", 3: "utf-8"}
_NAME = re.compile(rb"[A-Z][A-Z0-9]{3}")
_UTF8 = b"\x03"
_ANY_LANGUAGE = b"XXX"


@dataclass(frozen=True, slots=True)
class _Frame:
    name: str
    content: bytes


def size(header: bytes) -> int:
    """How many bytes the tag takes that begins with ``header`` (its first ``HEADER`` bytes); 0: it is none."""
    if len(header) < HEADER or header[:3] != b"ID3":
        return 0
    footer = HEADER if header[3] >= 4 and header[5] & 0x10 else 0
    return HEADER + _synchsafe(header[6:10]) + footer


def parse(data: bytes) -> tuple[dict[str, str], Picture | None]:
    """The tags (names as in Vorbis comments) and the cover in a whole ID3v2 tag; what is broken in it is left out."""
    found: dict[str, str] = {}
    pictures: list[Picture] = []
    for frame in _frames(data):
        if frame.name == "APIC":
            pictures += _picture(frame.content, short=data[3] == 2)
        elif named := _text(frame):
            found.setdefault(*named)
    return found, front(pictures)


def build(tags: Mapping[str, str], cover: Cover | None) -> bytes:
    """A whole tag of version 2.4."""
    frames = b"".join(_text_frame(tag, value) for tag, value in tags.items())
    if cover:
        frames += _frame("APIC", _UTF8 + cover.mime.encode() + b"\0" + bytes([FRONT]) + b"\0" + cover.data)
    return b"ID3\x04\x00\x00" + _to_synchsafe(len(frames)) + frames


def _text_frame(tag: str, value: str) -> bytes:
    text = value.encode("utf-8", "replace")
    if tag in _FRAMES:
        return _frame(_FRAMES[tag], _UTF8 + text)
    if tag in ("COMMENT", "LYRICS"):
        return _frame("COMM" if tag == "COMMENT" else "USLT", _UTF8 + _ANY_LANGUAGE + b"\0" + text)
    return _frame("TXXX", _UTF8 + tag.encode("utf-8", "replace") + b"\0" + text)


def _frame(name: str, content: bytes) -> bytes:
    return name.encode() + _to_synchsafe(len(content)) + b"\0\0" + content


def _frames(data: bytes) -> Iterator[_Frame]:
    if not size(data):
        return
    version, flags = data[3], data[5]
    body = data[HEADER : HEADER + _synchsafe(data[6:10])]
    if flags & 0x80 and version < 4:
        body = _resynchronised(body)
    at = _extended(body, version) if flags & 0x40 and version > 2 else 0
    name_size = 3 if version == 2 else 4
    head = 6 if version == 2 else 10
    while at + head <= len(body) and body[at]:
        name = body[at : at + name_size].decode("latin-1")
        sizes = body[at + name_size : at + 2 * name_size]
        length = _size_of_2_4(body, at + head, sizes) if version == 4 else int.from_bytes(sizes, "big")
        content = body[at + head : at + head + length]
        if version > 2:
            content = _plain(content, body[at + 9], version)
        at += head + length
        if content:
            yield _Frame(_OLDER.get(name, name), content)


def _size_of_2_4(body: bytes, start: int, sizes: bytes) -> int:
    """The size of a frame whose content begins at ``start``; old versions of iTunes write it as version 2.3 has it."""
    length, plain = _synchsafe(sizes), int.from_bytes(sizes, "big")
    return plain if not _leads_on(body, start + length) and _leads_on(body, start + plain) else length


def _leads_on(body: bytes, at: int) -> bool:
    """Whether a frame, padding or the end of the tag can be at ``at``."""
    head = body[at : at + HEADER]
    return at == len(body) or (at < len(body) and (not any(head) or _NAME.match(head) is not None))


def _extended(body: bytes, version: int) -> int:
    return _synchsafe(body[:4]) if version == 4 else 4 + int.from_bytes(body[:4], "big")


def _plain(content: bytes, flags: int, version: int) -> bytes:
    """A frame's content without what its flags put around it; nothing where it is compressed or encrypted."""
    if version == 3:
        return b"" if flags & 0xC0 else content[1 if flags & 0x20 else 0 :]
    if flags & 0x0C:
        return b""
    content = content[(1 if flags & 0x40 else 0) + (4 if flags & 0x01 else 0) :]
    return _resynchronised(content) if flags & 0x02 else content


def _text(frame: _Frame) -> tuple[str, str] | None:
    """Name and value of a frame with text; several values joined with ``; ``."""
    code, rest = frame.content[0], frame.content[1:]
    if frame.name in ("COMM", "USLT"):
        about, text = _split(rest[3:], code)
        name = "" if about else ("COMMENT" if frame.name == "COMM" else "LYRICS")
    elif frame.name == "TXXX":
        about, text = _split(rest, code)
        name = about.upper()
    else:
        name, text = _TEXTS.get(frame.name, ""), rest
    value = "; ".join(part.strip() for part in _decoded(text, code).split("\0") if part.strip())
    return (name, value) if name and value else None


def _picture(content: bytes, *, short: bool) -> list[Picture]:
    """The picture of an APIC frame, or of the PIC frame of version 2.2, which names its kind in three letters."""
    code, rest = content[0], content[1:]
    rest = rest[3:] if short else rest.partition(b"\0")[2]
    if not rest:
        return []
    width = 2 if code in (1, 2) else 1
    end = _end_of_text(rest[1:], width)
    data = rest[1 + end + width :]
    return [Picture(rest[0], data)] if data else []


def _split(content: bytes, code: int) -> tuple[str, bytes]:
    """A description and what comes after it."""
    width = 2 if code in (1, 2) else 1
    end = _end_of_text(content, width)
    return _decoded(content[:end], code), content[end + width :]


def _end_of_text(content: bytes, width: int) -> int:
    end = content.find(b"\0" * width)
    while width == 2 and end % 2 and end >= 0:
        end = content.find(b"\0\0", end + 1)
    return end if end >= 0 else len(content)


def _decoded(text: bytes, code: int) -> str:
    if code == 1 and not text.startswith((b"\xff\xfe", b"\xfe\xff")):
        code = 2
    return text.decode(_ENCODINGS.get(code, "latin-1"), "replace").replace("\ufeff", "").rstrip("\0")


def _resynchronised(data: bytes) -> bytes:
    return data.replace(b"\xff\x00", b"\xff")


def _synchsafe(data: bytes) -> int:
    value = 0
    for byte in data:
        value = value << 7 | byte & 0x7F
    return value


def _to_synchsafe(value: int) -> bytes:
    return bytes(value >> shift & 0x7F for shift in (21, 14, 7, 0))
