"""There and back through the model's rate: every frame, and 100 dB in the band both rates have (to 0.9 Nyquist)."""

from __future__ import annotations

import numpy as np
import pytest

from stemd.engines.audio.resample import frames_at, resampled

pytestmark = pytest.mark.golden


def there_and_back(signal: np.ndarray, rate: int, model_rate: int) -> np.ndarray:
    total = len(signal)
    blocks = (signal[start : start + 4096] for start in range(0, total, 4096))
    middle = resampled(blocks, rate, model_rate, 2, lambda: frames_at(total, rate, model_rate))
    return np.concatenate(list(resampled(middle, model_rate, rate, 2, lambda: total)))


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 32_000, 48_000, 88_200, 96_000, 192_000])
def test_signal_to_noise(rate):
    model_rate, frames = 44_100, rate * 3 + 7
    time = np.arange(frames) / rate
    highest = 0.9 * min(rate, model_rate) / 2
    tones = [np.sin(2 * np.pi * f * time + i) for i, f in enumerate(np.linspace(50, highest, 7))]
    fade = np.sin(np.pi * np.arange(frames) / frames) ** 4
    signal = (np.stack([sum(tones), sum(tones[::2])], axis=1) / 8 * fade[:, None]).astype(np.float32)
    back = there_and_back(signal, rate, model_rate)
    assert len(back) == frames
    error = back.astype(np.float64) - signal
    assert 10 * np.log10(np.sum(signal.astype(np.float64) ** 2) / np.sum(error**2)) >= 100


@pytest.mark.parametrize("rate", [8_000, 11_025, 48_000, 96_000, 192_000, 12_347])
@pytest.mark.parametrize("frames", [1, 2, 7, 100, 4095, 4097, 50_001])
def test_frames(rate, frames):
    assert len(there_and_back(np.ones((frames, 2), np.float32), rate, 44_100)) == frames


def test_how_the_input_arrives_does_not_matter():
    signal = np.random.default_rng(0).standard_normal((150_000, 2)).astype(np.float32)
    whole = np.concatenate(list(resampled([signal], 48_000, 44_100, 2, lambda: 137_813)))
    pieces = (signal[start : start + 777] for start in range(0, len(signal), 777))
    assert np.array_equal(np.concatenate(list(resampled(pieces, 48_000, 44_100, 2, lambda: 137_813))), whole)


def test_what_the_new_rate_cannot_hold_is_gone():
    time = np.arange(96_000) / 96_000
    signal = (np.sin(2 * np.pi * 25_000 * time) * np.hanning(96_000))[:, None].astype(np.float32)
    low = np.concatenate(list(resampled([signal], 96_000, 44_100, 1, lambda: 44_100)))
    assert 20 * np.log10(np.abs(low).max()) < -120
