"""The bridge to the ``demucs`` command: the exported model is the same model, and differences are seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from demucs.hf import load_safetensors_model
from demucs.pretrained import get_model

from stemd.core.errors import StemdError
from stemd.engines import models, reference


def test_demucs_reads_the_same_weights(tmp_path: Path):
    told = reference.export("nano", tmp_path / "store", tmp_path / "repo")
    bag = get_model("nano", tmp_path / "repo")
    assert list(bag.sources) == told["stems"]
    (network,) = bag.models
    folder = models.find("nano", tmp_path / "store")
    expected = load_safetensors_model(folder / "nano.safetensors").state_dict()
    assert {key: value.dtype for key, value in network.state_dict().items()} == {
        key: value.dtype for key, value in expected.items()
    }
    assert all(torch.equal(value, expected[key]) for key, value in network.state_dict().items())


def test_the_weights_are_not_blown_up(tmp_path: Path):
    reference.export("nano", tmp_path / "store", tmp_path / "repo")
    (package,) = (tmp_path / "repo").glob("*.th")
    stored = models.find("nano", tmp_path / "store") / "nano.safetensors"
    assert package.stat().st_size == pytest.approx(stored.stat().st_size, rel=0.1)


def test_a_model_that_is_not_here(tmp_path: Path):
    with pytest.raises(StemdError) as caught:
        reference.export("htdemucs", tmp_path, tmp_path / "repo")
    assert caught.value.code == "STEMD-M001"


def stems(folder: Path, **signals: np.ndarray) -> Path:
    folder.mkdir()
    for name, signal in signals.items():
        soundfile.write(folder / f"{name}.wav", signal, 44_100, subtype="FLOAT")
    return folder


def test_the_largest_difference_of_each_stem(tmp_path: Path):
    quiet = np.zeros((70_000, 2), np.float32)
    louder = quiet.copy()
    louder[69_999, 1] = -0.25
    one, two = stems(tmp_path / "one", bass=quiet, drums=quiet), stems(tmp_path / "two", bass=louder, drums=quiet)
    assert reference.compare(one, two) == {"bass": 0.25, "drums": 0.0}


def test_stems_of_another_length_are_no_match(tmp_path: Path):
    one = stems(tmp_path / "one", bass=np.zeros((100, 2), np.float32))
    two = stems(tmp_path / "two", bass=np.zeros((101, 2), np.float32))
    with pytest.raises(ValueError, match="100 × 2 frames against 101 × 2"):
        reference.compare(one, two)


def test_nothing_to_compare_is_an_error(tmp_path: Path):
    with pytest.raises(ValueError, match="no stem"):
        reference.compare(tmp_path, tmp_path)
