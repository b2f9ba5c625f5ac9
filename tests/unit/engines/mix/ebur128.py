"""What ffmpeg's ebur128 filter reads, as the second opinion on loudness and peaks."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


@dataclass(frozen=True)
class Reading:
    """``momentary``: the loudest 400 ms. ``peak`` is in dBTP."""

    integrated: float
    range: float
    momentary: float
    peak: float


def read(folder: Path, frames: np.ndarray, rate: int) -> Reading:
    """What it reads of ``frames`` (frames × 2)."""
    soundfile.write(folder / "read.wav", frames, rate, subtype="FLOAT")
    each = folder / "each.txt"
    filters = f"ebur128=peak=true:metadata=1,ametadata=print:file={each}"
    command = ["ffmpeg", "-nostdin", "-hide_banner", "-i", folder / "read.wav", "-af", filters, "-f", "null", "-"]
    talk = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stderr
    moments = re.findall(r"r128\.M=(-?[\d.]+)", each.read_text())
    peaks = re.findall(r"true_peaks_ch\d=([\d.]+)", each.read_text())
    return Reading(
        integrated=float(re.findall(r"I:\s+(-?[\d.]+) LUFS", talk)[-1]),
        range=float(re.findall(r"LRA:\s+(-?[\d.]+) LU", talk)[-1]),
        momentary=max(map(float, moments), default=-70.0),
        peak=20 * float(np.log10(max(map(float, peaks), default=0.0) + 1e-9)),
    )
