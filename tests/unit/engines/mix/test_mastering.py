"""The loudness asked for comes out, read by ffmpeg and pyloudnorm, in at most four passes."""

from __future__ import annotations

import numpy as np
import pyloudnorm
import pytest

from stemd.engines.mix.compressor import Compress
from stemd.engines.mix.equaliser import Equaliser
from stemd.engines.mix.mastering import MOST_PASSES, Solution, limited, master_chain, solve
from stemd.engines.mix.meter import ProgramMeter
from stemd.engines.mix.parameters import Compressor, Filter, Limiter, Loudness, Master
from stemd.engines.mix.processor import run
from stemd.engines.mix.spatial import Place
from tests.unit.engines.mix import ebur128
from tests.unit.engines.mix.signals import blocks, noise, song, steps, tone

RATE = 44_100


class Track:
    """A stream that counts how often it is read."""

    def __init__(self, frames: np.ndarray, size: int = 65_536) -> None:
        self.frames, self.size, self.passes = frames, size, 0

    def __call__(self):
        self.passes += 1
        return blocks(self.frames, self.size)

    def unlimited(self, gain_db: float) -> float | None:
        meter = ProgramMeter(RATE)
        meter.add(self.frames)
        return meter.integrated(gain_db)


def final(track: Track, solution: Solution, master: Master) -> np.ndarray:
    return np.concatenate(list(limited(track, solution.gain_db, master, RATE)[1]))


def heard(frames: np.ndarray) -> float | None:
    meter = ProgramMeter(RATE)
    meter.add(frames)
    return meter.integrated()


def to(target: float, limiter: Limiter | None = Limiter()) -> Master:  # noqa: B008 frozen
    return Master(loudness=Loudness(target), limiter=limiter)


@ebur128.needs_ffmpeg
@pytest.mark.parametrize("target", [-23.0, -16.0, -14.0, -9.0])
@pytest.mark.parametrize("signal", [song, noise])
def test_both_readers_find_the_target(tmp_path, signal, target):
    track = Track(signal(12, RATE))
    solution = solve(track, to(target), RATE, unlimited=track.unlimited)
    assert solution.reached
    assert solution.passes == track.passes <= MOST_PASSES
    out = final(track, solution, to(target))
    reading = ebur128.read(tmp_path, out, RATE)
    assert reading.integrated == pytest.approx(target, abs=0.2)
    assert reading.peak <= -1.0
    assert pyloudnorm.Meter(RATE).integrated_loudness(out.astype(np.float64)) == pytest.approx(target, abs=0.2)
    assert solution.measured_lufs == pytest.approx(target, abs=0.1)


def test_without_a_first_measurement_a_pass_makes_it():
    track, seen = Track(song(8, RATE)), []
    solution = solve(track, to(-12.0), RATE, seen.append)
    assert solution.reached
    assert track.passes == solution.passes == len(solution.history) + 1 <= MOST_PASSES
    assert sum(seen) == solution.passes * len(track.frames)


def test_far_into_the_limiter():
    """Here 2 dB more gain are worth 0.3 LU: neither the first slope nor a constant one gets there in time."""
    track = Track(song(12, RATE))
    assert solve(track, to(-7.0), RATE, unlimited=track.unlimited).reached


def test_thirty_seconds_with_pauses():
    track = Track(steps(30, RATE))
    assert solve(track, to(-14.0), RATE, unlimited=track.unlimited).reached


def test_without_a_limiter_nothing_is_searched_for():
    track = Track(song(4, RATE))
    solution = solve(track, to(-9.0, None), RATE, unlimited=track.unlimited)
    assert (track.passes, solution.reached) == (0, True)
    assert heard(final(track, solution, to(-9.0, None))) == pytest.approx(-9.0, abs=0.001)


def test_what_the_gain_lifts_over_the_gate_counts():
    """A part at −64 LUFS and one at −72, which has no say in the first of the two figures."""
    track = Track(np.concatenate([tone(-64, 4, RATE), tone(-72, 4, RATE)]))
    solution = solve(track, to(-42.0, None), RATE)
    assert heard(final(track, solution, to(-42.0, None))) == pytest.approx(-42.0, abs=0.01)


def test_without_a_target_the_level_stays():
    track = Track(song(4, RATE))
    solution = solve(track, Master(limiter=Limiter()), RATE)
    assert solution == Solution(0.0, None, True, 0), "nothing to look for"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("limiter", [None, Limiter()])
@pytest.mark.parametrize("target", [Loudness(-14.0), None])
@pytest.mark.parametrize("frames", [np.zeros((0, 2)), np.zeros((RATE * 2, 2)), noise(0.3, RATE)])
def test_what_has_no_loudness_keeps_its_level(frames, target, limiter):
    track, master = Track(frames.astype(np.float32)), Master(loudness=target, limiter=limiter)
    solution = solve(track, master, RATE)
    assert (solution.gain_db, solution.measured_lufs, solution.reached) == (0, None, target is None)
    assert sum(map(len, limited(track, solution.gain_db, master, RATE)[1])) == len(frames)


def test_a_stream_shorter_than_a_second():
    track = Track(noise(0.7, RATE))
    assert solve(track, to(-14.0), RATE, unlimited=track.unlimited).reached


def test_more_than_thirty_decibels_are_not_given():
    track = Track(tone(-60, 3, RATE))
    solution = solve(track, to(-14.0), RATE, unlimited=track.unlimited)
    assert (solution.gain_db, solution.reached, solution.passes) == (30, False, 1)
    assert solve(track, to(-14.0, None), RATE).gain_db == 30


def test_what_the_limiter_eats_is_said_and_not_driven_for_nothing():
    """Lone pulses over a faint noise: whatever the gain, the limiter brings them back, and the noise is no louder."""
    frames = noise(5, RATE) * np.float32(1e-4)
    frames[5000::10_000] = 1.0
    solution = solve(Track(frames), to(-9.0), RATE)
    assert not solution.reached
    assert solution.passes <= MOST_PASSES
    assert solution.gain_db == min(trial.gain_db for trial in solution.history)


def test_mono_stays_mono():
    track = Track(tone(-20, 3, RATE) + np.tile(noise(3, RATE)[:, :1], 2))
    out = final(track, solve(track, to(-9.0), RATE), to(-9.0))
    assert np.array_equal(out[:, 0], out[:, 1])


def test_block_size_does_not_matter():
    frames = song(4, RATE)
    gains = [solve(Track(frames, size), to(-10.0), RATE).gain_db for size in (1024, 65_536, len(frames))]
    assert gains == pytest.approx([gains[0]] * 3, abs=1e-5)


def test_the_chain_is_bands_then_compressor_then_width():
    master = Master((Filter("peak", 100, 2),), Compressor(-20, 2), width=1.2)
    chain = master_chain(master, RATE)
    assert [type(effect) for effect in chain] == [Equaliser, Compress, Place]
    assert master_chain(Master(loudness=Loudness(), limiter=Limiter()), RATE) == []
    frames = song(1, RATE)
    assert sum(map(len, run(chain, blocks(frames)))) == len(frames)
