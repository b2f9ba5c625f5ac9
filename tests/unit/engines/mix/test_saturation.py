"""The shape, the alias products, the pass band, the latency."""

import numpy as np
import pytest

from stemd.engines.mix.parameters import Saturation
from stemd.engines.mix.saturation import Saturate
from tests.unit.engines.mix.effects import apart, impulse, music, sine, spectrum_db, through

FACTORS = [1, 2, 4, 8]


@pytest.mark.parametrize("rate", [44_100, 48_000])
@pytest.mark.parametrize("factor, limit", [(4, -100), (8, -110)])
def test_harmonics_do_not_fold_back(factor, limit, rate):
    tone = sine(10_000, -6, 2.0, rate)
    out = through([Saturate(Saturation(12, factor))], tone, 65_536)[rate // 2 : rate // 2 + rate, 0]
    hz, db = spectrum_db(out * np.hanning(len(out)), rate)
    others = db[(np.abs(hz - 10_000) > 5) & (np.abs(hz - 20_000) > 5)]  # 20 kHz would be a true harmonic
    assert others.max() - db[hz == 10_000][0] < limit


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("drive", [0.01, 1.6, 12.0, 24.0])
def test_quiet_sounds_keep_their_level(factor, drive):
    out = through([Saturate(Saturation(drive, factor))], impulse(8192, 4000, 1e-4), 1024)
    hz, db = spectrum_db(out[:, 0] * 1e4)
    assert np.abs(db[hz < 20_000]).max() < 0.01


@pytest.mark.parametrize("factor", FACTORS)
def test_loud_sounds_are_rounded_as_the_formula_says(factor):
    slope = (10**1.2 - 1) ** 0.5
    tone = sine(100, 0)
    out = through([Saturate(Saturation(12, factor))], tone)[2000:-2000]
    assert apart(out, np.tanh(slope * tone[2000:-2000]) / slope) < 2e-5
    assert np.abs(out).max() < 1 / slope


def test_a_small_drive_is_a_small_change():
    track = music(1.0)
    changes = [np.abs(through([Saturate(Saturation(drive, 1))], track) - track).max() for drive in (0.01, 0.1, 1.0)]
    assert changes[0] < 0.001 < changes[1] < changes[2] < 0.1


@pytest.mark.parametrize("factor", FACTORS)
def test_an_impulse_stays_in_its_place(factor):
    effect = Saturate(Saturation(6, factor))
    out = through([effect], impulse(4096, 1234, 0.01))
    assert np.abs(out[:, 0]).argmax() == 1234
    assert apart(out[1234 - 60 : 1234], out[1234 + 60 : 1234 : -1]) < 1e-7
    assert (effect.latency == 0) == (factor == 1)


def test_no_drive_gives_the_block_itself():
    block = music(1.0)
    assert Saturate(Saturation(0, 4)).process(block) is block
    assert Saturate(Saturation(0, 4)).latency == 0
