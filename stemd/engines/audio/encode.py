"""Writing one stem: samples on the grid of the format, then its tags and its cover."""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from stemd.core.errors import StemdError
from stemd.engines.audio import flac_tags, id3, ogg_tags, riff
from stemd.engines.audio.cover import Cover
from stemd.engines.audio.formats import Target
from stemd.engines.audio.reader import BLOCK
from stemd.engines.audio.sndfile import STRINGS
from stemd.engines.faults import writing

if TYPE_CHECKING:
    from stemd.engines.base import Frames

_LEAST_FREE = 1 << 20
#: Bytes of a text in INFO: libsndfile reads no long ones back, and longer ones break the file. ``id3 `` has all of it.
_MOST_INFO = 1000
#: libsndfile's number for what the system refused.
_SYSTEM = 2


def on_grid(block: Frames, bits: int | None) -> Frames:
    """``block`` rounded to steps of ``bits`` of integer PCM (exact in float32); ``None`` changes nothing.

    What is beyond full scale stays there: a rest is taken from it, and how loud that is decides about the gain.
    """
    if bits is None:
        return block
    scale = np.float32(2 ** (bits - 1))
    rounded: Frames = np.rint(block * scale)
    rounded /= scale
    return rounded


def samples_of(block: Frames, bits: int | None) -> NDArray[Any]:
    """``block`` on the grid as libsndfile takes it unchanged: int32 with the value in the upper bits, or float32."""
    if bits is None:
        return np.ascontiguousarray(block, np.float32)
    scale = np.float32(2 ** (bits - 1))
    values: Frames = block * scale
    np.rint(values, out=values)
    np.clip(values, -scale, scale - 1, out=values)
    samples = values.astype(np.int32)
    samples <<= 32 - bits
    return samples


class StemWriter:
    """Writes ``frames`` × ``channels`` to ``path``. Use as a context manager; ``finish`` makes the file complete.

    ``crc`` is the CRC-32 of the samples handed over, for comparing with what is read back.
    """

    def __init__(
        self, path: Path, target: Target, shape: tuple[int, int], tags: Mapping[str, str], cover: Cover | None = None
    ) -> None:
        self.path, self.target, self.tags, self.cover, self.crc = path, target, dict(tags), cover, 0
        frames, channels = shape
        with writing(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        with self._sound_errors():
            self._sound = _NotFlushed(
                descriptor,
                "w",
                target.rate,
                channels,
                target.subtype,
                format=target.container_for(frames, channels),
                closefd=True,
            )
            self._set_strings()

    def write(self, block: Frames) -> None:
        """Append frames, rounded to the grid.

        Raises:
            StemdError: STEMD-R003 (no room), STEMD-S014 (the disk), STEMD-A006 (not in this format).
        """
        samples = samples_of(block, self.target.bits)
        self.crc = zlib.crc32(samples.data, self.crc)
        with self._sound_errors():
            for start in range(0, len(samples), BLOCK):
                self._sound.write(samples[start : start + BLOCK])

    def finish(self) -> None:
        """Complete the header and write tags and cover; the disk is waited for when the result is staged."""
        with self._sound_errors():
            self._sound.close()
        with writing(self.path):
            match self.target.container:
                case "FLAC":
                    flac_tags.write(self.path, self.tags, self.cover)
                case "OGG":
                    ogg_tags.write(self.path, self.tags, self.cover)
                case "MP3":
                    _prepend(self.path, id3.build(self.tags, self.cover))
                case "WAV":
                    riff.zero_peak_time(self.path)
                    riff.append_id3(self.path, id3.build(self.tags, self.cover))

    def __enter__(self) -> StemWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._sound.close()

    def _set_strings(self) -> None:
        if self.target.container == "FLAC":
            # libsndfile writes this comment in front of the audio; its room is what the real comments take over
            self._sound.comment = "." * flac_tags.room_for(self.tags, self.cover)
        elif self.target.container == "WAV":
            for name, tag in STRINGS.items():
                if text := self.tags.get(tag):
                    setattr(self._sound, name, text.encode()[:_MOST_INFO].decode(errors="ignore"))

    def _sound_errors(self) -> _SoundErrors:
        return _SoundErrors(self.path)


def _prepend(path: Path, head: bytes) -> None:
    """``path`` with ``head`` in front of it, by a rewritten copy."""
    copy = path.with_name(path.name + ".tags")
    with path.open("rb") as file, copy.open("wb") as target:
        target.write(head)
        shutil.copyfileobj(file, target, 1 << 20)
    copy.rename(path)


class _NotFlushed(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """Leaves flushing to who stages the result: libsndfile would do it at the close and keep its failure to itself."""

    def flush(self) -> None:
        """Nothing is promised before ``finish``."""


class _SoundErrors:
    """libsndfile says little of what went wrong: the disk is asked itself, and if it is well, it was the format."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, soundfile.SoundFileError | OSError | AssertionError):
            return
        fault = disk_fault(self._path, str(error))
        if fault.code == "STEMD-S014" and not fault.detail and getattr(error, "code", _SYSTEM) != _SYSTEM:
            fault = StemdError("STEMD-A006", f"{self._path.name} cannot be written in this format: {error}")
        raise fault from error


def disk_fault(path: Path, text: str) -> StemdError:
    """What a write to the end of the broken file ``path`` meets: STEMD-R003 (no room) or STEMD-S014 (anything else)."""
    if is_full(path):
        return StemdError("STEMD-R003", f"{path.name}: {text}")
    try:
        with writing(path), path.open("ab") as file:
            file.write(bytes(_LEAST_FREE))
    except StemdError as error:
        return error
    return StemdError("STEMD-S014", f"{path.name}: {text}")


def is_full(path: Path) -> bool:
    """Whether the file system below ``path`` is full."""
    state = os.statvfs(path.parent)
    return state.f_bavail * state.f_frsize < _LEAST_FREE
