"""Which way to compute is chosen, that it is remembered, and that it changes nothing outside its block."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from stemd.engines.base import TrackStats, Tunable
from stemd.engines.demucs_engine import DemucsEngine
from stemd.engines.tuning import demucs_tuner
from stemd.engines.tuning.remembered import Remembered, processor
from stemd.engines.tuning.trials import Trial, choose
from stemd.engines.tuning.ways import Way, in_force
from tests.golden import tiny_models

PLAIN, FAST = Way().to_dict(), Way("medium", "sdpa").to_dict()


def trial(way: str, seconds: float, error: float, worth: float = 0.95) -> Trial:
    return Trial({"is": way}, seconds, error, worth=worth)


@pytest.mark.parametrize(
    ("others", "chosen"),
    [
        ([trial("fast", 0.7, -124)], "fast"),
        ([trial("fast", 0.7, -99)], "plain"),  # not as accurate as float32
        ([trial("fast", 0.7, math.nan)], "plain"),
        ([trial("fast", 0.97, -124)], "plain"),  # within what timing is worth
        ([trial("lean", 1.04, -130, worth=1.05)], "lean"),
        ([trial("lean", 1.04, -130, worth=1.05), trial("fast", 0.7, -60)], "lean"),
        ([trial("fast", 0.7, -124), trial("faster", 0.5, -124)], "faster"),
        ([trial("fast", 0.7, -124), trial("same", 0.69, -124)], "fast"),
        ([trial("same", 0.5, -math.inf)], "plain"),  # the same bits come from the same code: its time is chance
        ([trial("lean", 0.9, -math.inf, worth=1.05)], "lean"),
    ],
)
def test_the_fastest_within_its_gate(others, chosen):
    assert choose([trial("plain", 1.0, -math.inf), *others]).way == {"is": chosen}


def test_a_trial_is_json():
    assert trial("x", 1, math.nan).to_dict()["error_db"] is None and not trial("x", 1, math.nan).to_dict()["passed"]
    assert (
        trial("x", 1, -math.inf).to_dict()["error_db"] == -999 and trial("x", 1, math.inf).to_dict()["error_db"] is None
    )


def test_error():
    plain = torch.ones(8)
    assert demucs_tuner.error_db(plain, plain) == -math.inf
    assert demucs_tuner.error_db(1.001 * plain, plain) == pytest.approx(-60, abs=0.1)
    assert math.isnan(demucs_tuner.error_db(plain * math.nan, plain))
    assert math.isnan(demucs_tuner.error_db(plain, 0 * plain))


def test_remembered_for_one_machine_and_model(tmp_path):
    here = Remembered(tmp_path / "tuning", {"model": "a"})
    assert here.recall() is None
    here.keep({"way": FAST})
    assert here.recall() == {"way": FAST} and Remembered(tmp_path / "tuning", {"model": "b"}).recall() is None
    assert [path.suffix for path in here.path.parent.iterdir()] == [".json"]
    for text in ("", "[]", "{}", json.dumps({"format": 2, "key": {"model": "a"}, "found": {}})):
        here.path.write_text(text)
        assert here.recall() is None


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "file").touch()
    Remembered(tmp_path / "file" / "tuning", {}).keep({})


def test_processors_of_one_name_are_told_apart_by_their_instructions():
    one = processor("model name\t: AMD EPYC\nflags\t\t: sse avx512_bf16\n\nmodel name\t: AMD EPYC\n")
    assert one == processor("model name : AMD EPYC\nflags : avx512_bf16 sse\n")
    assert one != processor("model name : AMD EPYC\nflags : sse\n") and one["model name"] == "AMD EPYC"
    assert processor("")["machine"]


def test_ways():
    assert Way.of(FAST) == Way("medium", "sdpa")
    before = {name: FAST[name] for name in ("matmul", "attention", "transformer")}
    assert Way.of(before) == Way.of(FAST), "what was remembered before there was more"
    wrong_values = [("matmul", "low"), ("transformer", "int8"), ("attention", None), ("runtime", "onnx")]
    for wrong in ({}, *({**FAST, name: value} for name, value in (*wrong_values, ("convolutions", "int8")))):
        with pytest.raises(ValueError, match="no way"):
            Way.of(wrong)


def test_a_way_is_in_force_inside_its_block_only():
    network = tiny_models.htdemucs()
    before = (torch.get_float32_matmul_precision(), torch.backends.mha.get_fastpath_enabled())
    with pytest.raises(KeyError), in_force(Way("medium", "sdpa", "bf16"), network):
        assert torch.get_float32_matmul_precision() == "medium" and not torch.backends.mha.get_fastpath_enabled()
        assert "forward" in vars(network.crosstransformer)
        raise KeyError
    assert before == (torch.get_float32_matmul_precision(), torch.backends.mha.get_fastpath_enabled())
    assert "forward" not in vars(network.crosstransformer)


def test_what_is_tried():
    asked = demucs_tuner.candidates
    assert asked("cpu", "fp32", transformers=True) == []
    assert [way for way, *_ in asked("cpu", "auto", transformers=True)] == [
        Way(attention="sdpa"),
        Way("medium", "sdpa"),
    ]
    assert [way for way, *_ in asked("cpu", "auto", transformers=False)] == [Way("medium")]
    reduced = [(way.transformer, gate) for way, gate, _ in asked("cpu", "bf16", transformers=True)]
    assert reduced == [("fp32", -100), ("fp32", -100), ("bf16", -50), ("bf16", -50)]
    on_a_card = [way for way, *_ in asked("cuda", "fp16", transformers=True)]
    assert {way.matmul for way in on_a_card} == {"highest"} and on_a_card[-1].convolutions == "fp16"
    assert [way.convolutions for way, *_ in asked("cuda", "bf16", transformers=False)] == ["bf16"]
    assert not any(way.convolutions != "fp32" for way, *_ in asked("cpu", "bf16", transformers=True))


def test_trials_on_a_real_network_leave_it_as_it_was():
    network = tiny_models.htdemucs().eval()
    for name, values in network.crosstransformer.named_parameters():
        if name.endswith("scale"):
            values.data.fill_(1)  # an untrained transformer's layers count for next to nothing
    trials = demucs_tuner.tried([network], torch.device("cpu"), "bf16")
    assert [Way.of(each.way).transformer for each in trials] == ["fp32", "fp32", "fp32", "bf16", "bf16"]
    assert trials[0].error_db == -math.inf and trials[1].passed and trials[1].error_db < -100
    assert trials[1].error_db + 20 < trials[3].error_db < -80, "bf16 was not in force, or not in the transformer only"
    assert network.use_train_segment and all(each.seconds > 0 for each in trials)


@pytest.mark.parametrize("form", ["bf16", "fp16"])
@pytest.mark.parametrize("kind", [tiny_models.htdemucs, tiny_models.hdemucs, tiny_models.demucs])
def test_everything_in_a_smaller_format(kind, form):
    """Chosen on graphics cards only; the CPU computes it all the same."""
    network = kind().eval()
    sound = demucs_tuner.sound(network, int(network.segment * network.samplerate))
    way = Way(attention="sdpa", transformer=form, convolutions=form)
    _, plain = demucs_tuner.timed(network, sound, Way())
    _, answer = demucs_tuner.timed(network, sound, way)
    assert answer.dtype == torch.float32 and -80 < demucs_tuner.error_db(answer, plain) < -20
    assert way.what == "everything" and way.facts()["convolutions"] == way.facts()["precision"] != "float32"
    assert torch.equal(demucs_tuner.timed(network, sound, Way())[1], plain), "it was not set back"


def test_an_engine_remembers(tmp_path, monkeypatch):
    engine = DemucsEngine()
    engine.load("nano", Path("/nonexistent"), "cpu")
    assert isinstance(engine, Tunable) and engine.tune("fp32", tmp_path)["way"] == PLAIN and not [*tmp_path.iterdir()]
    monkeypatch.setattr(demucs_tuner, "tried", lambda *_: [Trial(PLAIN, 1, -math.inf), Trial(FAST, 0.5, -124)])
    found = engine.tune("auto", tmp_path)
    assert found["way"] == FAST and found["faster"] == 2 and found["error_db"] == -124 and len(found["trials"]) == 2
    assert {"matmul": "medium", "attention": "sdpa", "precision": "float32"}.items() <= engine.facts().items()
    monkeypatch.setattr(demucs_tuner, "tried", lambda *_: pytest.fail("tried again"))
    other = DemucsEngine()
    other.load("nano", Path("/nonexistent"), "cpu")
    assert other.facts()["matmul"] == "highest" and other.tune("auto", tmp_path) == found
    (kept,) = tmp_path.iterdir()
    kept.write_text(kept.read_text().replace("medium", "lowest"))
    monkeypatch.setattr(demucs_tuner, "tried", lambda *_: [Trial(PLAIN, 1, -math.inf)])
    assert other.tune("auto", tmp_path)["way"] == PLAIN


def test_a_manifest_tells_of_less_than_float32(monkeypatch):
    engine = DemucsEngine()
    engine.load("nano", Path("/nonexistent"), "cpu")
    stats = TrackStats(1, 0.0, 1.0, 1.0)
    reduced = Trial(Way("medium", "sdpa", "bf16").to_dict(), 0.5, -68.04, gate_db=-50)
    for trials, notes in (([], ()), ([reduced], ("the transformer was computed in bf16: -68 dB of error here",))):
        monkeypatch.setattr(demucs_tuner, "tried", lambda *_, found=trials: [Trial(PLAIN, 1, -math.inf), *found])
        engine.tune("bf16", None)
        assert engine.notes(stats) == notes
    assert engine.facts()["precision"] == "bfloat16"
