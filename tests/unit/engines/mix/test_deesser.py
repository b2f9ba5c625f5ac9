"""Sibilants are lowered, whatever their level; everything else comes out as it went in."""

import numpy as np
import pytest
from scipy.signal import butter, sosfilt

from stemd.engines.mix.deesser import DeEss
from stemd.engines.mix.parameters import DeEsser
from tests.unit.engines.mix.effects import RATE, level_db, music, sine, spectrum_db, stereo, through

VOWEL, HISS = slice(0, RATE), slice(RATE * 11 // 10, RATE * 19 // 10)


def voice(level=1.0):
    """A second of vowel (a 110 Hz tone with overtones up to 3 kHz), a second of hiss between 7 and 10 kHz."""
    t = np.arange(RATE) / RATE
    vowel = sum(0.2 / n * np.sin(2 * np.pi * 110 * n * t + n) for n in range(1, 28))
    noise = np.random.default_rng(4).standard_normal(RATE)
    hiss = sosfilt(butter(4, [7000, 10_000], "bandpass", fs=RATE, output="sos"), noise) * 0.3
    return stereo(level * np.concatenate([vowel, hiss]))


@pytest.mark.parametrize("level", [1.0, 0.03])
@pytest.mark.parametrize("most", [3.0, 6.0, 12.0])
def test_hiss_is_lowered_by_the_most_and_a_vowel_is_left_alone(level, most):
    track, effect = voice(level), DeEss(DeEsser(max_db=most), RATE)
    out = through([effect], track, 1024)
    assert level_db(out[HISS]) - level_db(track[HISS]) == pytest.approx(-most, abs=0.1)
    assert np.array_equal(out[: RATE - 1024], track[: RATE - 1024])
    assert effect.facts()["max_reduction_db"] == pytest.approx(most, abs=1e-3)
    assert effect.facts()["mean_reduction_db"] == pytest.approx(most / 2, rel=0.1)


def test_the_reduction_is_what_the_band_is_above_the_rest():
    track = sine(1000, -20, 2.0) + sine(9000, -23, 2.0)
    effect = DeEss(DeEsser(threshold_db=-6, max_db=10), RATE)
    out = through([effect], track)[RATE:]
    hz, before = spectrum_db(track[RATE:, 0])
    _, after = spectrum_db(out[:, 0])
    assert (after - before)[hz == 1000] == pytest.approx(0, abs=0.001)
    assert (after - before)[hz == 9000] == pytest.approx(-3, abs=0.1)


def test_hiss_in_pauses_is_left_alone():
    track = voice(0.0005)
    assert np.array_equal(through([DeEss(DeEsser(), RATE)], track), track)


def test_what_is_below_the_band_stays_while_the_band_is_lowered():
    track = sine(3500, -50, 2.0) + sine(9000, -10, 2.0)
    out = through([DeEss(DeEsser(), RATE)], track)[RATE:]
    hz, before = spectrum_db(track[RATE:, 0])
    _, after = spectrum_db(out[:, 0])
    assert (after - before)[hz == 3500] == pytest.approx(0, abs=0.05)
    assert (after - before)[hz == 9000] == pytest.approx(-6, abs=0.05)


def test_nothing_to_do_is_identity():
    track = music()
    assert np.array_equal(through([DeEss(DeEsser(max_db=0), RATE)], track, 1024), track)
    assert np.array_equal(through([DeEss(DeEsser(threshold_db=60), RATE)], track, 1024), track)
