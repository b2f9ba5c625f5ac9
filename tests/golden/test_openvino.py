"""With OpenVINO: the reference's stems, and a resumed track bit for bit."""

from __future__ import annotations

import pytest

from stemd.engines.base import CancelledError
from stemd.engines.demucs_engine import DemucsEngine
from stemd.engines.exported.runtime import installed
from tests.golden.conftest import noise, reference
from tests.golden.test_demucs_reference import assert_equal

pytestmark = [
    pytest.mark.golden,
    pytest.mark.skipif(installed() is None, reason="the package openvino is not installed"),
]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("tuning")


@pytest.fixture
def exported(store, kept):
    """Loads a model of the store that OpenVINO then computes."""

    def load(name: str):
        engine = DemucsEngine()
        info = engine.load(name, store, "cpu")
        engine.prefer_runtime("openvino")
        assert engine.tune("auto", kept)["openvino"] == "used"
        return engine, info

    return load


def test_a_bag_equals_the_reference(exported, store, run):
    mix = noise(12_345)
    result, found = run(exported("ft"), mix, options={"batch": 2})
    assert_equal(found, reference(store, "ft", mix))
    assert result.settings["runtime"] == "openvino" and result.settings["precision"] == "float32"
    assert not result.warnings


def test_a_resumed_track_is_bit_identical_and_chunks_of_torch_are_not_used(exported, store, separated):
    whole = separated("whole", exported("ht"))
    with pytest.raises(CancelledError):
        separated("broken", exported("ht"), stop=0.6)
    resumed = separated("broken", exported("ht"))
    assert resumed[0].chunks["reused"] > 0 and resumed[1] == whole[1]
    plain = DemucsEngine()
    other = separated("broken", (plain, plain.load("ht", store, "cpu")))
    assert other[0].chunks["reused"] == 0 and "changed since: facts" in other[0].warnings[-1]
