"""Every effect and the whole chain: any block size, silence, latency, rates; and what is left out or merged."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from stemd.engines.mix.chain import facts, track_chain
from stemd.engines.mix.compressor import Compress
from stemd.engines.mix.deesser import DeEss
from stemd.engines.mix.equaliser import Equaliser
from stemd.engines.mix.gain import Gain
from stemd.engines.mix.parameters import Compressor, DeEsser, Filter, Saturation, Spatial, Track, Transients
from stemd.engines.mix.saturation import Saturate
from stemd.engines.mix.spatial import Place
from stemd.engines.mix.transients import ShapeTransients
from tests.unit.engines.mix.effects import RATE, RATES, apart, impulse, music, through

TONAL = (Filter("peak", 1000, 2), Filter("high_shelf", 8000, 2))
EQ = (Filter("low_cut", 40), Filter("peak", 300, -3, 1.2))
AIR = Filter("high_shelf", 11_000, 2)

PARTS = {
    "auto_gain_db": 2.0,
    "transients": Transients(4, -2),
    "tonal": TONAL,
    "spatial": Spatial(120, 1.2, 0.1),
    "eq": EQ,
    "comp": Compressor(-24, 3, 8, 90, 6, 2),
    "saturation": Saturation(3, 4),
    "gain_db": -1.5,
    "deess": DeEsser(),
    "air": AIR,
}
TRACKS = {name: Track(**{name: value}) for name, value in PARTS.items()} | {"all": Track(**PARTS)}


@pytest.mark.parametrize("name", TRACKS)
def test_the_size_of_the_blocks_does_not_matter(name):
    track = music()
    whole = through(track_chain(TRACKS[name], RATE), track)
    assert whole.dtype == np.float32
    assert not np.array_equal(whole, track)
    for size in (1024, 65_536):
        assert apart(through(track_chain(TRACKS[name], RATE), track, size), whole) <= 1e-6


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("name", TRACKS)
def test_silence_stays_silent_and_comes_back(name, rate):
    chain = track_chain(TRACKS[name], rate)
    silence = np.zeros((4 * rate, 2), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not through(chain, silence, 4096).any()
        through(chain, music(1.0, rate), 4096)
        assert not through(chain, silence, 4096)[-4096:].any()


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("name", TRACKS)
def test_an_impulse_comes_out_in_its_place_at_every_rate(name, rate):
    track = impulse(20_000, 12_345, 0.01)
    out = through(track_chain(TRACKS[name], rate), track, 1024)
    assert out.shape == track.shape
    assert np.isfinite(out).all()
    assert np.abs(out[:, 0]).argmax() == 12_345


def test_what_is_given_is_not_written_to():
    track = music(1.0)
    kept = track.copy()
    through(track_chain(TRACKS["all"], RATE), track, 4096)
    assert np.array_equal(track, kept)


NOTHING = Track(
    lag_ms=0.1,
    transients=Transients(),
    tonal=(Filter("peak", 500),),
    spatial=Spatial(),
    comp=Compressor(ratio=1),
    saturation=Saturation(),
    deess=DeEsser(max_db=0),
    air=Filter("high_shelf", 9000),
)


def test_what_would_do_nothing_is_left_out():
    assert track_chain(Track(), RATE) == []
    assert track_chain(NOTHING, RATE) == []
    assert track_chain(Track(deess=DeEsser(hz=6000)), 8_000) == []


@pytest.mark.parametrize(
    "track, kinds",
    [
        (
            TRACKS["all"],
            [Gain, ShapeTransients, Equaliser, Place, Compress, Saturate, Gain, DeEss, Equaliser],
        ),
        (replace(TRACKS["all"], transients=None, deess=None), [Equaliser, Place, Compress, Saturate, Equaliser]),
        (Track(auto_gain_db=2, gain_db=3), [Gain]),
        (Track(auto_gain_db=2, gain_db=-2), []),
        (Track(auto_gain_db=2, comp=Compressor(ratio=1, makeup_db=2), air=AIR), [Equaliser]),
        (Track(eq=EQ, gain_db=3, air=AIR), [Equaliser]),
    ],
)
def test_linear_stages_in_a_row_are_one(track, kinds):
    assert [type(effect) for effect in track_chain(track, RATE)] == kinds


def test_the_merged_chain_sounds_like_its_parts_in_order():
    track = music()
    parts = [
        Gain(2.0),
        ShapeTransients(PARTS["transients"], RATE),
        Equaliser(TONAL, RATE),
        Place(PARTS["spatial"], RATE),
        Equaliser(EQ, RATE),
        Compress(PARTS["comp"], RATE),
        Saturate(PARTS["saturation"]),
        Gain(-1.5),
        DeEss(PARTS["deess"], RATE),
        Equaliser([AIR], RATE),
    ]
    assert apart(through(track_chain(TRACKS["all"], RATE), track), through(parts, track)) < 2e-6


def test_linear_effects_sound_like_their_parts_in_order():
    track, linear = music(), replace(TRACKS["all"], transients=None, comp=None, saturation=None, deess=None)
    place = Place(PARTS["spatial"], RATE)
    parts = [Gain(2.0), Equaliser(TONAL, RATE), place, Equaliser(EQ, RATE), Gain(-1.5), Equaliser([AIR], RATE)]
    assert apart(through(track_chain(linear, RATE), track), through(parts, track)) < 2e-6


def test_the_dynamic_effects_say_what_they_did():
    chain = track_chain(TRACKS["all"], RATE)
    assert facts(chain)["comp"]["max_reduction_db"] == 0
    through(chain, music())
    told = facts(chain)
    assert set(told) == {"comp", "deess"}
    for measures in told.values():
        assert 0 < measures["mean_reduction_db"] < measures["max_reduction_db"] < 40
    assert facts(track_chain(Track(gain_db=1), RATE)) == {}
