"""Meters against the EBU's own cases, ffmpeg's ebur128 and pyloudnorm."""

from __future__ import annotations

import json
import math

import numpy as np
import pyloudnorm
import pytest

from stemd.engines.mix.meter import Measured, ProgramMeter
from tests.unit.engines.mix import ebur128
from tests.unit.engines.mix.signals import blocks, bursts, noise, song, steps, tone

RATE = 48_000


def measured(frames: np.ndarray, rate: int = RATE, size: int = 65_536) -> Measured:
    meter = ProgramMeter(rate)
    for block in blocks(frames, size):
        meter.add(block)
    return meter.measured()


def tones(*parts: tuple[float, float], rate: int = RATE) -> np.ndarray:
    """1 kHz at each level (dBFS) for so many seconds."""
    whole = tone(0, sum(length for _, length in parts), rate)
    gains = np.repeat([10 ** (db / 20) for db, _ in parts], [round(length * rate) for _, length in parts])
    return whole * gains[: len(whole), None].astype(np.float32)


#: EBU Tech 3341, table 1: number → levels. Case 6 has five channels; a mix has two.
INTEGRATED = {
    1: [(-23, 20)],
    2: [(-33, 20)],
    3: [(-36, 10), (-23, 60), (-36, 10)],
    4: [(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)],
    5: [(-26, 20), (-20, 20.1), (-26, 20)],
}


@pytest.mark.parametrize("case", INTEGRATED)
def test_integrated_loudness_of_ebu_tech_3341(case):
    found = measured(tones(*INTEGRATED[case]))
    assert found.integrated_lufs == pytest.approx(-33 if case == 2 else -23, abs=0.1)


def test_momentary_and_short_term_of_ebu_tech_3341():
    """Cases 1, 9 and 12."""
    steady = measured(tones((-23, 4)))
    assert steady.momentary_lufs == pytest.approx(-23, abs=0.1)
    assert steady.short_term_lufs == pytest.approx(-23, abs=0.1)
    assert measured(tones(*[(-20, 1.34), (-30, 1.66)] * 3)).short_term_lufs == pytest.approx(-23, abs=0.1)
    assert measured(tones(*[(-20, 0.18), (-30, 0.22)] * 10)).momentary_lufs == pytest.approx(-23, abs=0.1)


@pytest.mark.parametrize(
    ("db", "part", "degrees", "expected"),
    [(-6.02, 4, 0, -6), (-6.02, 4, 45, -6), (-6.02, 6, 60, -6), (-6.02, 8, 67.5, -6), (2.98, 4, 45, 3)],
)
def test_true_peak_of_ebu_tech_3341(db, part, degrees, expected):
    """Cases 15 to 19: sines of rate ÷ 4, 6 and 8 whose samples miss the crests. Within +0.2 and −0.4 dB."""
    fade = np.minimum(1, np.minimum(np.arange(RATE), np.arange(RATE)[::-1]) / 500)[:, None].astype(np.float32)
    found = measured(tone(db, 1, RATE, RATE / part, math.radians(degrees)) * fade)
    assert -0.4 <= found.true_peak_dbtp - expected <= 0.2


#: EBU Tech 3342, table 1: expected range, levels.
RANGES = {
    1: (10, [(-20, 20), (-30, 20)]),
    2: (5, [(-20, 20), (-15, 20)]),
    3: (20, [(-40, 20), (-20, 20)]),
    4: (15, [(-50, 20), (-35, 20), (-20, 20), (-35, 20), (-50, 20)]),
}


@pytest.mark.parametrize("case", RANGES)
def test_loudness_range_of_ebu_tech_3342(case):
    expected, levels = RANGES[case]
    assert measured(tones(*levels)).range_lu == pytest.approx(expected, abs=0.1)


def test_loudness_range_is_from_the_tenth_to_the_ninety_fifth_percentile():
    """Of 57 s of short-term loudness, 4 s (7 %) have the whole of the loud part, 4 s of the soft one: too few."""
    assert measured(tones((-30, 53), (-20, 7))).range_lu == pytest.approx(10, abs=0.1)
    assert measured(tones((-30, 7), (-20, 53))).range_lu < 9


@ebur128.needs_ffmpeg
@pytest.mark.parametrize("rate", [44_100, 48_000])
@pytest.mark.parametrize("signal", [steps, bursts, song])
def test_agrees_with_ffmpeg(tmp_path, signal, rate):
    frames = signal(32, rate)
    found, expected = measured(frames, rate), ebur128.read(tmp_path, frames, rate)
    assert found.integrated_lufs == pytest.approx(expected.integrated, abs=0.1)
    assert found.range_lu == pytest.approx(expected.range, abs=0.1)
    assert found.momentary_lufs == pytest.approx(expected.momentary, abs=0.1)
    assert found.true_peak_dbtp == pytest.approx(expected.peak, abs=0.2)


@pytest.mark.parametrize("rate", [44_100, 96_000])
def test_agrees_with_pyloudnorm(rate):
    frames = steps(12, rate)
    expected = pyloudnorm.Meter(rate, filter_class="DeMan").integrated_loudness(frames.astype(np.float64))
    assert measured(frames, rate).integrated_lufs == pytest.approx(expected, abs=0.1)


def test_another_level_needs_no_second_measurement():
    """−50 LUFS in its loud half: the quiet one is below the gate as it is, and above it 20 dB louder."""
    frames = np.concatenate([noise(5, RATE) * np.float32(10 ** (-30 / 20)), noise(5, RATE) * np.float32(0.01)])
    meter = ProgramMeter(RATE)
    meter.add(frames)
    for gain_db in (-12, 0, 20):
        direct = measured(frames * np.float32(10 ** (gain_db / 20))).integrated_lufs
        assert meter.integrated(gain_db) == pytest.approx(direct, abs=1e-4)


def test_peak_crest_and_correlation():
    sine = measured(tone(-6, 2, RATE))
    assert sine.peak_dbfs == pytest.approx(-6, abs=0.01)
    assert sine.crest_db == pytest.approx(3.01, abs=0.01)
    assert sine.correlation == pytest.approx(1)
    assert sine.seconds == 2
    frames = noise(2, RATE)
    assert measured(frames * np.float32([1, -1])).correlation == pytest.approx(-measured(frames).correlation)
    wide = np.random.default_rng(1).standard_normal((RATE, 2)).astype(np.float32) * 0.1
    assert measured(wide).correlation == pytest.approx(0, abs=0.02)


def test_block_size_does_not_matter():
    frames = song(5, 44_100)
    whole = measured(frames, 44_100, len(frames)).to_dict()
    for size in (64, 1000, 1024, 65_536):
        assert measured(frames, 44_100, size).to_dict() == pytest.approx(whole, abs=0.0011)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("frames", [0, 1, 5 * RATE])
def test_silence_has_no_figures(frames):
    found = measured(np.zeros((frames, 2), np.float32))
    assert found == Measured(frames / RATE, None, None, None, None, None, None, None, None)
    assert json.loads(json.dumps(found.to_dict()))["integrated_lufs"] is None


@pytest.mark.filterwarnings("error")
def test_one_silent_channel_and_short_streams():
    left = measured(noise(1, RATE) * np.float32([1, 0]))
    assert left.correlation is None
    assert left.integrated_lufs is not None
    assert left.short_term_lufs is None
    assert left.range_lu is None
    short = measured(noise(0.3, RATE))
    assert short.integrated_lufs is None
    assert short.momentary_lufs is None
    assert short.true_peak_dbtp is not None
