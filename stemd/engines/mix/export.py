"""A stream as a finished file: encoded, read back, measured, and limited lower where the file could not hold it."""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stemd.core.job import Output
from stemd.engines.audio import verify
from stemd.engines.audio.cover import Cover
from stemd.engines.audio.encode import StemWriter
from stemd.engines.audio.formats import Target, choose
from stemd.engines.audio.reader import BLOCK
from stemd.engines.audio.resample import frames_at, reblocked, resampled
from stemd.engines.base import StemFile
from stemd.engines.mix.meter import Measured, ProgramMeter
from stemd.engines.mix.settings import Format

if TYPE_CHECKING:
    from stemd.engines.base import Frames

_MOST_TRIES = 5
_MOST_LIMITED = 3
"""So many of the writings may be of a stream limited lower; what is above its ceiling then is made softer."""
_MARGIN_DB = 0.2
"""Meters of true peaks differ by this much: what is to be below the ceiling by any of them must be this far below."""
_BELOW_DB = 0.1
"""What is taken off a lossy file beyond its excess: the coder does not treat it quite the same at another level."""
_TINY = 1e-30


@dataclass(frozen=True, slots=True)
class Stream:
    """Stereo audio to be read as often as needed: each ``open`` gives the same ``frames`` at ``rate`` Hz, in blocks.

    ``lower`` gives what opens it limited by so many dB more, as loud as it can be then; ``on_block`` is its second
    argument, for the frames of each block it looks at. Without it the stream can only be made softer.
    """

    open: Callable[[], Iterator[Frames]]
    rate: int
    frames: int
    lower: Callable[[float, Callable[[int], None]], Callable[[], Iterator[Frames]]] | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file to make of a stream: ``path`` in an existing folder, ``stem`` its name in the manifest.

    ``dither`` is ``tpdf`` or ``none``; ``ceiling_dbtp`` is what its true peak was promised to be (``None``: nothing).
    """

    path: Path
    stem: str
    format: Format
    dither: str = "tpdf"
    tags: Mapping[str, str] = field(default_factory=dict)
    cover: Cover | None = None
    ceiling_dbtp: float | None = None


@dataclass(frozen=True, slots=True)
class Exported:
    """A finished file as it decodes, after ``tries`` writings.

    ``gain_db`` (≤ 0): how much softer than the stream; ``lowered_db``: how much lower than that it was limited.
    """

    file: StemFile
    measured: Measured
    gain_db: float
    tries: int
    lowered_db: float = 0.0
    warnings: tuple[str, ...] = ()


def export(stream: Stream, wanted: Wanted, on_block: Callable[[int], None]) -> Exported:
    """Write ``wanted`` from ``stream`` and read it back; ``on_block`` gets the frames done, each of the stream's twice.

    It gets more of them where the file is written again: softer, for samples beyond the full scale of a file, and
    limited lower or else softer, a lossy file whose true peak comes out above the ceiling (``_MOST_TRIES`` in all, then
    it stays with a warning).

    Raises:
        StemdError: STEMD-A006 (no such form), STEMD-R003, STEMD-S013, STEMD-S014.
    """
    bits = wanted.format.bits
    target = choose(Output(wanted.format.codec, "32f" if bits == 32 else str(bits)), stream.rate)
    name, ceiling, gain_db, lowered_db, warnings = wanted.path.name, wanted.ceiling_dbtp, 0.0, 0.0, []

    def done(frames: int) -> None:
        on_block(frames * stream.rate // target.rate)

    source = stream
    for tries in itertools.count(1):
        written, peak = _written(source, wanted, target, gain_db, done)
        if (clipped_db := _clipped_db(peak, target)) > 0:
            gain_db -= clipped_db
            warnings.append(f"{name} would have clipped: it is {clipped_db:.1f} dB softer")
            continue
        reading = _Metered(target.rate)
        file = verify.verified(wanted.stem, written, (_frames(stream, target), 2), done, reading)
        measured = reading.meter.measured()
        excess_db = _excess_db(measured, ceiling)
        if target.lossy and excess_db > -_MARGIN_DB and tries < _MOST_TRIES:
            too_high_db = excess_db + _MARGIN_DB + _BELOW_DB
            if stream.lower and tries <= _MOST_LIMITED:
                lowered_db += too_high_db
                source = replace(stream, open=stream.lower(lowered_db, on_block))
            else:
                gain_db -= too_high_db
            continue
        if excess_db > 0:
            warnings.append(f"{name} has a true peak {excess_db:.2f} dB above the {ceiling} dBTP it should hold")
        break
    return Exported(file, measured, gain_db, tries, lowered_db, tuple(warnings))


def _written(
    stream: Stream, wanted: Wanted, target: Target, gain_db: float, on_block: Callable[[int], None]
) -> tuple[StemWriter, float]:
    """The finished file and the highest sample it was given, which may be more than the file holds."""
    frames, peak, gain = _frames(stream, target), 0.0, np.float32(10 ** (gain_db / 20))
    dither = Dither(target.bits, wanted.stem) if target.bits and wanted.dither == "tpdf" else None
    with StemWriter(wanted.path, target, (frames, 2), wanted.tags, wanted.cover) as writer:
        # in blocks of one size, because what libvorbis makes of a track's ends depends on how much it is given at once
        for block in reblocked(resampled(stream.open(), stream.rate, target.rate, 2, lambda: frames), BLOCK):
            scaled = block if gain_db == 0 else block * gain
            peak = max(peak, float(scaled.max()), -float(scaled.min()))
            writer.write(dither.added(scaled) if dither else scaled)
            on_block(len(block))
        writer.finish()
    return writer, peak


class Dither:
    """Triangular noise of ±1 step of ``bits``, the same in every run and for blocks of any size; ``name`` seeds it.

    Lipshitz, Wannamaker & Vanderkooy 1992, "Quantization and dither: a theoretical survey": with it the error of
    rounding has no mean and a power of a quarter of a step squared, whatever the signal. What is silent gets none, and
    where both channels are the same they stay so.
    """

    def __init__(self, bits: int, name: str) -> None:
        self._step = np.float32(2.0 ** (1 - bits))
        self._bits = np.random.PCG64(zlib.crc32(name.encode("utf-8", "replace")))

    def added(self, block: Frames) -> Frames:
        """``block`` (frames × 2) with its noise, not rounded yet."""
        # raw bits, because numpy promises for nothing else that they stay the same from version to version
        draws = self._bits.random_raw(len(block)).view(np.uint16).reshape(-1, 2, 2)
        noise: NDArray[np.float32] = np.subtract(draws[..., 0], draws[..., 1], dtype=np.float32)
        noise *= self._step * np.float32(2**-16)
        np.copyto(noise[:, 1], noise[:, 0], where=block[:, 0] == block[:, 1])
        noise *= block != 0
        noise += block
        return noise


class _Metered(verify.Measured):
    """What reading back finds, measured as a mix is."""

    def __init__(self, rate: int) -> None:
        super().__init__(rate, 2)
        self.meter = ProgramMeter(rate)

    def measure(self, values: NDArray[Any]) -> None:
        frames = values.astype(np.float32)
        if np.abs(frames).max() < _TINY:  # what Opus decodes from silence
            frames[:] = 0
        self.meter.add(frames)

    @property
    def lufs(self) -> float | None:
        return self.meter.integrated()


def _frames(stream: Stream, target: Target) -> int:
    return frames_at(stream.frames, stream.rate, target.rate)


def _clipped_db(peak: float, target: Target) -> float:
    """By how much samples up to ``peak`` are too loud for ``target``, which then gets room for a step of dither too."""
    if target.ceiling is None or peak <= 1:
        return 0.0
    return 20 * math.log10(peak / (target.ceiling - (2.0 ** (1 - target.bits) if target.bits else 0.0)))


def _excess_db(measured: Measured, ceiling: float | None) -> float:
    peak = measured.true_peak_dbtp
    return -math.inf if ceiling is None or peak is None else peak - ceiling
