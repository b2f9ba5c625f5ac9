"""HTDemucs by OpenVINO: the same answer, kept and checked exports, threads as given, and torch where it can't be."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stemd.engines.demucs_engine import DemucsEngine
from stemd.engines.exported import core, export, runtime
from stemd.engines.exported.kept import Kept
from stemd.engines.exported.runtime import Cores
from stemd.engines.tuning import demucs_tuner, openvino_tuner
from stemd.engines.tuning.ways import Way
from tests.golden import tiny_models

ROOT = Path(__file__).parents[3]
FP32 = Way(runtime="openvino")
MIXED = Way(transformer="bf16", runtime="openvino")
WHOLE = Way(transformer="bf16", runtime="openvino", convolutions="bf16")
real = pytest.mark.skipif(runtime.installed() is None, reason="the package openvino is not installed")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    made = tiny_models.htdemucs().eval()
    for name, values in made.crosstransformer.named_parameters():
        if name.endswith("scale"):
            values.data.fill_(0.5)  # an untrained transformer's layers count for next to nothing
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the exports of ``network`` are kept, for all tests of this module."""
    return tmp_path_factory.mktemp("exports")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    tiny_models.write_bag(place, "ht", [tiny_models.htdemucs])
    tiny_models.write_bag(place, "hd", [tiny_models.hdemucs])
    return place


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def mix(network, frames: int, segments: int = 1) -> torch.Tensor:
    heard = demucs_tuner.sound(network, frames * segments)
    return torch.stack(heard[0].split(frames, dim=1))


def error(answer: torch.Tensor, plain: torch.Tensor) -> float:
    assert answer.shape == plain.shape
    return demucs_tuner.error_db(answer, plain)


def test_the_core_between_the_transforms_is_the_network(network):
    whole = mix(network, core.length(network))
    with torch.inference_mode():
        spectrum, given = core.opened(network, whole)
        answer = core.closed(network, spectrum, *core.Core(network)(*given))
        assert error(answer, network(whole)) < -140
        assert not {"_spec", "_magnitude", "_mask", "_ispec"} & set(vars(network)), "the network was not put back"
        with pytest.raises(ValueError, match="another order"):
            core.Core(network)(*given, torch.zeros(1))
    assert "_spec" not in vars(network)


def test_which_networks():
    free = tiny_models.htdemucs()
    free.use_train_segment = False
    assert core.why_not(tiny_models.htdemucs()) == "" and "any length" in core.why_not(free)
    assert "this is HDemucs" in core.why_not(tiny_models.hdemucs()) and core.why_not(tiny_models.demucs())


@real
def test_the_answer_is_torchs(network, folder):
    cores = Cores([network], "sha", folder)
    shorter = mix(network, core.length(network) - 123, segments=2)
    with torch.inference_mode():
        plain = network(shorter)
        errors = [error(cores.answer(0, shorter, way), plain) for way in (FP32, MIXED, WHOLE)]
    assert errors[0] < -110
    if "BF16" in cores.capabilities:
        assert errors[0] + 20 < errors[1] < errors[2] - 3, "bf16 was not in force, or not in the transformer only"
        assert errors[2] < -25


@real
def test_as_many_threads_as_torch_has(network, folder, threads):
    cores, heard = Cores([network], "sha", folder), mix(network, core.length(network))
    answers = []
    for count in (2, 1, 1):
        torch.set_num_threads(count)
        with torch.inference_mode():
            answers.append(cores.answer(0, heard, FP32).clone())
        (_, known, request) = cores._compiled[0]
        most = min(count, len(os.sched_getaffinity(0)))
        assert known == count and request.get_compiled_model().get_property("INFERENCE_NUM_THREADS") == most
    assert torch.equal(answers[1], answers[2])


@real
def test_nothing_is_told_to_anybody(tmp_path):
    """Its import would leave a number for the machine in the home folder, and send it with the event."""
    program = "import sys; from stemd.engines.exported import quiet; quiet.openvino(); print(*sys.modules)"
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert (
        "openvino_telemetry.main" not in done.stdout.split()
        and "openvino" in done.stdout
        and [*tmp_path.iterdir()] == []
    )
    importing = [path.name for path in (ROOT / "stemd").rglob("*.py") if "import openvino\n" in path.read_text()]
    assert importing == ["quiet.py"]


@real
def test_an_engine_uses_it_and_remembers(store, tmp_path, monkeypatch):
    def loaded():
        engine = DemucsEngine()
        engine.load("ht", store, "cpu")
        engine.prefer_runtime("openvino")
        return engine, engine.tune("auto", tmp_path)

    engine, found = loaded()
    assert found["openvino"] == "used" and Way.of(found["way"]) == FP32 and found["error_db"] < -110
    assert [Way.of(each["way"]).runtime for each in found["trials"]] == ["torch"] * 3 + ["openvino"]
    expected = {"runtime": "openvino", "openvino": runtime.installed(), "precision": "float32"}
    assert expected.items() <= engine.facts().items() and "matmul" not in engine.facts()
    assert engine._bag.models[0].encoder[0].conv.weight.is_meta, "torch still has the weights"
    with monkeypatch.context() as patched:
        patched.setattr(export, "export", lambda *_: pytest.fail("exported again"))
        patched.setattr(openvino_tuner, "tried", lambda *_: pytest.fail("tried again"))
        assert loaded()[1] == found
    (weights,) = tmp_path.glob("openvino/*/weights.bin")
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert loaded()[1] == found and weights.read_bytes() == good
    engine.close()


