"""The model store: finding, verifying, and fetching from a folder."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from stemd.core.errors import StemdError
from stemd.engines import models
from stemd.engines.models import Supply, checksums, parse_bag


def failing(code: str):
    return pytest.raises(StemdError, match=code)


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A folder with a two-member model, as a person would bring it."""
    folder = tmp_path / "usb" / "htdemucs"
    folder.mkdir(parents=True)
    (folder / "htdemucs.yaml").write_text("models: ['one', 'abc']\nweights: [[1., 0.], [0., 1.]]\nsegment: 7.8\n")
    (folder / "one.safetensors").write_bytes(b"weights" * 1000)
    (folder / "abc.safetensors").write_bytes(b"more" * 1000)
    return folder


def test_nano_is_in_the_package(tmp_path):
    assert models.present("nano", tmp_path)
    hashes = models.verify("nano", tmp_path)
    assert hashes["nano.safetensors"].startswith("8036bb04")
    assert models.read_bag(models.find("nano", tmp_path)).members == ("nano",)


def test_missing_names_the_command(tmp_path):
    with failing("STEMD-M001") as caught:
        models.find("htdemucs", tmp_path)
    assert "`stemd models fetch htdemucs`" in caught.value.remedy
    assert not models.present("htdemucs", tmp_path)


@pytest.mark.parametrize("name", ["nosuch", "../nano", "", ".hidden", "a/b", "nano\0"])
def test_unknown(name, tmp_path):
    with failing("STEMD-M002"):
        models.find(name, tmp_path)
    assert not models.present(name, tmp_path)


@pytest.mark.parametrize("below", [True, False])
def test_fetch_from_a_folder(below, origin, tmp_path):
    seen = []
    store = tmp_path / "store"
    folder = models.fetch("htdemucs", store, origin.parent if below else origin, lambda *each: seen.append(each))
    assert folder == models.find("htdemucs", store) == store / "htdemucs"
    record = json.loads((folder / "stemd.json").read_text())
    assert set(record["files"]) == {"htdemucs.yaml", "one.safetensors", "abc.safetensors"}
    assert models.verify("htdemucs", store).keys() == record["files"].keys()
    assert ("abc.safetensors", 4000, 4000) in seen
    assert {path.name for path in store.iterdir()} == {"htdemucs", ".htdemucs.lock"}


@pytest.mark.parametrize("missing", ["abc.safetensors", "htdemucs.yaml"])
def test_fetch_that_breaks_leaves_nothing(missing, origin, tmp_path):
    (origin / missing).unlink()
    with failing("STEMD-M005" if missing.startswith("abc") else "STEMD-M002"):
        models.fetch("htdemucs", tmp_path / "store", origin)
    assert {path.name for path in (tmp_path / "store").iterdir()} <= {".htdemucs.lock"}


def test_what_no_source_has(origin, tmp_path):
    with failing("STEMD-M002"):
        models.fetch("nosuch", tmp_path / "store", "http://127.0.0.1:9")
    with failing("STEMD-M002"):
        models.fetch("nosuch", tmp_path / "store")
    with failing("STEMD-M002"):
        models.fetch("htdemucs", tmp_path / "store", tmp_path)
    with failing("STEMD-M002"):
        models.fetch("htdemucs", tmp_path / "store", tmp_path / "nowhere")


def test_a_folders_file_must_be_the_published_one(origin, tmp_path, monkeypatch):
    monkeypatch.setitem(checksums.FILES, "htdemucs", {"abc.safetensors": "0" * 64})
    with failing("STEMD-M005.*is not the published file"):
        models.fetch("htdemucs", tmp_path / "store", origin)
    assert not models.present("htdemucs", tmp_path / "store")
    right = hashlib.sha256(b"more" * 1000).hexdigest()
    monkeypatch.setitem(checksums.FILES, "htdemucs", {"abc.safetensors": right})
    folder = models.fetch("htdemucs", tmp_path / "store", origin)
    assert models.facts(folder)["files"]["abc.safetensors"]["checked"] == "catalogue"


def test_a_lone_weights_file_is_a_model(tmp_path):
    (tmp_path / "mine.safetensors").write_bytes(b"weights")
    folder = models.fetch("mine", tmp_path / "store", tmp_path)
    assert models.read_bag(folder).members == ("mine",)
    assert models.facts(folder)["engine"] == "demucs"


