"""What lossy formats do to sound: each stem through ffmpeg and back, at a random bit rate."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from stemd.core.errors import StemdError
from stemd.training.terms import RATE, Sound

#: File name → options of ffmpeg and the bit rates, in kbit/s.
CODECS = {
    "mp3": (("-c:a", "libmp3lame"), (96, 128, 192, 256)),
    "m4a": (("-c:a", "aac"), (96, 128, 192)),
    "opus": (("-c:a", "libopus"), (64, 96, 128)),
}
_FURTHEST = 4096
"""Frames by which a decoder may come late."""


def draw(random: np.random.Generator, odds: float) -> tuple[str, int] | None:
    """A format and a bit rate for ``odds`` of the songs, where ffmpeg is installed."""
    chance, name = random.random(), str(random.choice(sorted(CODECS)))
    rate = int(random.choice(CODECS[name][1]))
    return (name, rate) if chance < odds and shutil.which("ffmpeg") else None


def through(sound: Sound, name: str, rate: int) -> Sound:
    """``sound`` (2 × frames) encoded, decoded and put back in time.

    Raises:
        StemdError: STEMD-E002, ffmpeg cannot do this.
    """
    if not sound.any():
        return sound
    with tempfile.TemporaryDirectory(prefix="stemd-codec-") as folder:
        before, coded, after = (Path(folder) / each for each in ("before.wav", f"coded.{name}", "after.wav"))
        soundfile.write(before, sound.T, RATE, subtype="FLOAT")
        _ffmpeg(before, (*CODECS[name][0], "-b:a", f"{rate}k"), coded)
        _ffmpeg(coded, ("-c:a", "pcm_f32le", "-ar", str(RATE)), after)
        back = soundfile.read(after, dtype="float32", always_2d=True)[0].T
    return _aligned(back, sound)


def _ffmpeg(source: Path, options: tuple[str, ...], target: Path) -> None:
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", "-threads", "1", "-i", str(source), *options, str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StemdError("STEMD-E002", f"ffmpeg cannot make {target.suffix[1:]}: {done.stderr.strip()[-200:]}")


def _aligned(back: Sound, sound: Sound) -> Sound:
    """``back`` shifted to where it fits ``sound`` best, and as long."""
    frames = sound.shape[1]
    length = 1 << (frames + _FURTHEST).bit_length()
    there, here = np.fft.rfft(back.mean(0)[:frames], length), np.fft.rfft(sound.mean(0), length)
    fit = np.fft.irfft(there * np.conj(here), length)
    late = int(np.argmax(fit[:_FURTHEST]))
    cut = back[:, late : late + frames]
    return np.pad(cut, ((0, 0), (0, frames - cut.shape[1])))
