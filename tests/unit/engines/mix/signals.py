"""Generated stereo signals: frames × 2, float32."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.signal import lfilter


def blocks(frames: np.ndarray, size: int = 65_536) -> Iterator[np.ndarray]:
    for start in range(0, len(frames), size):
        yield frames[start : start + size]


def seconds(length: float, rate: int) -> np.ndarray:
    return np.arange(round(length * rate)) / rate


def tone(db: float, length: float, rate: int, hz: float = 1000.0, phase: float = 0.0) -> np.ndarray:
    """A sine of ``db`` (peak) in both channels."""
    wave = 10 ** (db / 20) * np.sin(2 * np.pi * hz * seconds(length, rate) + phase)
    return np.stack([wave, wave], axis=1).astype(np.float32)


def noise(length: float, rate: int, seed: int = 0) -> np.ndarray:
    """Noise that falls by 6 dB per octave above 1 kHz, both channels alike in part, RMS 0.1."""
    white = np.random.default_rng(seed).standard_normal((round(length * rate), 3))
    pole = np.exp(-2 * np.pi * 1000 / rate)
    shared, left, right = lfilter([1 - pole], [1, -pole], white, axis=0).T
    pair = np.stack([shared + 0.5 * left, shared + 0.5 * right], axis=1)
    return (0.1 * pair / np.sqrt(np.square(pair).mean())).astype(np.float32)


def steps(length: float, rate: int) -> np.ndarray:
    """``noise`` at 0, −12, +6 and −24 dB in turn, each for a quarter of the time."""
    gains = 10 ** (np.array([0, -12, 6, -24]) / 20)
    frames = noise(length, rate)
    return frames * np.repeat(gains, -(-len(frames) // 4))[: len(frames), None].astype(np.float32)


def bursts(length: float, rate: int) -> np.ndarray:
    """Half a second of noise, half a second of nothing."""
    return noise(length, rate) * (seconds(length, rate) % 1 < 0.5)[:, None].astype(np.float32)


def song(length: float, rate: int) -> np.ndarray:
    """A beat, a hi-hat on both sides and a chord that swells; peak about 1."""
    t = seconds(length, rate)
    kick = np.exp(-(t % 0.5) * 12) * np.sin(2 * np.pi * 55 * (t % 0.5))
    hats = np.random.default_rng(5).standard_normal((len(t), 2)) * (0.15 * np.exp(-(t % 0.125) * 50))[:, None]
    chord = sum(np.sin(2 * np.pi * hz * t) for hz in (220, 277.2, 329.6)) * 0.08 * (1 + np.sin(2 * np.pi * t / 8))
    return ((kick * 0.7 + chord)[:, None] + hats).astype(np.float32)
