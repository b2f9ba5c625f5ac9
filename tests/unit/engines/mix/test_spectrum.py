"""The long-term spectrum puts tones where they are and adds up to the power of what it saw."""

from __future__ import annotations

import numpy as np
import pytest

from stemd.engines.mix.spectrum import LongTermSpectrum, third_octaves
from tests.unit.engines.mix.signals import blocks, noise, tone


def spectrum(frames: np.ndarray, rate: int, size: int = 65_536) -> np.ndarray | None:
    meter = LongTermSpectrum(rate)
    for block in blocks(frames, size):
        meter.add(block)
    return meter.bands_db()


def test_bands_are_those_of_iso_266():
    nominal = [25, 31.5, 40, 50, 63, 80, 100, 125, 160, 200, 250, 315, 400, 500, 630, 800, 1000, 1250, 1600, 2000]
    nominal += [2500, 3150, 4000, 5000, 6300, 8000, 10_000, 12_500, 16_000]
    assert third_octaves(44_100) == pytest.approx(nominal, rel=0.02)
    assert third_octaves(8000)[-1] == pytest.approx(3150, rel=0.02)


@pytest.mark.parametrize("rate", [8000, 44_100, 48_000, 96_000])
def test_a_tone_is_in_its_band(rate):
    centres = third_octaves(rate)
    for band in (4, 10, 16, len(centres) - 1):
        bands = spectrum(tone(-6, 2, rate, float(centres[band])), rate)
        assert bands.argmax() == band
        assert bands[band] == pytest.approx(-6 - 3.01, abs=0.1)
        assert np.delete(bands, band).max() < -40


def test_power_is_kept():
    rate = 44_100
    white = np.random.default_rng(0).standard_normal((rate * 10, 2)).astype(np.float32) * 0.1
    centres, bands = third_octaves(rate), spectrum(white, rate)
    widths = centres * (10**0.05 - 10**-0.05)
    assert bands[8:] == pytest.approx(10 * np.log10(0.01 * widths / (rate / 2))[8:], abs=0.3)


def test_pauses_do_not_count():
    sound, pause = noise(4, 44_100), np.zeros((44_100 * 12, 2), np.float32)
    assert spectrum(np.concatenate([sound, pause]), 44_100)[5:] == pytest.approx(spectrum(sound, 44_100)[5:], abs=0.8)


def test_block_size_does_not_matter():
    frames = noise(3, 44_100)
    assert spectrum(frames, 44_100, 1000) == pytest.approx(spectrum(frames, 44_100, len(frames)), abs=1e-6)


def test_a_track_shorter_than_a_window():
    assert spectrum(tone(0, 0.1, 44_100), 44_100).max() == pytest.approx(-3.01, abs=0.1)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("frames", [0, 10, 100_000])
def test_nothing_above_the_gate(frames):
    assert spectrum(np.zeros((frames, 2), np.float32), 44_100) is None
    assert spectrum(noise(2, 44_100)[:frames] * np.float32(0.005), 44_100) is None
