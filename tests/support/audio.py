"""Small recordings, made at test time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile as sf


def tones(seconds: float, rate: int = 44_100, channels: int = 2, seed: int = 0) -> np.ndarray:
    """Chords, a beat and some noise: frames × channels, float32, peak below 0.8."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    chord = sum(np.sin(2 * np.pi * f * t) for f in (110, 220.5, 331, 442)) * 0.08
    beat = np.exp(-(t % 0.5) * 18) * np.sin(2 * np.pi * 60 * t) * 0.25
    mono = chord + beat
    spread = [mono * (1 - 0.2 * c) + 0.02 * rng.standard_normal(len(t)) for c in range(channels)]
    return np.stack(spread, axis=1).astype(np.float32)


def write_wav(path: Path, seconds: float = 2.0, rate: int = 44_100, channels: int = 2, subtype: str = "PCM_24") -> Path:
    """A wav file of ``tones``."""
    sf.write(path, tones(seconds, rate, channels), rate, subtype=subtype)
    return path