def test_damage_is_found_and_mended_by_force(origin, tmp_path):
    folder = models.fetch("htdemucs", tmp_path / "store", origin)
    (folder / "abc.safetensors").write_bytes(b"mire" * 1000)
    assert models.present("htdemucs", tmp_path / "store")
    with failing("STEMD-M003"):
        models.verify("htdemucs", tmp_path / "store")
    with failing("STEMD-M003"):
        models.fetch("htdemucs", tmp_path / "store", origin)
    models.fetch("htdemucs", tmp_path / "store", origin, force=True)
    models.verify("htdemucs", tmp_path / "store")
    (folder / "abc.safetensors").unlink()
    assert not models.present("htdemucs", tmp_path / "store")


def cut_off(folder: Path) -> None:
    (folder / "one.safetensors").write_bytes(b"weights" * 500)


def without_weights(folder: Path) -> None:
    (folder / "one.safetensors").unlink()


def without_description(folder: Path) -> None:
    (folder / f"{folder.name}.yaml").unlink()


def alone_with_its_record(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != "stemd.json":
            path.unlink()


def with_half_a_record(folder: Path) -> None:
    path = folder / "stemd.json"
    path.write_bytes(path.read_bytes()[:400])


def with_an_empty_record(folder: Path) -> None:
    (folder / "stemd.json").write_bytes(b"")


def with_a_record_of_nothing(folder: Path) -> None:
    (folder / "stemd.json").write_text('{"files": {"one.safetensors": 3}}')


def with_a_strange_member(folder: Path) -> None:
    path = folder / f"{folder.name}.yaml"
    path.write_text(path.read_text().replace("abc", "xyz"))


@pytest.mark.parametrize("name", ["htdemucs", "mine"])
@pytest.mark.parametrize(
    "damage",
    [
        cut_off, without_weights, without_description, alone_with_its_record, with_half_a_record, with_an_empty_record,
        with_a_record_of_nothing, with_a_strange_member,
    ],
)  # fmt: skip
def test_a_damaged_model_is_told_from_a_missing_one(damage, name, origin, tmp_path):
    store = tmp_path / "store"
    (origin / "htdemucs.yaml").rename(origin / f"{name}.yaml")
    folder = models.fetch(name, store, origin)
    damage(folder)
    assert models.find(name, store, "demucs") == folder
    with failing("STEMD-M003") as caught:
        models.verify(name, store)
    assert "`stemd models fetch --force" in caught.value.remedy
    entry = next(each for each in models.catalogue(store) if each.name == name)
    assert (entry.folder, entry.engine) == (folder, "demucs")
    assert entry.whole == models.present(name, store) == (damage is with_a_strange_member)
    with failing("STEMD-M003"):
        Supply(allowed=False).mend(name, store, caught.value, lambda *each: None)
    models.fetch(name, store, origin, force=True)
    models.verify(name, store)


def test_a_whole_bundled_model_goes_before_a_damaged_one_in_the_store(tmp_path):
    (tmp_path / "nano").mkdir()
    (tmp_path / "nano" / "stemd.json").write_bytes(b"")
    assert not models.find("nano", tmp_path).is_relative_to(tmp_path)
    models.verify("nano", tmp_path)


def test_catalogue_has_the_known_and_the_own(origin, tmp_path):
    own = tmp_path / "store" / "mine"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("models:\n- 'x'\n")
    (own / "x.safetensors").write_bytes(b"x")
    entries = {entry.name: entry for entry in models.catalogue(tmp_path / "store")}
    assert next(iter(entries)) == "htdemucs" and entries["htdemucs"].folder is None
    assert entries["nano"].folder is not None and entries["nano"].known is not None
    assert entries["mine"].folder == own and entries["mine"].known is None
    assert len(models.catalogue(tmp_path / "nowhere")) == len(models.BUILT_IN)


@pytest.mark.parametrize(
    "text",
    ["", "models: []", "models: ['../x']", "models: [1]", "models: ['a']\nweights: [[1.], [1.]]", "[", "a: b: c"],
)
def test_what_is_no_bag(text):
    with failing("STEMD-M004"):
        parse_bag(text.encode(), "x.yaml")


def test_nothing_heavy_is_imported():
    check = "import sys, stemd.engines.models; print(sorted({'numpy', 'torch', 'yaml', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