@real
@pytest.mark.parametrize(
    ("name", "trouble", "reason"),
    [
        ("ht", "export", "it failed: RuntimeError: no such operation"),
        ("ht", "time", "it failed: TimeoutError"),
        ("ht", "error", "its error is beyond the gate"),
        ("hd", "", "it computes HTDemucs only, this is HDemucs"),
        ("ht", "absent", "it is not installed"),
    ],
)
def test_torch_computes_where_it_cannot(name, trouble, reason, store, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no such operation")

    match trouble:
        case "export":
            monkeypatch.setattr(export, "export", fail)
        case "time":
            monkeypatch.setattr(openvino_tuner, "_BUDGET", -1.0)
        case "error":
            monkeypatch.setattr(openvino_tuner, "ACCURATE_DB", -999.0)
        case "absent":
            monkeypatch.setattr(openvino_tuner, "installed", lambda: None)
    engine = DemucsEngine()
    info = engine.load(name, store, "cpu")
    engine.prefer_runtime("openvino")
    found = engine.tune("auto", tmp_path)
    assert found["openvino"].startswith(reason) and Way.of(found["way"]).runtime == "torch"
    lane = engine.lanes({}, info.stems)[0]
    heard = mix(engine._bag.models[0], engine.window(lane, lane.segment)).transpose(1, 2).numpy()
    assert set(engine.separate_segments(lane, heard)) == set(info.stems)
    assert engine.notes(None)[-1].startswith(f"OpenVINO was asked for and not used: {reason}")
    remembered = [path for path in tmp_path.glob("*.json") if "openvino" in path.read_text()]
    assert len(remembered) == (trouble == "error"), "what may go otherwise next time was remembered"


def test_when_it_is_not_even_tried(monkeypatch):
    def asked(networks, precision="auto", runtime="auto", device="cpu"):
        return openvino_tuner.why_not(networks, torch.device(device), precision, runtime)

    small = [tiny_models.htdemucs()]
    monkeypatch.setattr(openvino_tuner, "installed", lambda: "2026.4.1")
    assert asked(small) == "the model is small" and asked(small, runtime="openvino") == ""
    assert "fp32" in asked(small, precision="fp32", runtime="openvino") and "torch" in asked(small, runtime="torch")
    assert asked(small, device="cuda") == "the device is cuda"
    monkeypatch.setattr(openvino_tuner, "_SMALL", 10)
    assert asked(small) == ""


def test_which_is_chosen():
    def trial(way, seconds, error_db, gate=-100.0):
        return openvino_tuner.Trial(way.to_dict(), seconds, error_db, gate)

    plain = {"way": Way().to_dict(), "seconds": 2.0, "error_db": -999.0}
    torchs = {"way": Way().to_dict(), "error_db": -999.0, "faster": 1.0, "trials": [plain]}
    timed = trial(Way(), 8.0, -math.inf)

    def found(*trials, runtime="auto"):
        return openvino_tuner._found(torchs, [timed, *trials], runtime)

    faster = found(trial(FP32, 4.0, -128))
    assert faster["openvino"] == "used" and faster["faster"] == 2.0 and faster["trials"][1]["seconds"] == 1.0
    assert Way.of(found(trial(FP32, 4.0, -128), trial(MIXED, 3.0, -64, -50))["way"]) == MIXED
    assert found(trial(FP32, 9.0, -128))["openvino"] == "torch is faster here"
    assert found(trial(FP32, 9.0, -128), runtime="openvino")["openvino"] == "used"
    refused = found(trial(FP32, 4.0, -90), runtime="openvino")
    assert refused["openvino"] == "its error is beyond the gate" and len(refused["trials"]) == 2
    assert refused["way"] == Way().to_dict()


def writes(count: list[int], text: str = "x"):
    def write(part: Path) -> None:
        count.append(1)
        (part / "weights").write_text(text)

    return write


def test_exports_are_kept_whole_or_made_again(tmp_path):
    kept, made = Kept(tmp_path / "new" / "folder"), []
    place = kept.get({"model": "a"}, writes(made))
    assert kept.get({"model": "a"}, writes(made)) == place and len(made) == 1
    assert kept.get({"model": "b"}, writes(made)) != place and len(made) == 2
    for damage in (
        lambda: (place / "weights").write_text("y"),
        (place / "weights").unlink,
        lambda: (place / "export.json").write_text("[]"),
        lambda: (place / "export.json").write_text('{"key": {"model": "a"}, "files": ["weights"]}'),
    ):
        damage()
        before = len(made)
        assert kept.get({"model": "a"}, writes(made)) == place and len(made) == before + 1
        assert (place / "weights").read_text() == "x"
    with pytest.raises(ZeroDivisionError):
        kept.get({"model": "c"}, lambda _: 1 // 0)
    assert len([*(tmp_path / "new" / "folder").iterdir()]) == 2


def test_of_two_that_export_at_once_one_is_kept(tmp_path):
    kept, made = Kept(tmp_path), []

    def write(part: Path) -> None:
        kept.get({"model": "a"}, writes(made, "first"))
        writes(made, "second")(part)

    place = kept.get({"model": "a"}, write)
    assert (place / "weights").read_text() == "first" and [*tmp_path.iterdir()] == [place]


def test_exports_are_bounded_and_leftovers_go(tmp_path):
    kept = Kept(tmp_path, most=2_500)
    old, new = (tmp_path / f".part-{name}" for name in ("old", "new"))
    for part in (old, new):
        part.mkdir()
    os.utime(old, (0, 0))
    places = []
    for when, name in enumerate("abc"):
        places.append(kept.get({"model": name}, writes([], "x" * 1000)))
        os.utime(places[-1], (when, when))
    kept.get({"model": "b"}, lambda _: pytest.fail("it was there"))  # and is the one used last
    os.utime(places[1], (9, 9))
    fourth = kept.get({"model": "d"}, writes([], "x" * 1000))
    assert {*tmp_path.iterdir()} == {new, places[1], fourth}
