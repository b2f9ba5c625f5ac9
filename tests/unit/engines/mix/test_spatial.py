"""Width, mono bass and pan, with the sum of both channels intact."""

import numpy as np
import pytest
from scipy.signal import butter, sosfreqz

from stemd.engines.mix.parameters import Spatial
from stemd.engines.mix.spatial import Place
from tests.unit.engines.mix.effects import RATE, RATES, apart, impulse, music, through


def spectra(settings, track, rate=RATE):
    """Of the mid and the side signal that come out."""
    out = through([Place(settings, rate)], track, 1024).astype(np.float64)
    mid, side = (out[:, 0] + out[:, 1]) / 2, (out[:, 0] - out[:, 1]) / 2
    return np.fft.rfftfreq(len(out), 1 / rate), np.fft.rfft(mid), np.fft.rfft(side)


@pytest.mark.parametrize("rate", RATES)
def test_the_side_has_no_bass_and_both_signals_stay_in_phase(rate):
    left = impulse(rate, 0)
    left[0, 1] = 0
    hz, mid, side = spectra(Spatial(mono_below_hz=120), left, rate)
    _, butterworth = sosfreqz(butter(2, 120, "highpass", fs=rate, output="sos"), hz, fs=rate)
    heard = hz > 15
    assert np.abs(mid) == pytest.approx(np.full(len(hz), 0.5), abs=1e-4)
    assert np.abs(side)[heard] == pytest.approx(0.5 * np.abs(butterworth[heard]) ** 2, abs=1e-4)
    assert np.abs(np.angle(side / mid))[heard].max() < 0.02


def test_the_sum_of_both_channels_keeps_its_spectrum():
    track = music()
    before = np.abs(np.fft.rfft(track.sum(axis=1), 1 << 18))
    for width in (0.5, 1.5):
        out = through([Place(Spatial(120, width), RATE)], np.concatenate([track, np.zeros((RATE, 2), np.float32)]))
        assert apart(np.abs(np.fft.rfft(out.sum(axis=1), 1 << 18)), before) < 1e-3 * before.max()


@pytest.mark.parametrize("mono_below_hz", [0, 120])
@pytest.mark.parametrize("width", [0.0, 0.5, 1.0, 2.0])
def test_width_scales_the_side(width, mono_below_hz):
    hz, mid, side = spectra(Spatial(mono_below_hz, width), impulse(RATE, 0) * [1, -0.5])
    treble = hz > 2000
    assert np.abs(mid[treble]) == pytest.approx(0.25, abs=1e-5)
    assert np.abs(side[treble]) == pytest.approx(0.75 * width, abs=1e-4)


@pytest.mark.parametrize("mono_below_hz", [0, 120])
@pytest.mark.parametrize("pan", [-1.0, -0.5, 0.3, 1.0])
def test_the_pan_keeps_the_power(pan, mono_below_hz):
    track = music(1.0)
    centre = through([Place(Spatial(mono_below_hz, 1.1), RATE)], track)
    out = through([Place(Spatial(mono_below_hz, 1.1, pan), RATE)], track)
    left, right = np.sqrt(2) * np.cos((pan + 1) * np.pi / 4), np.sqrt(2) * np.sin((pan + 1) * np.pi / 4)
    assert left**2 + right**2 == pytest.approx(2)
    assert apart(out, centre * [left, right]) < 1e-6
    if abs(pan) == 1:
        assert not out[:, int(pan < 0)].any()


def test_nothing_to_do_gives_the_block_itself():
    block = music(1.0)
    assert Place(Spatial(), RATE).process(block) is block


def test_a_mono_track_has_no_side_to_change():
    track = music(1.0)
    track[:, 1] = track[:, 0]
    assert apart(through([Place(Spatial(width=1.5), RATE)], track), track) < 1e-6
    out = through([Place(Spatial(120, 1.5), RATE)], track)
    assert np.array_equal(out[:, 0], out[:, 1])
