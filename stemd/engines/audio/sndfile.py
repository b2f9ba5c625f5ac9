"""Reading with libsndfile: wav, flac, ogg, opus, mp3, aiff, w64, rf64, caf and more."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, BinaryIO

import soundfile

from stemd.engines.audio import containers, mpeg, rare_containers, source_tags
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
_NO_END = "the Ogg stream has no end mark; it may be cut short"
_PIECE = 1 << 16
#: Bytes of a sample that libsndfile also reads without a container.
_WIDTHS = {
    "PCM_S8": 1, "PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8, "ULAW": 1, "ALAW": 1,
}  # fmt: skip


def probe(path: Path) -> Probe | None:
    """Recognise ``path``, or return ``None`` where libsndfile does not know it.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            sound = soundfile.SoundFile(os.fsencode(path))
        except (soundfile.LibsndfileError, TypeError):  # TypeError: a name that ends in .raw
            return None
        with sound:
            frames = int(sound.frames) if sound.frames < _UNKNOWN_FRAMES else None
            found = Probe(
                rate=int(sound.samplerate),
                channels=int(sound.channels),
                format=f"{sound.format}/{sound.subtype}".lower(),
                declared=frames,
                expected=frames,
                wav_order=sound.format != "OGG",
                tags=_tags(path, sound),
            )
            return _held(found, sound, file)


def _held(found: Probe, sound: soundfile.SoundFile, file: BinaryIO) -> Probe:
    """``found``, as its header says, by what the file really holds."""
    match sound.format:
        case "MP3":
            return _of_mp3(found, mpeg.survey(file))
        case _ if sound.subtype.startswith("MPEG"):  # within a WAV, whose count of frames is a guess
            return _of_mp3(found, replace(mpeg.survey(file), declares=None))
        case "OGG":
            cut = () if containers.ogg_is_complete(file) else (_NO_END,)
            return replace(found, partial=containers.ogg_streams(file) > 1, warnings=cut)
        case "WAV" | "WAVEX" | "RF64" | "AIFF" | "AU":
            return _to_the_end(found, sound, file)
        case rare if rare in rare_containers.NO_LENGTH:
            return replace(found, warnings=(f"{rare} does not state its length: what is there is used",))
    return found


def _of_mp3(found: Probe, survey: mpeg.Survey) -> Probe:
    """What libsndfile found in an MP3, by what the file really holds."""
    if survey.declares:
        return replace(found, tolerance=_MP3_TOLERANCE, partial=survey.beyond)
    return replace(
        found,
        declared=survey.samples or None,
        tolerance=found.rate // 4,
        expected=survey.samples or found.expected,
        partial=not survey.uniform,
        spans=survey.spans,
        warnings=("the mp3 has no header that states its length: what decodes is used",),
    )


def _to_the_end(found: Probe, sound: soundfile.SoundFile, file: BinaryIO) -> Probe:
    """``found`` in a file whose header speaks for all of its sound, or what is really there instead."""
    chunk = containers.data_chunk(file)
    if chunk is None:
        return found
    whole, read = os.fstat(file.fileno()).st_size, int(sound.frames)
    if chunk.size is not None:
        beyond = containers.unclaimed(file, chunk)
    else:
        beyond = max(0, whole - chunk.start - read * chunk.frame)
        beyond = beyond if beyond >= containers.LEAST_SOUND else 0
    if not beyond:
        return found
    if sound.subtype not in _WIDTHS or chunk.frame != found.channels * _WIDTHS[sound.subtype]:
        return replace(found, warnings=(f"{beyond} bytes after the sound that its header declares were left out",))
    held = (whole - chunk.start) // chunk.frame
    order = sound.endian if sound.endian != "FILE" else "BIG" if sound.format in ("AIFF", "AU") else "LITTLE"
    return replace(
        found,
        declared=held,
        expected=held,
        spans=((chunk.start, chunk.start + held * chunk.frame),),
        bare=(str(sound.subtype), order),
        warnings=(f"its header speaks of {read} frames and the file holds {held}: it was read to its end",),
    )


def _tags(path: Path, sound: soundfile.SoundFile) -> dict[str, str]:
    own, _ = source_tags.read(path, sound.format)
    found = {tag: _decoded(_raw(sound, name)).strip() for name, tag in STRINGS.items()}
    return for_stems({**found, **own})


def _raw(sound: soundfile.SoundFile, name: str) -> bytes:
    """One of ``STRINGS`` as it stands in the file; soundfile's own attributes lose what is no UTF-8."""
    text = soundfile._snd.sf_get_string(sound._file, soundfile._str_types[name])
    return bytes(soundfile._ffi.string(text)) if text else b""


def _decoded(raw: bytes) -> str:
    """A text of INFO or ID3v1, which do not say in which letters it is: UTF-8, else those of Windows in the west."""
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        begun = raw[: error.start].decode()
        if error.reason == "unexpected end of data" and not begun.isascii():
            return begun  # cut off within a letter, as ID3v1 does after 30 bytes
        return raw.decode("cp1252", "replace")


class _Onward(soundfile.SoundFile):  # type: ignore[misc]  # untyped
    """A sound file that is only read on: the seek after each block fails at the end of a FLAC without a length."""

    def seekable(self) -> bool:
        return False


def blocks(path: Path, probe: Probe) -> Generator[Frames]:
    """Decode ``path`` in blocks of ``BLOCK`` frames × channels; ends early where the data do."""
    with path.open("rb") as file, _sound(file, probe) as sound:
        while True:
            try:
                block = sound.read(BLOCK, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError:
                return
            if not len(block):
                return
            yield block


@contextmanager
def _sound(file: BinaryIO, probe: Probe) -> Iterator[soundfile.SoundFile]:
    if not probe.spans:
        with _Onward(file.fileno(), closefd=False) as sound:
            yield sound
        return
    how: dict[str, Any] = {}
    if probe.bare:
        how = {"format": "RAW", "samplerate": probe.rate, "channels": probe.channels}
        how["subtype"], how["endian"] = probe.bare
    with _piped(file, probe.spans) as pipe, _Onward(pipe, closefd=False, **how) as sound:
        yield sound


@contextmanager
def _piped(file: BinaryIO, spans: Sequence[tuple[int, int]]) -> Iterator[int]:
    """A pipe out of which ``spans`` of ``file`` come; of a pipe libsndfile guesses no length, but reads to its end.

    Raises:
        OSError: the file cannot be read.
    """
    out, into = os.pipe()
    errors: list[OSError] = []

    def feed() -> None:
        try:
            with suppress(BrokenPipeError), os.fdopen(into, "wb") as pipe:  # broken: nobody reads on
                for start, end in spans:
                    pieces = range(start, end, _PIECE)
                    pipe.writelines(os.pread(file.fileno(), min(_PIECE, end - at), at) for at in pieces)
        except OSError as error:
            errors.append(error)

    feeder = Thread(target=feed, name="feeder", daemon=True)
    feeder.start()
    try:
        yield out
    finally:
        os.close(out)
        feeder.join()
    if errors:
        raise errors[0]
