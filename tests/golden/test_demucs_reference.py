"""stemd's Demucs gives what ``demucs.api.Separator`` gives on the whole track."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from demucs.apply import apply_model
from demucs.hf import load_safetensors_model

from stemd.engines import models
from stemd.engines.sample.song import compose
from tests.golden.conftest import RATE, noise, reference

pytestmark = pytest.mark.golden

MODELS = ("ht", "hd", "v2", "ft", "mixed", "shorter")
#: Shorter than a segment, exactly one, a frame beyond a stride, odd, several segments.
LENGTHS = (777, 4000, 3001, 12_345, 30_001)
TOLERANCE = 1e-5


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert set(found) == set(expected)
    for stem, values in expected.items():
        scale = max(1.0, float(np.abs(values).max()))
        assert np.abs(values).max() > 1e-3, f"{stem} is near silence: the test would prove nothing"
        assert found[stem].shape == values.shape
        assert np.abs(found[stem] - values).max() <= TOLERANCE * scale, stem


@pytest.mark.parametrize("frames", LENGTHS)
@pytest.mark.parametrize("name", MODELS)
def test_equals_the_reference(name, frames, store, engine_of, run):
    mix = noise(frames)
    _, found = run(engine_of(name), mix)
    assert_equal(found, reference(store, name, mix))


@pytest.mark.parametrize("overlap", [0.0, 0.1, 0.6])
@pytest.mark.parametrize("name", ["ht", "mixed"])
def test_overlap(name, overlap, store, engine_of, run):
    mix = noise(15_000, seed=1)
    _, found = run(engine_of(name), mix, options={"overlap": overlap})
    assert_equal(found, reference(store, name, mix, overlap=overlap))


@pytest.mark.parametrize("name", ["ht", "hd", "v2", "mixed"])
def test_segment(name, store, engine_of, run):
    mix = noise(11_111, seed=2)
    _, found = run(engine_of(name), mix, options={"segment": 0.375})
    assert_equal(found, reference(store, name, mix, segment=0.375))


@pytest.mark.parametrize("name", ["ht", "hd", "mixed"])
def test_shifts_with_the_same_offsets(name, store, engine_of, run, monkeypatch):
    mix = noise(13_001, seed=3)
    _, found = run(engine_of(name), mix, options={"shifts": 3, "seed": 11})
    # networks draw from the global generator too, so the reference gets one of its own for its offsets
    monkeypatch.setattr("demucs.apply.random", random.Random(11))
    assert_equal(found, reference(store, name, mix, shifts=3))


def test_batches_of_segments_give_the_same(store, engine_of, run):
    mix = noise(30_001, seed=4)
    _, found = run(engine_of("mixed"), mix, options={"batch": 3})
    assert_equal(found, reference(store, "mixed", mix))


def test_one_stem_runs_only_the_member_it_needs(engine_of, run):
    loaded = engine_of("ft")
    lanes = loaded[0].lanes({}, ["vocals"])
    assert [lane.member for lane in lanes] == [3]
    mix = noise(9_000, seed=5)
    _, every = run(loaded, mix)
    _, one = run(loaded, mix, stems=("vocals",))
    assert np.array_equal(one["vocals"], every["vocals"])


def test_one_frame(engine_of, run):
    """The reference gives NaN here: the deviation of one frame is not defined."""
    for name in MODELS:
        result, found = run(engine_of(name), noise(1))
        assert all(np.isfinite(values).all() and values.shape == (1, 2) for values in found.values())
        assert result.source.frames == 1


def test_nano_on_the_sample_song(engine_of, run):
    stems = compose()
    mix = sum(stems.values()).astype(np.float32)[: 12 * 44_100]
    result, found = run(engine_of("nano"), mix, 44_100)
    network = load_safetensors_model(models.find("nano", Path("/nonexistent")) / "nano.safetensors").float().eval()
    wav = torch.from_numpy(mix.T.copy())
    mean, deviation = wav.mean(0).mean(), wav.mean(0).std() + 1e-8
    expected = apply_model(network, ((wav - mean) / deviation)[None], shifts=0)[0] * deviation + mean
    assert_equal(found, {stem: expected[i].numpy().T for i, stem in enumerate(network.sources)})
    assert result.gain_db == 0


def test_silence_gives_silence(engine_of, run):
    for name in ("ht", "mixed"):
        result, found = run(engine_of(name), np.zeros((9_001, 2), np.float32))
        assert all(not values.any() and len(values) == 9_001 for values in found.values())
        assert all(each.lufs is None and each.peak == 0 for each in result.files)


def test_a_constant_offset_stays_finite(engine_of, run):
    _, found = run(engine_of("mixed"), np.full((9_001, 2), 0.25, np.float32))
    assert all(np.isfinite(values).all() for values in found.values())


def test_mono_gives_mono(store, engine_of, run):
    mono = noise(9_001, 1, seed=6)
    result, found = run(engine_of("hd"), mono)
    expected = reference(store, "hd", np.repeat(mono, 2, axis=1))
    assert_equal(found, {stem: values.mean(axis=1, keepdims=True) for stem, values in expected.items()})
    assert result.source.channels == 1


@pytest.mark.parametrize("rate", [11_025, 16_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("frames", [1, 1000, 20_011])
def test_other_rates_are_frame_exact(rate, frames, engine_of, run):
    mix = noise(frames)
    result, found = run(engine_of("hd"), mix, rate, stems=("vocals", "no_vocals"))
    assert {each.frames for each in result.files} == {frames}
    assert {each.sample_rate for each in result.files} == {rate}
    assert np.abs(found["vocals"] + found["no_vocals"] - mix).max() < 1e-6
    assert rate != RATE
