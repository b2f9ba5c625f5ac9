"""Bands do what the formulas of the cookbook say, at every rate."""

import numpy as np
import pytest

from stemd.engines.mix.equaliser import Cascade, Equaliser, response_db, sections
from stemd.engines.mix.gain import Gain
from stemd.engines.mix.parameters import Filter
from tests.unit.engines.mix.effects import RATE, RATES, apart, impulse, music, spectrum_db, through

BANDS = [
    Filter("peak", 1000, 6, 1.4),
    Filter("peak", 300, -9, 4),
    Filter("low_shelf", 120, 4),
    Filter("high_shelf", 3000, -5, 0.9),
    Filter("low_cut", 60),
    Filter("high_cut", 3500, q=0.9),
]


def analogue_db(band, hz, rate):
    """The cookbook's analogue prototypes at the frequency that the bilinear transform puts in the place of ``hz``."""
    s = 1j * np.tan(np.pi * hz / rate) / np.tan(np.pi * band.hz / rate)
    a, q = 10 ** (band.db / 40), band.q
    prototypes = {
        "peak": lambda: (s**2 + s * a / q + 1) / (s**2 + s / (a * q) + 1),
        "low_shelf": lambda: a * (s**2 + s * a**0.5 / q + a) / (a * s**2 + s * a**0.5 / q + 1),
        "high_shelf": lambda: a * (a * s**2 + s * a**0.5 / q + 1) / (s**2 + s * a**0.5 / q + a),
        "low_cut": lambda: s**2 / (s**2 + s / q + 1),
        "high_cut": lambda: 1 / (s**2 + s / q + 1),
    }
    return 20 * np.log10(np.abs(prototypes[band.kind]()))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("band", BANDS, ids=lambda band: f"{band.kind} {band.hz:g}")
def test_the_response_is_that_of_the_formula(band, rate):
    hz = np.geomspace(10, 0.45 * rate, 200)
    assert response_db([band], hz, rate) == pytest.approx(analogue_db(band, hz, rate), abs=1e-4)


def test_landmarks():
    assert response_db([Filter("peak", 1000, 6, 2)], [1000, 1e-3], RATE) == pytest.approx([6, 0], abs=1e-6)
    assert response_db([Filter("low_shelf", 200, 4)], [1e-3, 200, 20_000], RATE) == pytest.approx([4, 2, 0], abs=1e-3)
    assert response_db([Filter("high_shelf", 200, 4)], [1e-3, 200, 20_000], RATE) == pytest.approx([0, 2, 4], abs=1e-3)
    assert response_db([Filter("low_cut", 100)], [0, 100], RATE) == pytest.approx([-200, -3.0103], abs=1e-3)


@pytest.mark.parametrize("rate", RATES)
def test_the_sound_has_the_response_of_all_bands_together(rate):
    frames = rate  # the response of a 60 Hz filter has died away long before a second is over
    out = through([Equaliser(BANDS, rate)], impulse(frames, 0), 1024)
    hz, db = spectrum_db(out[:, 1], rate)
    heard = (hz > 20) & (hz < 0.45 * rate)
    expected = response_db(BANDS, hz[heard], rate)
    assert apart(expected, sum(response_db([band], hz[heard], rate) for band in BANDS)) < 1e-6
    loud = expected > -50
    assert apart(db[heard][loud], expected[loud]) < 0.01


def test_frequencies_beyond_the_rate_are_clamped():
    for kind in ("peak", "low_shelf", "high_shelf", "low_cut", "high_cut"):
        sos = sections([Filter(kind, 11_000, 6)], 8_000)
        assert np.abs(np.roots(sos[0, 3:])).max() < 1


def test_a_filter_comes_to_rest():
    cascade, silence = Cascade(sections([Filter("low_cut", 300)], RATE)), np.zeros(4096)
    cascade.filtered(np.ones(4096))
    for _ in range(20):  # what is not flushed to 0 stays a denormal number for ever, at a hundred times the cost
        last = cascade.filtered(silence)
    assert not last.any()


def test_channels_are_separate():
    track = music(1.0)
    swapped = through([Equaliser(BANDS, RATE)], track[:, ::-1].copy())
    assert np.array_equal(through([Equaliser(BANDS, RATE)], track), swapped[:, ::-1])


def test_a_gain_comes_on_top():
    track = music(1.0)
    in_turn = through([Gain(-3), Equaliser(BANDS, RATE)], track)
    assert apart(through([Equaliser(BANDS, RATE, -3)], track), in_turn) < 1e-6
    assert np.array_equal(through([Equaliser([], RATE, -3)], track), track * np.float32(10 ** (-3 / 20)))


def test_what_does_nothing_gives_the_block_itself():
    block = music(1.0)
    neutral = [Filter("peak", 1000, 0), Filter("low_shelf", 100), Filter("high_shelf", 5000)]
    for effect in (Equaliser([], RATE), Equaliser(neutral, RATE), Gain(0)):
        assert effect.process(block) is block
