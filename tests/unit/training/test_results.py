"""Export, scores, curve, card; and once, slowly, every command in turn."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from demucs.hf import load_safetensors_model

from stemd.core.errors import StemdError
from stemd.engines import models
from stemd.training import baseline, card, curve, judging, metrics, shelf
from stemd.training.commands import main
from stemd.training.exporting import export
from stemd.training.learning import CHECKPOINT, Course, Run
from stemd.training.notices import notices
from stemd.training.terms import RATE
from tests.unit.training.conftest import HELD_OUT_FONT, TRAINING_FONT, needs_sound, tones

COURSE = Course(steps=1, batch=1, segment=0.5, network={"depth": 3})


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """A network that has learnt nothing, as a folder of the store."""
    folder = tmp_path_factory.mktemp("store")
    run = Run.open(folder, COURSE)
    run.save()
    export(folder / CHECKPOINT, folder / "nano")
    return folder / "nano"


def test_what_is_exported_loads_in_demucs_and_in_stemd_and_separates(exported: Path):
    network = load_safetensors_model(exported / "nano.safetensors").float().eval()
    assert list(network.sources) == ["drums", "bass", "other", "vocals"]
    assert models.verify("nano", exported.parent).keys() == {"nano.yaml", "nano.safetensors"}
    mixture = tones(1, 1.0).sum(0)
    stems = judging.Model(exported).separate(mixture)
    assert stems.shape == (4, 2, RATE)
    share = float((stems[0] * mixture).sum() / np.square(mixture).sum())
    assert 0.1 < share < 0.5, "masks of about a quarter"
    facts = json.loads((exported / "training.json").read_text())
    assert facts["segments"] == 0 and facts["versions"]["torch"] == torch.__version__
    assert (exported / "THIRD_PARTY_NOTICES.md").read_text().startswith("# Third-party notices")


def test_the_notices_and_the_card_name_who_made_the_recordings():
    material = {"songs": 3, "real": ["kalium"], "credit": "by Somebody, CC0 1.0"}
    assert "kalium: by Somebody, CC0 1.0" in notices(material)
    assert "kalium: their licence is that of their folder" in notices({"real": ["kalium"], "credit": None})
    assert "kalium (by Somebody, CC0 1.0)" in card._material(material)


def test_each_soundfont_and_speaker_has_its_notice():
    first = {"soundfont": "FluidR3_GM.sf2", "seed": 1}
    second = {"soundfont": "MuseScore_General_Full.sf3", "seed": 1, "speakers": ["espeak-ng", "flite"]}
    text = notices({"shelves": [first, second]})
    assert "Frank Wen" in text and "S. Christian Collins" in text and text.count("Permission is hereby granted") == 2
    assert "- flite (" in text and "voices of espeak-ng and flite" in card._material({"shelves": [first, second]})
    older = notices({"shelves": [{"soundfont": "mine.sf2"}]})
    assert "Soundfont `mine.sf2`: see" in older and "espeak-ng (GPL-3)" in older and "flite" not in older
    assert "WORLD" not in notices({"real": ["kalium"]}), "no voices were made for a multitrack"


def test_scores():
    truth = tones(1, 2.0, absent=(3,))
    rows = metrics.score(truth * 0.5, truth)
    assert rows[0]["si_sdr"] > 60 and rows[0]["sdr"] == pytest.approx(6.02, abs=0.1)
    assert rows[3] == {"leak": -120.0}
    noisy = truth + truth.sum(0) * 0.1
    assert metrics.score(noisy, truth)[3]["leak"] == pytest.approx(-20, abs=0.1)
    table = metrics.summary([rows])
    assert table["si_sdr"]["vocals"] is None and table["leak"]["drums"] is None and table["leak"]["mean"] == -120.0


def test_the_ideal_mask_beats_signal_processing_beats_the_mixture():
    truth = tones(4, 3.0)
    mixture = truth.sum(0)
    guesses = {"mix": np.stack([mixture] * 4), "dsp": baseline.separate(mixture), "ideal": baseline.ideal(truth)}
    means = {name: metrics.summary([metrics.score(guess, truth)])["si_sdr"]["mean"] for name, guess in guesses.items()}
    assert means["mix"] < means["dsp"] < means["ideal"]


def test_every_other_trial_lacks_a_stem_and_none_has_a_single_one(tmp_path: Path):
    for number in range(4):
        shelf.put(tmp_path, f"s{number}", tones(number, 1.0), {})
    shelf.put(tmp_path, "t", tones(9, 1.0, absent=(0, 1, 2)), {})
    found = judging.trials(shelf.take([tmp_path]), 9, 1.0)
    assert [trial.name for trial in found] == ["s0", "s0 without drums", "s1", "s2", "s2 without bass", "s3"]
    assert not found[1].truth[0].any() and found[0].truth[0].any()


def test_the_curve_is_a_picture(tmp_path: Path):
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps({"segments": 40 * n, "loss": 1 / n}) + "\n" for n in (1, 2, 3, 2, 3, 4)))
    points = curve.read([log], "loss")
    assert [x for x, _ in points] == [40, 80, 120, 160], "what a resumed run did again counts once"
    assert [x for x, _ in curve.read([log, log], "loss")] == [40 * n for n in range(1, 9)], "runs follow one another"
    drawn = ElementTree.fromstring(curve.draw(points, "loss"))
    lines = drawn.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines[0].attrib["points"].split()) == 4
    ElementTree.fromstring(curve.draw(points[:1], "loss"))
    many = [(float(n), n / 10) for n in range(1, 1000)]
    thin = curve.thinned(many)
    assert 300 < len(thin) <= 480 and curve.thinned(points) == points
    assert all(abs(y - x / 10) < 1e-6 for x, y in thin) and thin[-1][0] > 990
    log.write_text(curve.log(points, "loss"))
    assert curve.read([log], "loss") == [(x, round(y, 3)) for x, y in points], "a card's points go on as a log"


def test_the_card_tells_the_scores_and_refuses_those_of_other_weights(exported: Path, tmp_path: Path):
    row = {"drums": 1.0, "bass": 2.0, "other": 3.0, "vocals": None, "mean": 2.0}
    methods = ("mixture", "signal processing", "this model", "ideal mask")
    record = json.loads((exported / "stemd.json").read_text())
    scores = {
        "sha256": record["files"]["nano.safetensors"]["sha256"],
        "songs": 5,
        "held_out": True,
        "scores": {method: dict.fromkeys(("si_sdr", "sdr", "leak"), row) for method in methods},
        "speed": {"realtime": 13.5, "seconds": 60, "threads": 2},
    }
    path = tmp_path / "scores.json"
    path.write_text(json.dumps(scores))
    text = card.write(exported, [path], []).read_text()
    assert "5 held-out synthetic" in text and "| this model | SI-SDR, dB | 1.00 | 2.00 | 3.00 | – | 2.00 |" in text
    assert "13.5 × realtime with 2 threads" in text and scores["sha256"] in text
    path.write_text(json.dumps({**scores, "held_out": False}))
    assert "not held out" in card.write(exported, [path], []).read_text()
    path.write_text(json.dumps({**scores, "sha256": "0"}))
    with pytest.raises(StemdError, match="does not judge"):
        card.write(exported, [path], [])


def test_real_songs_are_called_apart_only_where_none_was_learnt_from():
    row = {"mean": 2.0, **dict.fromkeys(("drums", "bass", "other", "vocals"), 2.0)}
    methods = ("mixture", "signal processing", "this model")
    table = {method: dict.fromkeys(("si_sdr", "sdr", "leak"), row) for method in methods}
    judged = {"held_out": False, "songs": 7, "scores": table, "real": ["k"], "only_real": True}
    apart, heard = {"material": {"real": ["cs", "li"]}}, {"material": {"real": ["cs", "k"]}}
    assert "7 pieces of real songs that training never heard (k): 2.00 dB" in card._how_good(apart, judged)
    assert "not held out" in card._how_good(heard, judged)
    assert "not held out" in card._how_good(apart, {**judged, "only_real": False}), "the others may have been heard"


@pytest.mark.slow
@needs_sound
def test_every_command_in_turn_and_something_is_learnt(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def run(*words: object) -> str:
        assert main([str(word) for word in words]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    plans, songs, held_out = tmp_path / "plans.jsonl", tmp_path / "songs", tmp_path / "held-out"
    run("compose", plans, "--songs", 6, "--seconds", 4, "--seed", 2)
    one = ("--plans", plans, "--words", 1, "--processes", 2)
    run("render", songs, *one, "--soundfont", TRAINING_FONT)
    run("render", held_out, *one, "--soundfont", HELD_OUT_FONT, "--held-out")
    small = ("--shelf", songs, "--segment", 1, "--network", '{"depth": 3}', "--rate", 4e-3, "--steps")
    run("train", tmp_path / "none", *small, 60, "--minutes", 0)
    run("train", tmp_path / "a", *small, 60, "--seed", 1)
    run("train", tmp_path / "b", *small, 4, "--seed", 2, "--start", tmp_path / "a" / CHECKPOINT)
    run("average", tmp_path / "mean.pt", tmp_path / "a" / CHECKPOINT, tmp_path / "b" / CHECKPOINT)
    means = {}
    for name, checkpoint, of in (
        ("before", tmp_path / "none" / CHECKPOINT, "none"),
        ("after", tmp_path / "mean.pt", "a"),
    ):
        folder = tmp_path / name / "nano"
        run("export", checkpoint, folder, "--run", tmp_path / of)
        judged = ("--songs", 4, "--seconds", 3, "--speed", 5, "--out", tmp_path / f"{name}.json")
        run("evaluate", folder, "--shelf", songs, *judged)
        facts = json.loads((tmp_path / f"{name}.json").read_text())
        assert facts["speed"]["realtime"] > 0 and facts["held_out"] is False
        means[name] = facts["scores"]["this model"]["si_sdr"]["mean"]
    assert means["after"] > means["before"] + 0.5, means
    run("evaluate", tmp_path / "after" / "nano", "--shelf", held_out, *judged)
    log = ("--log", tmp_path / "a" / "log.jsonl")
    run("card", tmp_path / "after" / "nano", "--scores", tmp_path / "after.json", *log)
    written = tmp_path / "after" / "nano"
    assert "held-out synthetic" in (written / "MODEL_CARD.md").read_text() and (written / "curve.svg").is_file()
    assert len(curve.read([written / "curve.jsonl"], "distortion")) > 0
    assert "Frank Wen" in (written / "THIRD_PARTY_NOTICES.md").read_text()
