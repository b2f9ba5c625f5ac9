"""Pickles: refused unless known or consented to, converted once, to the same network."""

from __future__ import annotations

import hashlib
import json
import os
from fractions import Fraction
from pathlib import Path

import pytest

from stemd.core.errors import StemdError
from stemd.engines import models
from stemd.engines.models import checksums

torch = pytest.importorskip("torch")


class Marker:
    """A pickle that leaves a file behind when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with a small HTDemucs the way demucs packs one: ``mine-CHECKSUM.th``, and no bag."""
    from tests.golden.tiny_models import htdemucs

    network = htdemucs()
    args, kwargs = network._init_args_kwargs
    folder = tmp_path / "usb"
    folder.mkdir()
    plain = folder / "mine.th"
    torch.save({"klass": type(network), "args": args, "kwargs": kwargs, "state": network.state_dict()}, plain)
    return plain.rename(folder / f"mine-{digest(plain)[:8]}.th")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_unknown_pickle_is_refused_with_the_way_to_consent(package, store):
    with pytest.raises(StemdError, match=r"STEMD-M006.*loading a pickle runs code") as caught:
        models.fetch("mine", store, package.parent)
    assert f"--allow-pickle {digest(package)}" in caught.value.remedy
    assert not models.present("mine", store)


def test_a_pickle_in_the_store_is_no_model(package, store):
    place = store / "mine"
    place.mkdir(parents=True)
    package.rename(place / package.name)
    assert not models.present("mine", store)


@pytest.mark.parametrize("way", ["consent", "built-in list"])
def test_an_allowed_pickle_becomes_the_same_network(way, package, store, monkeypatch):
    from demucs.hf import load_safetensors_model
    from demucs.states import load_model

    consented = {digest(package)} if way == "consent" else ()
    if way == "built-in list":
        monkeypatch.setitem(checksums.PICKLES, digest(package), package.name)
    folder = models.fetch("mine", store, package.parent, pickles=consented)
    facts = json.loads((folder / "stemd.json").read_text())["files"]["mine.safetensors"]
    told = {"name": package.name, "sha256": digest(package), "allowed_by": way, "ran_code": False}
    assert (facts["checked"], facts["converted_from"]) == (way, told)
    ours, theirs = load_safetensors_model(folder / "mine.safetensors"), load_model(package)
    assert type(ours) is type(theirs)
    assert ours.segment == theirs.segment == Fraction(1, 2)
    assert all(torch.equal(ours.state_dict()[key], value) for key, value in theirs.state_dict().items())
    assert models.read_bag(folder).members == ("mine",)
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors", ".yaml"}
    assert {path.name for path in store.iterdir()} == {"mine", ".mine.lock"}


def test_the_engine_loads_what_was_converted(package, store):
    from stemd.engines.demucs_engine import DemucsEngine

    models.fetch("mine", store, package.parent, pickles={digest(package)})
    assert DemucsEngine().load("mine", store, "cpu").stems == ("drums", "bass", "other", "vocals")


def test_a_refused_pickle_runs_nothing(tmp_path, store):
    evil = tmp_path / "mine.th"
    torch.save({"klass": Marker(tmp_path / "ran")}, evil)
    with pytest.raises(StemdError, match=r"STEMD-M006"):
        models.fetch("mine", store, tmp_path)
    assert not (tmp_path / "ran").exists()


def test_consent_is_to_one_content_not_to_a_name(package, store):
    consented = digest(package)
    package.write_bytes(package.read_bytes() + b"more")
    with pytest.raises(StemdError, match=r"STEMD-M006"):
        models.fetch("mine", store, package.parent, pickles={consented})


def test_consent_means_consent_but_only_a_demucs_network_comes_of_it(tmp_path, store):
    odd = tmp_path / "mine.th"
    torch.save({"klass": Marker(tmp_path / "ran"), "args": (), "kwargs": {}, "state": {}}, odd)
    with pytest.raises(StemdError, match=r"STEMD-M004.*could not be converted.*is no Demucs network"):
        models.fetch("mine", store, tmp_path, pickles={digest(odd)})
    assert (tmp_path / "ran").exists(), "it was loaded in full, in a process of its own"
    assert not models.present("mine", store)


def test_the_record_says_when_code_was_run(package, tmp_path, store):
    content = torch.load(package, weights_only=False)
    torch.save({**content, "training_args": Marker(tmp_path / "ran")}, package)
    folder = models.fetch("mine", store, package.parent, pickles={digest(package)})
    assert models.facts(folder)["files"]["mine.safetensors"]["converted_from"]["ran_code"] is True
    assert (tmp_path / "ran").exists()


def test_what_is_no_package_says_so(tmp_path, store):
    (tmp_path / "mine.th").write_bytes(b"not even a pickle")
    with pytest.raises(StemdError, match=r"STEMD-M004.*mine\.th could not be converted"):
        models.fetch("mine", store, tmp_path, pickles={digest(tmp_path / "mine.th")})


def test_safetensors_are_preferred(package, store):
    folder = models.fetch("mine", store, package.parent, pickles={digest(package)})
    (package.parent / "mine.safetensors").write_bytes((folder / "mine.safetensors").read_bytes())
    models.fetch("mine", store, package.parent, force=True)
    assert "converted_from" not in json.loads((folder / "stemd.json").read_text())["files"]["mine.safetensors"]


def test_a_quantised_state_keeps_its_structure():
    from demucs.hf import _unflatten_state

    from stemd.engines.pickles import flatten

    state = {"__quantized": True, "quantized": [{"levels": torch.arange(3), "bits": (2, torch.ones(1)), "no": None}]}
    tensors, structure = flatten(state)
    assert set(tensors) == {"state.quantized.0.levels", "state.quantized.0.bits.1"}
    again = _unflatten_state(tensors, json.loads(structure))
    assert again["__quantized"] is True
    assert torch.equal(again["quantized"][0]["levels"], torch.arange(3))
    assert again["quantized"][0]["bits"][0] == 2
    assert isinstance(again["quantized"][0]["bits"], tuple)
    assert again["quantized"][0]["no"] is None
    _, named = flatten({"class": Fraction, "x": 1})
    assert json.loads(named)["_dict"][0] == ["class", {"_class": "fractions.Fraction"}]
