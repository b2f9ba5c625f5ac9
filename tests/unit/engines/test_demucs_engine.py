"""What the Demucs engine accepts, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from stemd.core.errors import StemdError
from stemd.engines.base import Engine, TrackStats, create
from stemd.engines.demucs_engine import DemucsEngine, _device
from stemd.engines.demucs_options import DemucsOptions, parse_options


@pytest.fixture(scope="module")
def nano() -> DemucsEngine:
    engine = DemucsEngine()
    engine.load("nano", Path("/nonexistent"), "cpu")
    return engine


def failing(code: str):
    return pytest.raises(StemdError, match=code)


def test_is_an_engine_found_by_name(nano):
    assert isinstance(create("demucs"), DemucsEngine) and isinstance(nano, Engine)
    with failing("STEMD-E001"):
        create("nosuch")


def test_model_info():
    info = DemucsEngine().load("nano", Path("/nonexistent"), "auto")
    assert info.stems == ("drums", "bass", "other", "vocals") and info.sample_rate == 44_100
    assert info.sha256.startswith("8036bb04") and info.max_segment is None


def test_options_in_force_are_facts(nano):
    nano.lanes({"overlap": 0.1, "shifts": 2}, ["vocals"])
    facts = nano.facts()
    assert (facts["overlap"], facts["shifts"], facts["device"], facts["precision"]) == (0.1, 2, "cpu", "float32")
    json.dumps(dict(facts))


def test_lanes(nano):
    (lane,) = nano.lanes({}, ["vocals"])
    assert (lane.segment, lane.stride, lane.lead) == (202_859, 152_144, 0) and lane.weights == {"vocals": 1.0}
    leads = [each.lead for each in nano.lanes({"shifts": 3}, ["bass"])]
    assert leads == [each.lead for each in nano.lanes({"shifts": 3}, ["vocals"])] and len(set(leads)) == 3
    assert leads != [each.lead for each in nano.lanes({"shifts": 3, "seed": 1}, ["bass"])]


@pytest.mark.parametrize(
    "options",
    [
        {"overlap": 1}, {"overlap": -0.1}, {"overlap": "much"}, {"overlap": True}, {"shifts": 1.5}, {"shifts": -1},
        {"segment": 0}, {"segment": 9}, {"batch": 0}, {"seed": None}, {"overlaps": 0.2}, {"overlap": float("nan")},
    ],
)  # fmt: skip
def test_options_out_of_range(options):
    with failing("STEMD-E004") as caught:
        parse_options(options, 7.8, "cpu")
    assert next(iter(options)) in caught.value.message


@pytest.mark.parametrize("segment", [600.1, 20_000, 1e18, float("inf")])
def test_a_segment_has_an_end_where_the_model_sets_none(segment):
    with failing("STEMD-E004") as caught:
        parse_options({"segment": segment}, float("inf"), "cpu")
    assert "from 0.1 to 600" in caught.value.message
    assert parse_options({"segment": 600}, float("inf"), "cpu").segment == 600


def test_default_options():
    assert parse_options({}, 7.8, "cpu") == DemucsOptions()
    assert parse_options({"segment": None}, float("inf"), "cuda").batch > 1


def test_devices():
    with failing("STEMD-E004"):
        DemucsEngine().load("nano", Path("/nonexistent"), "quantum")
    if not torch.cuda.is_available():
        with failing("STEMD-E004"):
            DemucsEngine().load("nano", Path("/nonexistent"), "cuda")


def test_a_card_by_its_number(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert _device("cuda:1") == torch.device("cuda:1") and _device("cuda") == _device("auto") == torch.device("cuda")
    with failing("STEMD-E004") as caught:
        _device("cuda:2")
    assert "it has cuda:0, cuda:1, cpu" in caught.value.message


def put(store: Path, metadata: dict[str, str] | None) -> None:
    folder = store / "mine"
    folder.mkdir()
    (folder / "mine.yaml").write_text("models: ['x']\n")
    save_file({"weight": torch.zeros(2)}, folder / "x.safetensors", metadata=metadata)


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"klass": "subprocess.Popen", "args": '[["touch", "owned"]]', "kwargs": "{}"},
        {"klass": "demucs.hdemucs.HDemucs", "args": "[]", "kwargs": '{"sources": ["a", "b"], "channels": 8}'},
        {"klass": "demucs.hdemucs.HDemucs", "args": "[", "kwargs": "{}"},
        {"klass": "demucs.demucs.Demucs", "args": "[]", "kwargs": "{}", "structure": '{"_class": "os.system"}'},
    ],
)
def test_weights_that_are_refused(metadata, tmp_path):
    put(tmp_path, metadata)
    with failing("STEMD-M004"):
        DemucsEngine().load("mine", tmp_path, "cpu")


def test_a_file_that_is_no_safetensors(tmp_path):
    put(tmp_path, None)
    (tmp_path / "mine" / "x.safetensors").write_bytes(b"\x80\x02pickle")
    with failing("STEMD-M004"):
        DemucsEngine().load("mine", tmp_path, "cpu")


def test_what_ran_out_of_memory_is_eased(nano):
    (whole,) = nano.lanes({}, ["vocals"])
    for level in (1, 2):
        (lane,) = nano.lanes(nano.ease({"batch": 4}, level), ["vocals"])
        assert (nano.facts()["batch"], lane.segment) == (1, pytest.approx(whole.segment / 2**level, abs=1))
    (lane,) = nano.lanes(nano.ease({"segment": 0.15}, 3), ["vocals"])
    assert lane.segment == pytest.approx(0.1 * 44_100, abs=1)


def test_its_estimate_of_memory_goes_with_segment_and_batch_and_not_with_the_length(nano):
    def estimate(seconds: float, **options: float) -> float:
        nano.lanes(options, ["vocals"])
        return nano.memory(TrackStats(round(seconds * 44_100), 0.0, 1.0, 1.0)) / 2**20

    assert estimate(3600) == estimate(60)
    assert estimate(0.1) < estimate(60)
    assert estimate(60, batch=4) > estimate(60, batch=2) > estimate(60)
    assert 320 < estimate(60) < 1500, "nano runs on a small machine"
