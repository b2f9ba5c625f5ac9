"""Reading a finished stem back: is it what was written, and how loud is it?"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from stemd.core.errors import StemdError
from stemd.engines.audio.encode import StemWriter, is_full
from stemd.engines.audio.loudness import Loudness
from stemd.engines.audio.reader import BLOCK
from stemd.engines.base import StemFile
from stemd.engines.faults import writing


class Measured:
    """What a stream of blocks adds up to: ``frames``, ``crc`` (CRC-32 of the samples), ``peak`` and loudness.

    Blocks are frames × channels: int32 with full scale ±2³¹, or float32 with full scale ±1.
    """

    def __init__(self, rate: int, channels: int) -> None:
        self.frames, self.crc, self.peak = 0, 0, 0.0
        self._loudness = Loudness(rate, channels)

    def add(self, block: NDArray[Any]) -> None:
        self.crc = zlib.crc32(np.ascontiguousarray(block).data, self.crc)
        values: NDArray[Any] = block * np.float64(2.0**-31) if block.dtype == np.int32 else block.astype(np.float64)
        self.measure(values)
        self.peak = max(self.peak, float(np.abs(values).max()))
        self.frames += len(block)

    def measure(self, values: NDArray[Any]) -> None:
        self._loudness.add(values)

    @property
    def lufs(self) -> float | None:
        return self._loudness.integrated()


def verified(
    stem: str,
    written: StemWriter,
    shape: tuple[int, int],
    on_block: Callable[[int], None],
    measured: Measured | None = None,
) -> StemFile:
    """Decode the file ``written`` back and measure it; ``shape`` is (frames, channels). ``on_block`` gets frames read.

    A fresh ``measured`` may be given, to learn more from the same reading.

    Raises:
        StemdError: STEMD-S013 (not what was written), STEMD-R003 (and the disk is full).
    """
    path, target = written.path, written.target
    frames, channels = shape
    measured = measured or Measured(target.rate, channels)
    try:
        with soundfile.SoundFile(os.fsencode(path)) as sound:
            found = (int(sound.samplerate), int(sound.channels))
            while len(block := sound.read(BLOCK, dtype="int32" if target.bits else "float32", always_2d=True)):
                measured.add(block)
                on_block(len(block))
    except soundfile.LibsndfileError as error:
        raise mismatch(path, str(error)) from error
    same = target.lossy or measured.crc == written.crc
    if found != (target.rate, channels) or measured.frames != frames or not same:
        raise mismatch(
            path,
            f"{frames} frames, {target.rate} Hz × {channels} written; "
            f"{measured.frames}, {found[0]} Hz × {found[1]} read back",
        )
    return StemFile(
        name=path.name,
        stem=stem,
        sha256=sha256(path),
        bytes=path.stat().st_size,
        frames=frames,
        sample_rate=target.rate,
        channels=channels,
        peak=measured.peak,
        lufs=measured.lufs,
    )


def mismatch(path: Path, problem: str) -> StemdError:
    """STEMD-R003 where the disk is full, which explains it; else STEMD-S013."""
    return StemdError("STEMD-R003" if is_full(path) else "STEMD-S013", f"{path.name}: {problem}")


def sha256(path: Path) -> str:
    """The file's sha256 in hexadecimal."""
    with writing(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
