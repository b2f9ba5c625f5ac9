"""A source file as stemd sees it: one or two channels of finite float32 frames, the same in every pass."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stemd.core.errors import StemdError
from stemd.core.job import printable
from stemd.engines.audio import containers, ffmpeg, sndfile, source_tags
from stemd.engines.audio.cover import MOST_BYTES, Cover
from stemd.engines.audio.reader import Probe
from stemd.engines.base import SourceFacts
from stemd.engines.faults import reading

if TYPE_CHECKING:
    from stemd.engines.base import Frames

LOWEST_RATE, HIGHEST_RATE = 8_000, 192_000
_HALF_POWER = 0.5**0.5
#: Beyond this no sample is sound, but a damaged file's bits. Far above whole numbers of 32 bits that were written as
#: floats by mistake, and far below what sums of squares in float32 overflow at.
_ABSURD = np.float32(1e10)
#: How much of a channel goes to the left and to the right.
_SIDES = {
    "L": (1.0, 0.0), "R": (0.0, 1.0), "C": (_HALF_POWER, _HALF_POWER), "LFE": (0.0, 0.0),
    "Ls": (_HALF_POWER, 0.0), "Rs": (0.0, _HALF_POWER), "Lb": (_HALF_POWER, 0.0), "Rb": (0.0, _HALF_POWER),
    "Cs": (0.5, 0.5),
}  # fmt: skip
_WAV_LAYOUTS = {
    3: "L R C", 5: "L R C Ls Rs", 6: "L R C LFE Ls Rs", 7: "L R C LFE Cs Ls Rs", 8: "L R C LFE Lb Rb Ls Rs",
}  # fmt: skip
_OGG_LAYOUTS = {
    3: "L C R", 5: "L C R Ls Rs", 6: "L C R Ls Rs LFE", 7: "L C R Ls Rs Cs LFE", 8: "L C R Ls Rs Lb Rb LFE",
}  # fmt: skip


@dataclass(slots=True)
class Source:
    """An opened source. ``frames`` is known after the first complete pass of ``blocks``."""

    path: Path
    probe: Probe
    by_ffmpeg: bool
    frames: int | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def rate(self) -> int:
        return self.probe.rate

    @property
    def channels(self) -> int:
        """1 or 2: what is left after folding."""
        return min(2, self.probe.channels)

    def facts(self) -> SourceFacts:
        """What the stems must match; only after a complete pass."""
        assert self.frames is not None
        return SourceFacts(self.frames, self.rate, self.channels, self.probe.format, self.probe.tags)

    def blocks(self) -> Generator[Frames]:
        """Decode from the first frame: blocks of frames × ``channels``; samples not finite, or absurdly large, as 0.

        Raises:
            StemdError: STEMD-A001 (not decodable), STEMD-A002 (cut short), STEMD-A003 (no frames), STEMD-S008,
                STEMD-S006 or STEMD-S014 (the file is gone, not readable, or changed between two passes).
        """
        with reading(self.path):
            raw = ffmpeg.blocks(self.path, self.probe) if self.by_ffmpeg else sndfile.blocks(self.path, self.probe)
            count = 0
            for block in raw:
                count += len(block)
                yield fold(self._finite(block), self.probe.wav_order)
        self._account(count)

    def cover(self) -> Cover | None:
        """The source's front cover; a warning tells of one that stems cannot carry."""
        if self.by_ffmpeg:
            data = ffmpeg.picture(self.path)
        else:
            found = source_tags.read(self.path, self.probe.format.partition("/")[0].upper())[1]
            data = found.data if found else b""
        cover = Cover.of(data)
        if data and cover is None:
            self.warn(f"the cover is no JPEG or PNG of at most {MOST_BYTES} bytes: the stems do not carry it")
        return cover

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    def _finite(self, block: Frames) -> Frames:
        good = np.abs(block) <= _ABSURD  # no NaN is
        if good.all():
            return block
        self.warn("samples that are no finite numbers, or absurdly large, were taken as 0")
        return np.where(good, block, np.float32(0))

    def _account(self, count: int) -> None:
        name, declared = printable(self.path.name), self.probe.declared
        if declared is not None and count < declared - self.probe.tolerance:
            raise StemdError("STEMD-A002", f"{name} declares {declared} frames and holds {count}")
        if count == 0:
            raise StemdError("STEMD-A003", f"{name} has no audio in it")
        if self.frames is not None and self.frames != count:
            raise StemdError("STEMD-S014", f"{name} gave {self.frames} frames, then {count}")
        self.frames = count


