"""The limiter keeps its promise, read by ffmpeg too, and touches nothing that keeps it anyway."""

from __future__ import annotations

import numpy as np
import pytest

from stemd.engines.mix.limiter import Limit
from stemd.engines.mix.meter import ProgramMeter
from stemd.engines.mix.parameters import Limiter, Spatial
from stemd.engines.mix.processor import run
from stemd.engines.mix.spatial import Place
from stemd.engines.mix.true_peak import TILE
from tests.unit.engines.mix import ebur128
from tests.unit.engines.mix.signals import blocks, noise, seconds, song, steps, tone

RATE = 44_100


def quarter(length: float, rate: int) -> np.ndarray:
    """Full-scale samples at rate ÷ 4, all off their crests: 3 dB more between them, from the first frame on."""
    return tone(3, length, rate, rate / 4, np.pi / 4)


def pulses(length: float, rate: int) -> np.ndarray:
    """Single samples at full scale, now and then, and bursts of ``quarter`` that begin at once."""
    random = np.random.default_rng(2)
    single = random.choice([-1.0, 0.0, 1.0], (round(length * rate), 2), p=[0.0005, 0.999, 0.0005])
    return (single + quarter(length, rate) * (seconds(length, rate) % 0.2 < 0.002)[:, None]).astype(np.float32)


def white(length: float, rate: int) -> np.ndarray:
    return np.random.default_rng(4).standard_normal((round(length * rate), 2)).astype(np.float32) * np.float32(0.25)


def limit(frames: np.ndarray, limiter: Limit, size: int = 65_536, *before) -> np.ndarray:
    return np.concatenate(list(run([*before, limiter], blocks(frames, size))))


def true_peak(frames: np.ndarray, rate: int = RATE) -> float:
    meter = ProgramMeter(rate)
    meter.add(frames)
    return meter.measured().true_peak_dbtp


@ebur128.needs_ffmpeg
@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
@pytest.mark.parametrize("drive_db", [6, 12])
@pytest.mark.parametrize("signal", [white, song, quarter, pulses])
def test_ffmpeg_reads_no_more_than_the_promise(tmp_path, signal, drive_db, rate):
    widened = Place(Spatial(width=1.5), rate)
    out = limit(signal(3, rate), Limit(Limiter(), rate, drive_db), 65_536, widened)
    assert ebur128.read(tmp_path, out, rate).peak <= -1.0
    assert true_peak(out, rate) > -2.0


@ebur128.needs_ffmpeg
@pytest.mark.parametrize("ceiling", [-0.1, -3.0, -9.0])
def test_other_ceilings(tmp_path, ceiling):
    out = limit(song(2, RATE), Limit(Limiter(ceiling), RATE, 12))
    assert ceiling - 0.6 < ebur128.read(tmp_path, out, RATE).peak <= ceiling


@pytest.mark.parametrize(("ahead", "release"), [(0, 1), (0.1, 1000), (5, 10), (20, 80)])
def test_no_setting_lets_a_peak_through(ahead, release):
    for signal in (white, pulses):
        out = limit(signal(1, RATE), Limit(Limiter(-1.0, ahead, release), RATE, 12))
        assert true_peak(out) <= -1.29


@pytest.mark.parametrize("rate", [8000, 44_100, 192_000])
def test_what_is_below_the_ceiling_is_not_touched(rate):
    frames = song(1, rate)
    frames *= np.float32(10 ** (-2 / 20) / np.abs(frames).max())
    limiter = Limit(Limiter(), rate)
    assert np.array_equal(limit(frames, limiter), frames)
    assert limiter.facts() == {"max_reduction_db": 0.0, "at_work": 0.0}


def test_the_gain_comes_first():
    frames = noise(1, RATE)
    assert np.allclose(limit(frames, Limit(Limiter(), RATE, 3.0)), frames * 10 ** (3 / 20), rtol=1e-6)


@pytest.mark.parametrize("size", [64, 1024, 65_536])
def test_block_size_does_not_matter(size):
    frames = song(4, RATE)
    whole = limit(frames, Limit(Limiter(), RATE, 9), len(frames))
    assert np.abs(limit(frames, Limit(Limiter(), RATE, 9), size) - whole).max() <= 1e-6


def test_it_lets_go_as_its_release_says():
    """A steady tone, 12 dB over for a moment: one time constant later 37 % of the reduction is left."""
    frames = tone(-12, 1, RATE)
    frames[8820:11_025] *= 4  # whole periods: a jump would have a higher true peak
    limiter = Limit(Limiter(-1.0, 1.5, 100), RATE, 9)
    gains = limit(frames, limiter)[:, 0] / np.where(np.abs(frames[:, 0]) > 0.02, frames[:, 0] * 10 ** (9 / 20), np.inf)
    later = gains[11_025 + 4410 - 60 : 11_025 + 4410 + 60].max()
    assert limiter.max_reduction_db == pytest.approx(9.04 + 1.3, abs=0.1)
    assert 1 - later == pytest.approx((1 - 10 ** (-limiter.max_reduction_db / 20)) / np.e, rel=0.05)
    assert 0.3 < limiter.at_work < 0.8


def test_the_gain_is_down_before_the_peak_and_all_around_it():
    """It falls within the look-ahead (4 tiles) of the tile before, and stays until the tile after is over."""
    frames = np.full((20_000, 2), 0.05, np.float32)
    at = 5000 // TILE * TILE
    frames[5000] = 2.0
    gains = limit(frames, Limit(Limiter(), RATE))[:, 0] / frames[:, 0]
    assert np.allclose(gains[at - TILE : at + 2 * TILE], gains.min(), rtol=1e-5)
    assert np.all(gains[: at - 6 * TILE] == 1)
    assert np.all(np.diff(gains[: at - TILE]) <= 0)
    assert np.all(np.diff(gains[at + 2 * TILE :]) >= -1e-6)
    assert gains[-1] == pytest.approx(1, abs=0.03)


def test_both_channels_are_lowered_alike():
    frames = steps(1, RATE) * np.float32([1, 0.25])
    out = limit(frames, Limit(Limiter(), RATE, 20))
    heard = np.abs(frames).min(axis=1) > 1e-3
    gains = out[heard] / frames[heard]
    assert np.allclose(gains[:, 0], gains[:, 1], rtol=1e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("frames", [1, 64, 50_000])
def test_silence_stays_silence(frames):
    limiter = Limit(Limiter(), RATE, 30)
    assert np.array_equal(limit(np.zeros((frames, 2), np.float32), limiter), np.zeros((frames, 2)))
    assert limiter.max_reduction_db == 0
