"""Reading a finished stem back: is it what was written, and how loud is it?"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from stemd.core.errors import StemdError
from stemd.engines.audio.encode import StemWriter, disk_fault
from stemd.engines.audio.loudness import Loudness
from stemd.engines.audio.reader import BLOCK
from stemd.engines.base import StemFile
from stemd.engines.faults import writing


def verified(stem: str, written: StemWriter, shape: tuple[int, int], on_block: Callable[[int], None]) -> StemFile:
    """Decode the file ``written`` back and measure it; ``shape`` is (frames, channels). ``on_block`` gets frames read.

    Raises:
        StemdError: STEMD-S013 (not what was written), STEMD-R003 (and the disk is full).
    """
    path, target = written.path, written.target
    frames, channels = shape
    integer = target.bits is not None
    loudness = Loudness(target.rate, channels)
    peak, count, crc = 0.0, 0, 0
    with soundfile.SoundFile(os.fsencode(path)) as sound:
        found = (int(sound.samplerate), int(sound.channels))
        while len(block := sound.read(BLOCK, dtype="int32" if integer else "float32", always_2d=True)):
            crc = zlib.crc32(np.ascontiguousarray(block).data, crc)
            values = block * np.float64(2.0**-31) if integer else block.astype(np.float64)
            loudness.add(values)
            peak = max(peak, float(np.abs(values).max()))
            count += len(block)
            on_block(len(block))
    if found != (target.rate, channels) or count != frames or not (target.lossy or crc == written.crc):
        problem = (
            f"{frames} frames, {target.rate} Hz × {channels} written; {count}, {found[0]} Hz × {found[1]} read back"
        )
        full = disk_fault(path, problem)
        raise full if full.code == "STEMD-R003" else StemdError("STEMD-S013", f"{path.name}: {problem}")
    return StemFile(
        name=path.name,
        stem=stem,
        sha256=_sha256(path),
        bytes=path.stat().st_size,
        frames=count,
        sample_rate=target.rate,
        channels=channels,
        peak=peak,
        lufs=loudness.integrated(),
    )


def _sha256(path: Path) -> str:
    with writing(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
