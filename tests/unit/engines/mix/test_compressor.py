"""The static curve, the time constants, what is linked, what is reported."""

import math

import numpy as np
import pytest

from stemd.engines.mix.compressor import Compress, reduction_db
from stemd.engines.mix.parameters import Compressor
from tests.unit.engines.mix.effects import RATE, level_db, music, sine, stereo, through

CURVE = Compressor(threshold_db=-20, ratio=4, knee_db=6, attack_ms=10, release_ms=120, makeup_db=0)


def formula(level, settings):
    """The output level by the definition of the soft knee: three cases."""
    over, knee = level - settings.threshold_db, settings.knee_db
    if 2 * over < -knee:
        return level
    if 2 * abs(over) <= knee:
        return level + (1 / settings.ratio - 1) * (over + knee / 2) ** 2 / (2 * knee)
    return settings.threshold_db + over / settings.ratio


@pytest.mark.parametrize("knee", [0.0, 6.0, 12.0])
@pytest.mark.parametrize("ratio", [1.0, 2.0, 20.0, math.inf])
def test_the_gain_computer(knee, ratio):
    settings = Compressor(threshold_db=-20, ratio=ratio, knee_db=knee)
    levels = np.linspace(-60, 10, 141)
    expected = [formula(level, settings) if knee else min(level, -20 + max(0, level + 20) / ratio) for level in levels]
    assert levels - reduction_db(settings, levels) == pytest.approx(expected)


@pytest.mark.parametrize("hz", [50, 997, 15_000])
@pytest.mark.parametrize("level", [-40, -23, -21, -20, -18, -17, -10, 0])
def test_a_steady_tone_comes_out_as_the_curve_says(hz, level):
    tone = sine(hz, level, 1.0)
    gain = level_db(through([Compress(CURVE, RATE)], tone)[RATE // 2 :]) - level_db(tone[RATE // 2 :])
    assert level + gain == pytest.approx(formula(level, CURVE), abs=0.2)


def times(attack_ms, release_ms, rate, late):
    """Milliseconds to 63 % of the way in and out, of a step that begins ``late`` frames into a hop."""
    settings = Compressor(-20, 4, attack_ms, release_ms, 0, 0)
    on, off = rate // 64 * 64 + late, 3 * rate
    level = np.full(5 * rate, 0.01)
    level[on:off] = 1.0
    gain = 20 * np.log10(through([Compress(settings, rate)], stereo(level))[:, 0] / level)
    full, part = -15.0, 1 - 1 / math.e
    assert gain[off - 1] == pytest.approx(full, abs=0.01)
    into = np.argmax(gain < part * full) - on
    out_of = np.argmax(gain[off:] > (1 - part) * full)
    return 1000 * into / rate, 1000 * out_of / rate


@pytest.mark.parametrize("late", [0, 40])
@pytest.mark.parametrize("attack_ms, release_ms", [(5, 30), (10, 20), (10, 60), (30, 120), (100, 500)])
@pytest.mark.parametrize("rate", [44_100, 96_000])
def test_attack_and_release_take_the_time_they_should(attack_ms, release_ms, rate, late):
    attack, release = times(attack_ms, release_ms, rate, late)
    assert attack == pytest.approx(attack_ms, rel=0.2)
    assert release == pytest.approx(release_ms, rel=0.2)


def test_a_single_sample_is_not_missed():
    track = np.zeros((6400, 2), np.float32)
    track[3333, 1] = 1.0
    effect = Compress(Compressor(-20, 4, 0, 100, 0, 0), RATE)
    effect.process(track)
    assert effect.facts()["max_reduction_db"] == pytest.approx(15)


def test_both_channels_are_lowered_by_the_same_gain():
    loud, quiet = sine(997, 0), sine(500, -40)
    out = through([Compress(CURVE, RATE)], stereo(loud[:, 0], quiet[:, 0]))[RATE // 2 :]
    assert level_db(out[:, 0]) - level_db(loud) == pytest.approx(-15, abs=0.2)
    assert level_db(out[:, 1]) - level_db(quiet) == pytest.approx(-15, abs=0.2)


def test_makeup_comes_on_top_and_is_no_reduction():
    effect = Compress(Compressor(makeup_db=6), RATE)
    tone = sine(997, -40)
    assert np.array_equal(through([effect], tone), tone * np.float32(10 ** (6 / 20)))
    assert effect.facts() == {"max_reduction_db": 0, "mean_reduction_db": 0}


def test_the_report_leaves_pauses_out():
    effect = Compress(CURVE, RATE)
    through([effect], np.concatenate([sine(997, 0, 4.0), np.zeros((4 * RATE, 2), np.float32)]))
    assert effect.facts()["max_reduction_db"] == pytest.approx(15, abs=0.05)
    assert effect.facts()["mean_reduction_db"] == pytest.approx(15, abs=0.2)


def test_below_the_threshold_it_gives_the_block_itself():
    block = 0.01 * music(1.0)[:44_032]
    effect = Compress(CURVE, RATE)
    assert effect.process(block) is block
    assert Compress(Compressor(ratio=1), RATE).process(block) is block


def test_it_comes_back_to_that_after_something_loud():
    effect = Compress(CURVE, RATE)
    assert effect.process(music(1.0)[:44_032]).shape == (44_032, 2)
    block = np.zeros((65_536, 2), np.float32)
    assert effect.process(block) is not block
    for _ in range(3):
        last = effect.process(block)
    assert last is block
