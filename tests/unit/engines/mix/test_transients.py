"""Onsets and tails are told apart, at any level."""

import numpy as np
import pytest

from stemd.engines.mix.parameters import Transients
from stemd.engines.mix.transients import ShapeTransients
from tests.unit.engines.mix.effects import RATE, level_db, music, sine, stereo, through


def hits(level=0.5):
    """Four bursts of noise, half a second apart, that ring for a while over a steady −40 dB."""
    t = np.arange(2 * RATE) / RATE
    noise = np.random.default_rng(3).standard_normal(len(t)) / 4
    return stereo(level * (noise * np.exp(-(t % 0.5) / 0.1) + 0.01 * np.sin(2 * np.pi * 997 * t)))


def parts(track):
    """The last hit's first 8 ms, and from 150 ms to 300 ms after it."""
    at = round(1.5 * RATE)
    return level_db(track[at : at + RATE // 125]), level_db(track[at + RATE * 3 // 20 : at + RATE * 3 // 10])


@pytest.mark.parametrize("level", [0.5, 0.05])
@pytest.mark.parametrize("attack, sustain", [(6, 0), (-6, 0), (0, 6), (0, -6), (4, -4)])
def test_onsets_and_tails_change_by_what_is_asked_for(attack, sustain, level):
    track = hits(level)
    before, after = parts(track), parts(through([ShapeTransients(Transients(attack, sustain), RATE)], track))
    assert after[0] - before[0] == pytest.approx(attack, abs=1.5)
    assert after[1] - before[1] == pytest.approx(sustain, abs=1.5)


@pytest.mark.parametrize("hz", [50, 997])
def test_a_steady_tone_stays(hz):
    tone = sine(hz, -6, 2.0)
    out = through([ShapeTransients(Transients(6, 6), RATE)], tone)[RATE:]
    assert np.abs(out - tone[RATE:]).max() < 0.005


def test_never_more_than_asked_for():
    track = music()
    out = through([ShapeTransients(Transients(6, 3), RATE)], track)
    assert (np.abs(out) <= np.abs(track) * 10 ** (6 / 20) + 1e-6).all()


def test_nothing_to_do_gives_the_block_itself():
    block = music(1.0)
    assert ShapeTransients(Transients(), RATE).process(block) is block
