"""What a mastering engineer does to the whole, done to its stems alike, so that they still add up to it.

A compressor and a limiter multiply the mix with a gain that changes over time, an equaliser is linear: applied to each
stem as they would be to the sum, they give the stems of the mastered song.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter1d, uniform_filter1d
from scipy.signal import lfilter

from stemd.training.terms import RATE, Sound

_HOP, _CEILING = 64, 0.97


@dataclass(frozen=True, slots=True)
class Style:
    """``ratio`` above a ``threshold`` (dB over the song's RMS), ``push`` dB into the limiter, ``tilt`` dB/octave."""

    name: str
    ratio: float = 1.0
    threshold: float = 0.0
    release: float = 0.2
    push: float = 0.0
    tilt: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return {key: round(value, 3) if isinstance(value, float) else value for key, value in asdict(self).items()}


def draw(random: np.random.Generator) -> Style:
    """None for a third of the songs; else glued, loud, or pumping with the beat."""
    chance, tilt = random.random(), float(random.uniform(-0.8, 0.8))
    if chance < 0.35:
        return Style("none")
    if chance < 0.65:
        return Style("glued", float(random.uniform(1.3, 2.5)), float(random.uniform(-4, 4)), 0.25, 0.0, tilt)
    if chance < 0.9:
        return Style("loud", float(random.uniform(1.5, 4)), -2.0, 0.12, float(random.uniform(2, 9)), tilt)
    return Style(
        "pumping", float(random.uniform(4, 10)), float(random.uniform(-6, 0)), float(random.uniform(0.08, 0.2))
    )


def master(stems: Sound, style: Style) -> Sound:
    """``stems`` (stems × 2 × frames) in ``style``; their sum does not exceed the ceiling unless the style is none."""
    if style.name == "none":
        return stems
    stems = _tilted(stems, style.tilt)
    mix = stems.sum(0)
    loudness = float(np.sqrt(np.mean(np.square(mix, dtype=np.float64)))) + 1e-9
    gain = _compression(mix, loudness, style)
    mix, stems = mix * gain, stems * gain
    level = 0.2 / loudness * 10 ** (style.push / 20)
    return stems * (level * _limiting(mix * np.float32(level))).astype(np.float32)


def _tilted(stems: Sound, tilt: float) -> Sound:
    if not tilt:
        return stems
    frames = stems.shape[-1]
    octaves = np.log2(np.maximum(np.fft.rfftfreq(frames, 1 / RATE), 20.0) / 640.0)
    spectrum = np.fft.rfft(stems) * 10 ** (tilt * octaves / 20)
    return np.fft.irfft(spectrum, frames).astype(np.float32)


def _compression(mix: Sound, loudness: float, style: Style) -> NDArray[np.float32]:
    """The gain of each frame, from the level of both channels."""
    frames = mix.shape[-1]
    blocks = -(-frames // _HOP)
    power = np.pad(np.square(mix).mean(0), (0, blocks * _HOP - frames)).reshape(blocks, _HOP).mean(1)
    keep = float(np.exp(-_HOP / RATE / style.release))
    smooth = lfilter([1 - keep], [1, -keep], power)
    over = 10 * np.log10(smooth / loudness**2 + 1e-9) - style.threshold
    decibel = -np.maximum(over, 0) * (1 - 1 / style.ratio)
    return _spread(10 ** (decibel / 20), frames)


def _limiting(mix: Sound) -> NDArray[np.float32]:
    """The gain that keeps peaks below the ceiling: it falls before a peak and rises slowly after it."""
    wanted = np.minimum(1.0, _CEILING / np.maximum(np.abs(mix).max(0), 1e-9))
    reach = int(0.005 * RATE) | 1
    low = minimum_filter1d(wanted, 2 * reach + 1, mode="nearest")
    gain: NDArray[np.float32] = np.minimum(uniform_filter1d(low, reach, mode="nearest"), 1.0).astype(np.float32)
    return gain


def _spread(values: NDArray[np.float64], frames: int) -> NDArray[np.float32]:
    centres = (np.arange(len(values)) + 0.5) * _HOP
    return np.interp(np.arange(frames), centres, values).astype(np.float32)
