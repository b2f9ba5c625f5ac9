"""stemd's Spleeter gives what ``spleeter.separator.Separator`` gives on the whole track, in the real environment."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import soundfile

from stemd.core.job import Output
from stemd.engines.base import CancelledError, Progress, SeparationRequest
from stemd.engines.separate import separate
from stemd.engines.spleeter.engine import SpleeterEngine
from tests.golden import spleeter_setup
from tests.golden.conftest import noise
from tests.golden.test_demucs_reference import assert_equal

pytestmark = [pytest.mark.golden, pytest.mark.slow, pytest.mark.timeout(1800)]

RATE, BLOCK = 44_100, 512 * 1024


@pytest.fixture(scope="module")
def engine_of():
    """Loads a model once per module; each has a host process of its own."""
    loaded = {}

    def load(model: str):
        if model not in loaded:
            engine = SpleeterEngine(spleeter_setup.environment().root)
            loaded[model] = engine, engine.load(model, spleeter_setup.checkpoint(model), "auto")
        return loaded[model]

    yield load
    for engine, _ in loaded.values():
        engine.close()


def test_equals_the_reference_at_every_length(engine_of, run, tmp_path):
    mixes = [noise(frames) for frames in (1, 5000, BLOCK - 4096, BLOCK, 3 * BLOCK - 3073)]
    for mix, expected in zip(mixes, spleeter_setup.reference("2stems", mixes, tmp_path), strict=True):
        _, found = run(engine_of("2stems"), mix, rate=RATE, stems=2)
        if len(mix) > 1:
            assert_equal(found, expected)
        else:
            assert all(np.allclose(found[stem], values, atol=1e-6) for stem, values in expected.items())


@pytest.mark.parametrize("model", ["4stems", "5stems-16kHz"])
def test_so_does_every_kind_of_model(model, engine_of, run, tmp_path):
    mix = noise(BLOCK + 12_345, seed=1)
    result, found = run(engine_of(model), mix, rate=RATE, stems=int(model[0]))
    assert_equal(found, spleeter_setup.reference(model, [mix], tmp_path)[0])
    assert result.settings["tensorflow"] == spleeter_setup.environment().versions()["tensorflow"]


def test_so_does_the_wiener_filter_within_its_window(engine_of, run, tmp_path):
    mix = noise(BLOCK + 4321, seed=2)
    result, found = run(engine_of("2stems"), mix, rate=RATE, stems=2, options={"mwf": True})
    assert_equal(found, spleeter_setup.reference("2stems", [mix], tmp_path, mwf=True)[0])
    assert not result.warnings


def test_a_longer_track_says_that_the_filter_saw_it_in_windows(engine_of, run, tmp_path):
    mix = noise(3 * BLOCK, seed=3)
    result, found = run(engine_of("2stems"), mix, rate=RATE, stems=2, options={"mwf": True, "mwf_window": 24})
    (expected,) = spleeter_setup.reference("2stems", [mix], tmp_path, mwf=True)
    assert "24" in result.warnings[0]
    for stem, values in expected.items():
        assert np.sqrt(np.square(found[stem] - values).mean() / np.square(values).mean()) < 0.1, stem


@pytest.mark.parametrize("options", [{"exponent": 1.5}, {"extension": "average"}])
def test_so_do_its_other_ways_to_divide(options, engine_of, run, tmp_path):
    mix = noise(BLOCK + 99, seed=5)
    _, found = run(engine_of("2stems"), mix, rate=RATE, stems=2, options=options)
    assert_equal(found, spleeter_setup.reference("2stems", [mix], tmp_path, **options)[0])


def test_a_graph_that_was_damaged_is_made_again(run):
    graphs = spleeter_setup.environment().root / "stemd-graphs"
    engine = SpleeterEngine(spleeter_setup.environment().root)
    engine.load("2stems-16kHz", spleeter_setup.checkpoint("2stems-16kHz"), "auto")
    (kept,) = graphs.glob("2stems-16kHz-*.pb")
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-1])
    engine.close()
    run(
        (engine, engine.load("2stems-16kHz", spleeter_setup.checkpoint("2stems-16kHz"), "auto")),
        noise(5000),
        rate=RATE,
        stems=2,
    )
    engine.close()
    assert kept.read_bytes() == whole


def test_a_resumed_track_is_bit_for_bit_that_of_an_uninterrupted_one(engine_of, tmp_path):
    engine, model = engine_of("2stems")
    soundfile.write(tmp_path / "song.wav", noise(3 * BLOCK, seed=4), RATE, subtype="FLOAT")

    def separated(name: str, report) -> dict[str, str]:
        for folder in (tmp_path / name, tmp_path / name / "chunks", tmp_path / name / "out"):
            folder.mkdir(exist_ok=True)
        shutil.rmtree(tmp_path / name / "out")
        (tmp_path / name / "out").mkdir()
        request = SeparationRequest(
            tmp_path / "song.wav", tmp_path / name / "chunks", tmp_path / name / "out", 2, Output("flac", "24"),
            checkpoint=11.0,
        )  # fmt: skip
        result = separate(engine, model, request, report)
        return {"reused": result.chunks["reused"], **{file.stem: file.sha256 for file in result.files}}

    def stop_half_way(progress: Progress) -> None:
        if progress.stage == "separate" and progress.fraction > 0.6:
            raise CancelledError

    with pytest.raises(CancelledError):
        separated("cut", stop_half_way)
    engine.close()
    resumed, whole = separated("cut", lambda progress: None), separated("whole", lambda progress: None)
    assert resumed.pop("reused") > whole.pop("reused") == 0
    assert resumed == whole
