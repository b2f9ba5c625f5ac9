"""Separation without learning, to compare with, and the best that a mask could do.

Drums are what is steep in time, bass what is low, vocals what lies in the middle and does not repeat (REPET-SIM after
Rafii and Pardo 2012), the rest is the rest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from scipy.signal import istft, stft

from stemd.training.terms import RATE, Sound

_WINDOW, _HOP = 4096, 1024
_BASS, _VOICE_LOW, _VOICE_HIGH = 250.0, 180.0, 8000.0
_ALIKE, _APART = 12, 8
"""How many similar frames the repeating background is the median of, and how far from a frame they lie."""
Real = NDArray[np.float32]


def transform(sound: Sound) -> NDArray[np.complex64]:
    """The spectrogram: … × bins × frames."""
    spectrum = stft(sound, RATE, nperseg=_WINDOW, noverlap=_WINDOW - _HOP)[2]
    return np.asarray(spectrum, np.complex64)


def inverse(spectrum: NDArray[np.complex64], frames: int) -> Sound:
    """The sound of a spectrogram, cut or filled to ``frames``."""
    sound = istft(spectrum, RATE, nperseg=_WINDOW, noverlap=_WINDOW - _HOP)[1][..., :frames]
    missing = [(0, 0)] * (sound.ndim - 1) + [(0, frames - sound.shape[-1])]
    return np.pad(sound, missing).astype(np.float32)


def separate(mixture: Sound) -> Sound:
    """The four stems of ``mixture`` (2 × frames)."""
    spectrum = transform(mixture)
    level = np.abs(spectrum).mean(0)
    steady, sudden = median_filter(level, (1, 17)), median_filter(level, (31, 1))
    frequency = (np.arange(level.shape[0]) * RATE / _WINDOW)[:, None]
    low = 1 / (1 + (frequency / _BASS) ** 8)
    drums = sudden / (sudden + steady + 1e-12) * (1 - 0.5 * low)
    bass = (1 - drums) * low
    band = (1 - 1 / (1 + (frequency / _VOICE_LOW) ** 8)) / (1 + (frequency / _VOICE_HIGH) ** 8)
    rest = (1 - drums) * (1 - low)
    vocals = rest * band * _centred(spectrum) * _unrepeated(level)
    masks = np.stack([drums, bass, rest - vocals, vocals]).astype(np.float32)
    return inverse(masks[:, None] * spectrum[None], mixture.shape[-1])


def ideal(truth: Sound) -> Sound:
    """The mixture under the ideal ratio mask of each stem (of powers): about the most a real mask can do."""
    power = np.square(np.abs(transform(truth)))
    mask = power / (power.sum(0) + 1e-12)
    return inverse((mask * transform(truth.sum(0))[None]).astype(np.complex64), truth.shape[-1])


def _centred(spectrum: NDArray[np.complex64]) -> Real:
    """1 where both channels are the same, 0 where they have nothing in common."""
    left, right = spectrum
    shared = median_filter((left * right.conj()).real, (1, 5))
    power = median_filter((np.square(np.abs(left)) + np.square(np.abs(right))) / 2, (1, 5))
    return np.asarray(np.clip(shared / (power + 1e-9), 0, 1), np.float32)


def _unrepeated(level: Real) -> Real:
    """The share of each bin that stands out from frames like its own."""
    shape = level / (np.linalg.norm(level, axis=0, keepdims=True) + 1e-9)
    alike = shape.T @ shape
    count = alike.shape[0]
    index = np.arange(count)
    alike[np.abs(index[:, None] - index[None]) < _APART] = -1
    chosen = np.argsort(-alike, axis=1)[:, : min(_ALIKE, max(1, count - _APART))]
    background = np.median(level[:, chosen], axis=2)
    return np.asarray(np.clip(1 - np.minimum(background, level) / (level + 1e-9), 0, 1), np.float32)
