"""Whatever way to compute a machine chooses: the reference's stems, and a resumed track bit for bit."""

from __future__ import annotations

import math

import pytest

from stemd.engines.base import CancelledError
from stemd.engines.demucs_engine import DemucsEngine
from stemd.engines.tuning import demucs_tuner
from stemd.engines.tuning.trials import Trial
from stemd.engines.tuning.ways import Way
from tests.golden.conftest import noise, reference
from tests.golden.test_demucs_reference import assert_equal

pytestmark = pytest.mark.golden


@pytest.fixture
def tuned(store, monkeypatch):
    """Loads a model of the store that then computes in the given way."""

    def load(name: str, way: Way):
        engine = DemucsEngine()
        info = engine.load(name, store, "cpu")
        chosen = Trial(way.to_dict(), 0.5, -124.0)
        monkeypatch.setattr(demucs_tuner, "tried", lambda *_: [Trial(Way().to_dict(), 1.0, -math.inf), chosen])
        assert engine.tune("auto", None)["way"] == way.to_dict()
        return engine, info

    return load


@pytest.mark.parametrize("way", [Way(attention="sdpa"), Way("medium"), Way("medium", "sdpa")], ids=str)
def test_equals_the_reference(way, tuned, store, run):
    mix = noise(12_345)
    _, found = run(tuned("mixed", way), mix)
    assert_equal(found, reference(store, "mixed", mix))


def test_a_resumed_track_is_bit_identical_and_chunks_of_another_way_are_not_used(tuned, separated):
    fast, reduced = tuned("ht", Way("medium", "sdpa")), tuned("ht", Way("medium", "sdpa", "bf16"))
    whole = separated("whole", fast)
    with pytest.raises(CancelledError):
        separated("broken", fast, stop=0.6)
    resumed = separated("broken", fast)
    assert resumed[0].chunks["reused"] > 0 and resumed[1] == whole[1]
    other = separated("broken", reduced)
    assert other[0].chunks["reused"] == 0 and "changed since: facts" in other[0].warnings[-1]
    assert other[0].settings["precision"] == "bfloat16" and "bf16" in other[0].warnings[0]