def open_source(path: Path) -> Source:
    """Recognise the audio file at ``path`` (any bytes in its name).

    Raises:
        StemdError: STEMD-A001 (no audio), STEMD-A002 (cut short), STEMD-A003 (empty), STEMD-A004 (needs ffmpeg),
            STEMD-A005 (rate), STEMD-S008, STEMD-S006 or STEMD-S014 (cannot be read).
    """
    name = printable(path.name)
    with reading(path), path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise StemdError("STEMD-A003", f"{name} has no bytes")
        if missing := containers.missing_frames(file):
            raise StemdError("STEMD-A002", f"{name} lacks {missing} of the frames its header declares")
        probe = sndfile.probe(path)
        by_ffmpeg = probe is None or probe.partial
        if by_ffmpeg:
            if not ffmpeg.installed():
                what = "is nothing libsndfile decodes" if probe is None else "is more than libsndfile decodes of it"
                raise StemdError("STEMD-A004", f"{name} {what}, and ffmpeg is not installed")
            probe = _joined(ffmpeg.probe(path), probe)
    if probe is None:
        raise StemdError("STEMD-A001", f"no decoder finds audio in {name}")
    if not LOWEST_RATE <= probe.rate <= HIGHEST_RATE:
        raise StemdError("STEMD-A005", f"{name} has {probe.rate} Hz; stemd takes {LOWEST_RATE}–{HIGHEST_RATE} Hz")
    source = Source(path, probe, by_ffmpeg, warnings=list(probe.warnings))
    if probe.channels > 2:
        source.warn(f"{probe.channels} channels were folded to 2")
    return source


def _joined(whole: Probe | None, part: Probe | None) -> Probe | None:
    """What ffmpeg tells of a file; where libsndfile knows a ``part`` of it, no length in it speaks for all of it."""
    if whole is None or part is None:
        return whole
    several = "it consists of several recordings one after another: all of them are read"
    return replace(
        whole, declared=None, padded=False, expected=part.expected, tags=part.tags, warnings=(several, *part.warnings)
    )


def fold(block: Frames, wav_order: bool = True) -> Frames:
    """Bring more than two channels down to two.

    The standard layouts of 3 and 5 to 8 channels by ITU-R BS.775-3 annex 4: front + 0.707 × centre + 0.707 × surround,
    low-frequency channel left out. Beyond the recommendation the same rule goes on: a second pair of surrounds as the
    first, a back centre with a surround's power, half of that on each side. The order is that of WAV, or that of Ogg
    (RFC 7845, section 5.1.1.2, for Opus, the same as Vorbis'). Any other number, and four, which is left and right
    in front and behind: the even channels' mean on the left, the odd ones' on the right.
    """
    channels = block.shape[1]
    if channels <= 2:
        return block
    layout = (_WAV_LAYOUTS if wav_order else _OGG_LAYOUTS).get(channels)
    if layout is None:
        pair = [block[:, side::2].mean(axis=1) for side in (0, 1)]
    else:
        pair = [_mixed(block, [_SIDES[place][side] for place in layout.split()]) for side in (0, 1)]
    return np.stack(pair, axis=1).astype(np.float32)


def _mixed(block: Frames, shares: Sequence[float]) -> Frames:
    """The channels of ``block`` by their ``shares``, added in their order: the same bits on any machine."""
    mixed = np.zeros(len(block), np.float32)
    for channel, share in enumerate(shares):
        if share:
            mixed += share * block[:, channel]
    return mixed
