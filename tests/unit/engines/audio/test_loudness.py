"""Loudness against the standard's own table, pyloudnorm and ffmpeg's ebur128."""

from __future__ import annotations

import re
import shutil
import subprocess

import numpy as np
import pyloudnorm
import pytest
import soundfile

from stemd.engines.audio.loudness import Loudness, k_weighting


def music(rate: int, length: float, channels: int = 2) -> np.ndarray:
    random = np.random.default_rng(3)
    time = np.arange(round(length * rate)) / rate
    level = 0.02 + 0.3 * np.clip(np.sin(2 * np.pi * time / 7), 0, 1) ** 2
    sound = random.standard_normal((len(time), channels)) * 0.3 + np.sin(2 * np.pi * 220 * time)[:, None]
    return (sound * level[:, None] * np.linspace(1, 0.5, channels)).astype(np.float32)


def measured(frames: np.ndarray, rate: int, block: int = 4097) -> float | None:
    loudness = Loudness(rate, frames.shape[1])
    for start in range(0, len(frames), block):
        loudness.add(frames[start : start + block])
    return loudness.integrated()


def test_filter_is_the_standards_at_48_khz():
    shelf, high_pass = k_weighting(48_000)
    expected = [1.53512485958697, -2.69169618940638, 1.19839281085285, 1.0, -1.69065929318241, 0.73248077421585]
    assert np.allclose(shelf, expected, atol=1e-9)
    assert np.allclose(high_pass, [1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621], atol=1e-9)


def test_the_standards_reference_tone():
    """A 997 Hz sine at full scale in one channel is −3.01 LUFS (BS.1770-4, annex 1)."""
    time = np.arange(48_000 * 5) / 48_000
    assert measured(np.sin(2 * np.pi * 997 * time)[:, None], 48_000) == pytest.approx(-3.01, abs=0.01)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_agrees_with_pyloudnorm(rate, channels):
    frames = music(rate, 20, channels)
    expected = pyloudnorm.Meter(rate, filter_class="DeMan").integrated_loudness(frames.astype(np.float64))
    assert measured(frames, rate) == pytest.approx(expected, abs=0.1)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_agrees_with_ffmpeg(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", music(rate, 20), rate, subtype="FLOAT")
    command = ["ffmpeg", "-nostdin", "-hide_banner", "-i", tmp_path / "a.wav", "-af", "ebur128", "-f", "null", "-"]
    talk = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    expected = float(re.findall(r"I:\s+(-?[\d.]+) LUFS", talk)[-1])
    assert measured(music(rate, 20), rate) == pytest.approx(expected, abs=0.1)


def test_block_size_does_not_matter():
    frames = music(44_100, 5)
    assert measured(frames, 44_100, 1000) == pytest.approx(measured(frames, 44_100, 65_536), abs=1e-9)


def test_silence_and_too_short():
    assert measured(np.zeros((44_100, 2), np.float32), 44_100) is None
    assert measured(music(44_100, 0.3), 44_100) is None
