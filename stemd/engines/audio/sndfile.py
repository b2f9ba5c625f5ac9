"""Reading with libsndfile: wav, flac, ogg, opus, mp3, aiff, w64, rf64, caf and more."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import soundfile

from stemd.engines.audio import containers, source_tags
from stemd.engines.audio.reader import BLOCK, Probe
from stemd.engines.audio.tags import for_stems

if TYPE_CHECKING:
    from stemd.engines.base import Frames

#: libsndfile's string → the name of the tag in Vorbis comments.
STRINGS = {
    "title": "TITLE",
    "artist": "ARTIST",
    "album": "ALBUM",
    "date": "DATE",
    "tracknumber": "TRACKNUMBER",
    "genre": "GENRE",
    "comment": "COMMENT",
    "copyright": "COPYRIGHT",
    "license": "LICENSE",
}

#: Encoders often miscount their MPEG frames (of 1152) by one or two.
_MP3_TOLERANCE = 2 * 1152
#: libsndfile's answer for a stream that does not state its length (a FLAC written to a pipe) is near 2^63.
_UNKNOWN_FRAMES = 1 << 62


def probe(path: Path) -> Probe | None:
    """Recognise ``path``, or return ``None`` where libsndfile does not know it.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        mp3_length = containers.mp3_declares_length(file)
        ogg_end = containers.ogg_is_complete(file)
    try:
        sound = soundfile.SoundFile(os.fsencode(path))
    except (soundfile.LibsndfileError, TypeError):  # TypeError: a name that ends in .raw
        return None
    with sound:
        warnings = []
        binding = True
        if sound.format == "MP3" and not mp3_length:
            binding = False
            warnings.append("the mp3 has no header that states its length: what decodes is used")
        if sound.format == "OGG" and not ogg_end:
            warnings.append("the Ogg stream has no end mark; it may be cut short")
        frames = int(sound.frames) if sound.frames < _UNKNOWN_FRAMES else None
        return Probe(
            rate=int(sound.samplerate),
            channels=int(sound.channels),
            format=f"{sound.format}/{sound.subtype}".lower(),
            declared=frames if binding else None,
            tolerance=_MP3_TOLERANCE if sound.format == "MP3" else 0,
            expected=frames,
            wav_order=sound.format != "OGG",
            tags=_tags(path, sound),
            warnings=tuple(warnings),
        )


def _tags(path: Path, sound: soundfile.SoundFile) -> dict[str, str]:
    own, _ = source_tags.read(path, sound.format)
    found = {tag: str(getattr(sound, name, "") or "").strip() for name, tag in STRINGS.items()}
    return for_stems({**found, **own})


class _Onward(soundfile.SoundFile):  # type: ignore[misc]  # untyped
    """A sound file that is only read on: the seek after each block fails at the end of a FLAC without a length."""

    def seekable(self) -> bool:
        return False


def blocks(path: Path) -> Generator[Frames]:
    """Decode ``path`` in blocks of ``BLOCK`` frames × channels; ends early where the data do."""
    with path.open("rb") as file, _Onward(file.fileno(), closefd=False) as sound:
        while True:
            try:
                block = sound.read(BLOCK, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError:
                return
            if not len(block):
                return
            yield block
