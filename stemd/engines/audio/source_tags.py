"""What a source says about itself: its tags and its cover, read without any library but for libsndfile's strings."""

from __future__ import annotations

from pathlib import Path

from stemd.engines.audio import flac_tags, id3, ogg_tags, riff
from stemd.engines.audio.cover import Picture

_MOST_ID3 = 64 << 20


def read(path: Path, container: str) -> tuple[dict[str, str], Picture | None]:
    """Tags (named as in Vorbis comments) and cover of the file at ``path``, a ``container`` in libsndfile's words."""
    match container:
        case "FLAC":
            (strange, another), (own, picture) = id3.parse(_leading_id3(path)), flac_tags.read(path)
            return {**strange, **own}, picture or another
        case "OGG":
            return ogg_tags.read(path)
        case "MP3":
            return id3.parse(_leading_id3(path))
        case "WAV" | "WAVEX" | "RF64" | "AIFF":
            return id3.parse(riff.read_id3(path))
    return {}, None


def _leading_id3(path: Path) -> bytes:
    with path.open("rb") as file:
        head = file.read(id3.HEADER)
        return head + file.read(min(id3.size(head), _MOST_ID3))
