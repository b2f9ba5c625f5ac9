"""The sample song is the same everywhere, and its score says what it should."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from stemd.engines.sample.score import score, si_sdr
from stemd.engines.sample.song import LENGTH, STEMS, compose, write


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    folder = tmp_path_factory.mktemp("song")
    return write(folder)


def test_song_is_the_sum_of_its_stems(song):
    mix, rate = soundfile.read(song)
    stems = [soundfile.read(song.parent / "truth" / f"{stem}.wav")[0] for stem in STEMS]
    assert rate == 44_100 and mix.shape == (LENGTH * rate, 2)
    assert np.abs(mix - sum(stems)).max() < 1e-6
    assert 0.5 < np.abs(mix).max() < 1


def test_song_is_always_the_same():
    first, second = compose(), compose()
    assert all(np.array_equal(first[stem], second[stem]) for stem in STEMS)


def test_score(song):
    truth = song.parent / "truth"
    perfect = score(truth, truth)
    assert set(perfect) == set(STEMS)
    for facts in perfect.values():
        assert facts["si_sdr"] > 100 and facts["si_sdr_mixture"] < 0
        assert -30 < facts["lufs"] < -10 and facts["frames"] == LENGTH * 44_100


def test_si_sdr_does_not_depend_on_level():
    random = np.random.default_rng(0)
    truth, noise = random.standard_normal((2, 44_100, 2))
    assert si_sdr(0.3 * (truth + 0.1 * noise), truth) == pytest.approx(20, abs=0.2)


def test_command(tmp_path, song):
    run = [sys.executable, "-m", "stemd.engines.sample", "score", song.parent / "truth", song.parent / "truth"]
    assert set(json.loads(subprocess.run(run, capture_output=True, check=True).stdout)) == set(STEMS)
