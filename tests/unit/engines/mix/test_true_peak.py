"""What is between the samples, against the exact interpolation by a Fourier transform."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.fft import irfft, rfft

from stemd.engines.mix.true_peak import TILE, TruePeak, sample_peaks, true_peaks
from tests.unit.engines.mix.signals import blocks


def limited_noise(frames: int, highest: float = 0.4) -> np.ndarray:
    """Noise without anything above ``highest`` × rate, periodic, so that its interpolation is exact."""
    spectrum = rfft(np.random.default_rng(6).standard_normal((frames, 2)), axis=0)
    spectrum[round(highest * frames) :] = 0
    return (irfft(spectrum, frames, axis=0) * 0.2).astype(np.float32)


def exact(frames: np.ndarray, factor: int) -> np.ndarray:
    return irfft(rfft(frames.astype(np.float64), axis=0), factor * len(frames), axis=0) * factor


def test_each_tile_has_its_own_peak():
    frames = limited_noise(4096)
    expected = np.abs(exact(frames, 4)).reshape(-1, 4 * TILE * 2).max(axis=1)[1:-1]
    assert np.allclose(true_peaks(frames, sample_peaks(frames), 0.0), expected, rtol=0.01)


def test_quiet_tiles_are_left_out_only_where_they_cannot_matter():
    frames = limited_noise(4096)
    whole = true_peaks(frames, sample_peaks(frames), 0.0)
    threshold = float(np.median(whole))
    some = true_peaks(frames, sample_peaks(frames), threshold)
    assert np.array_equal(some[whole > threshold], whole[whole > threshold])
    assert np.all(some <= whole)


@pytest.mark.parametrize("size", [1, 7, 16, 100, 160, 1000])
@pytest.mark.parametrize("at", [483, 498, 513, 640])
def test_a_peak_is_seen_wherever_blocks_meet(size, at):
    frames = np.zeros((1000, 2), np.float32)
    frames[at : at + 2, 0] = 0.8
    meter = TruePeak()
    for block in blocks(frames, size):
        meter.add(block)
    assert meter.finish() == (pytest.approx(0.8), pytest.approx(np.abs(exact(frames, 4)).max(), rel=0.01))


def test_the_last_frames_are_seen():
    frames = np.zeros((37, 2), np.float32)
    frames[-2:, 1] = 0.8
    meter = TruePeak()
    meter.add(frames)
    assert meter.finish()[1] == pytest.approx(1.02, abs=0.03)
