"""Native Instruments' stem file: one MP4 that plays as the song and holds its four stems beside.

Five stereo tracks in Apple Lossless, 44.1 or 48 kHz: first the song, enabled; then the stems, disabled so that
players leave them alone. The box ``moov/udta/stem`` names the stems, in JSON. ffmpeg encodes all tracks from one pipe
of interleaved samples; the boxes with names and tags are put in afterwards.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemd.core.errors import StemdError
from stemd.engines.audio import ffmpeg, mp4_boxes, mp4_tags
from stemd.engines.audio.cover import Cover
from stemd.engines.audio.encode import disk_fault, samples_of
from stemd.engines.audio.formats import Target
from stemd.engines.audio.peaks import Outlined, Peaks
from stemd.engines.audio.reader import BLOCK
from stemd.engines.audio.verify import mismatch, sha256
from stemd.engines.base import StemFile, StemTrack
from stemd.engines.beside import Crew, threads
from stemd.engines.faults import writing

if TYPE_CHECKING:
    from stemd.engines.base import Frames

STEMS = 4
MASTER = "master"
#: The order decks expect; other names come after these.
_ORDER = ("drums", "bass", "other", "vocals")
#: The palette of Okabe and Ito (2008), which people of any colour vision can tell apart.
_COLOURS = ("#009E73", "#D55E00", "#CC79A7", "#56B4E9")
#: Processing of the stems' sum that the format lets a player do; off: the sum is the song already.
_MASTERING = {
    "compressor": {
        "enabled": False, "input_gain": 0.0, "output_gain": 0.0, "threshold": 0.0, "dry_wet": 50, "attack": 0.003,
        "release": 0.3, "ratio": 1.5, "hp_cutoff": 20,
    },
    "limiter": {"enabled": False, "threshold": 0.0, "ceiling": -0.35, "release": 0.05},
}  # fmt: skip
#: How many tracks are read back at once: each by an ffmpeg of its own, which takes a core and memory beside ours.
_READERS = 2
_SAMPLES = {16: "s16p", 24: "s32p"}


def check(names: Sequence[str]) -> None:
    """Whether outputs called ``names`` can become a stem file here.

    Raises:
        StemdError: STEMD-A006 (not four of them), STEMD-A004 (ffmpeg is not installed).
    """
    if len(names) != STEMS:
        message = f"a stem.mp4 holds exactly {STEMS} stems; this job gives {len(names)}: {', '.join(names)}"
        raise StemdError("STEMD-A006", f"{message} (residual: other adds no file, residual: file does)")
    if not ffmpeg.installed():
        raise StemdError("STEMD-A004", "stem.mp4 is written with ffmpeg, which is not installed")


def ordered(names: Sequence[str]) -> list[str]:
    """``names`` in the order of the tracks."""
    return sorted(names, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))


def description(names: Sequence[str]) -> bytes:
    """The content of the box ``stem`` for stems called ``names``."""
    stems = [{"name": name.capitalize(), "color": colour} for name, colour in zip(names, _COLOURS, strict=True)]
    document: dict[str, Any] = {"version": 1, "mastering_dsp": _MASTERING, "stems": stems}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


class StemMp4Writer:
    """Writes the song and its stems to ``path``; ``names`` begins with the song's. See ``outlet.Outlet``."""

    def __init__(
        self, path: Path, target: Target, names: Sequence[str], tags: Mapping[str, str], cover: Cover | None
    ) -> None:
        self.path, self.target, self.names, self.tags, self.cover = path, target, tuple(names), tags, cover
        self._crcs, self._frames = [0] * (1 + STEMS), 0
        self.outlines: dict[str, Peaks] = {}
        with writing(path):
            self._talk = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115  closed with the writer
            self._encoder = subprocess.Popen(
                self._command(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._talk
            )
        assert self._encoder.stdin is not None
        self._input = self._encoder.stdin

    def write(self, values: Sequence[Frames]) -> None:
        """Append frames of the song and each stem, all of one length; a mono song goes to both channels.

        Raises:
            StemdError: STEMD-R003 (no room), STEMD-S014 (the encoder failed).
        """
        tracks = [samples_of(_stereo(each), self.target.bits) for each in values]
        self._crcs = [zlib.crc32(track.data, crc) for track, crc in zip(tracks, self._crcs, strict=True)]
        self._frames += len(tracks[0])
        try:
            self._input.write(np.concatenate(tracks, axis=1).data)
        except BrokenPipeError:
            self._check()

    def finish(self) -> None:
        """Complete the file: names of the stems, tags and cover."""
        try:
            self._input.close()
        finally:
            self._check()
        stem = mp4_boxes.box(b"stem", description(self.names[1:]))
        with writing(self.path):
            mp4_boxes.replace_udta(self.path, mp4_boxes.box(b"udta", mp4_tags.build(self.tags, self.cover), stem))

    def verified(self, on_block: Callable[[int], None]) -> tuple[StemFile, ...]:
        """Decode all tracks back and compare: the one row of the file, measured on the song.

        Raises:
            StemdError: STEMD-S013 (not what was written), STEMD-R003 (and the disk is full).
        """
        with Crew(min(threads(), _READERS) if self._frames >= BLOCK else 1) as crew:
            measured = crew.each(lambda track: self._measured(track, on_block), range(len(self._crcs)))
        self.outlines = {name: each.peaks for name, each in zip(self.names, measured, strict=True)}
        song = measured[0]
        row = StemFile(
            name=self.path.name,
            stem=self.names[0],
            sha256=sha256(self.path),
            bytes=self.path.stat().st_size,
            frames=self._frames,
            sample_rate=self.target.rate,
            channels=2,
            peak=song.peak,
            lufs=song.lufs,
            tracks=tuple(
                StemTrack(name, each.peak, each.lufs) for name, each in zip(self.names, measured, strict=True)
            ),
        )
        return (row,)

    def _measured(self, track: int, on_block: Callable[[int], None]) -> Outlined:
        found = Outlined(self.target.rate, 2, self._frames)
        with closing(ffmpeg.samples(self.path, track, 2)) as blocks:
            for block in blocks:
                found.add(block)
                on_block(len(block))
        if (found.frames, found.crc) != (self._frames, self._crcs[track]):
            problem = f"track {track + 1} had {self._frames} frames; {found.frames} were read back"
            raise mismatch(self.path, problem)
        return found

    def __enter__(self) -> StemMp4Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._encoder.kill()
        self._encoder.wait()
        self._talk.close()
        with suppress(BrokenPipeError):
            self._input.close()

    def _command(self) -> list[str | bytes]:
        rate, count = str(self.target.rate), 1 + STEMS
        pairs = ";".join(f"[0:a]pan=stereo|c0=c{2 * n}|c1=c{2 * n + 1}[t{n}]" for n in range(count))
        command: list[str | bytes] = ["ffmpeg", "-nostdin", "-y", "-v", "error"]
        command += ["-f", "s32le", "-ar", rate, "-ac", str(2 * count), "-i", "pipe:0", "-filter_complex", pairs]
        for number in range(count):
            command += ["-map", f"[t{number}]"]
        command += ["-c:a", "alac", "-sample_fmt", _SAMPLES[self.target.bits or 24]]
        command += ["-disposition:a", "0", "-disposition:a:0", "default", "-map_metadata", "-1"]
        return [*command, "-fflags", "+bitexact", "-f", "mp4", b"file:" + bytes(self.path)]

    def _check(self) -> None:
        """Wait for the encoder; what it said where it failed."""
        if self._encoder.wait() == 0:
            return
        self._talk.seek(0)
        said = self._talk.read().decode("utf-8", "replace").strip().splitlines()
        raise disk_fault(self.path, said[-1] if said else "ffmpeg failed")


def _stereo(block: Frames) -> Frames:
    return block if block.shape[1] == 2 else np.repeat(block, 2, axis=1)
