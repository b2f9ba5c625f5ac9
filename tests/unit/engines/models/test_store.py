"""The model store: finding, verifying, fetching from a folder and over HTTP."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stemd.core.errors import StemdError
from stemd.engines import models
from stemd.engines.models.store import parse_bag


def failing(code: str):
    return pytest.raises(StemdError, match=code)


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A folder with a two-member model, as a person would bring it."""
    folder = tmp_path / "usb" / "htdemucs"
    folder.mkdir(parents=True)
    (folder / "htdemucs.yaml").write_text("models: ['955717e8', 'abc']\nweights: [[1., 0.], [0., 1.]]\nsegment: 7.8\n")
    (folder / "955717e8.safetensors").write_bytes(b"weights" * 1000)
    (folder / "abc.safetensors").write_bytes(b"more" * 1000)
    return folder


@pytest.fixture
def server(origin: Path, tmp_path: Path):
    """The same model in the layout of Hugging Face, served over HTTP."""
    root = tmp_path / "www"
    shutil.copytree(origin, root / "adefossez/HTDemucs/resolve/main")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=root)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}", root / "adefossez/HTDemucs/resolve/main"
        web.shutdown()


def test_nano_is_in_the_package(tmp_path):
    assert models.present("nano", tmp_path)
    hashes = models.verify("nano", tmp_path)
    assert hashes["nano.safetensors"].startswith("ed56a926")
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
    assert set(record["files"]) == {"htdemucs.yaml", "955717e8.safetensors", "abc.safetensors"}
    assert models.verify("htdemucs", store).keys() == record["files"].keys()
    assert ("abc.safetensors", 4000, 4000) in seen
    assert [path.name for path in store.iterdir()] == ["htdemucs"]


def test_fetch_over_http(server, tmp_path):
    base, _ = server
    models.fetch("htdemucs", tmp_path / "store", base)
    assert models.present("htdemucs", tmp_path / "store")


def test_fetch_that_breaks_leaves_nothing(server, tmp_path):
    base, files = server
    (files / "abc.safetensors").unlink()
    with failing("STEMD-M005"):
        models.fetch("htdemucs", tmp_path / "store", base)
    assert list((tmp_path / "store").iterdir()) == []
    with failing("STEMD-M005"):
        models.fetch("htdemucs", tmp_path / "store", "http://127.0.0.1:9")
    with failing("STEMD-M002"):
        models.fetch("nosuch", tmp_path / "store", base)
    with failing("STEMD-M002"):
        models.fetch("htdemucs", tmp_path / "store", tmp_path)


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


def test_built_in_models_are_where_demucs_looks_for_them():
    from demucs.hf import DEFAULT_NAMESPACE, hf_repo_name
    from demucs.pretrained import REMOTE_ROOT

    for model in models.BUILT_IN.values():
        if model.repository:
            assert model.repository == f"{DEFAULT_NAMESPACE}/{hf_repo_name(model.name)}"
            path = REMOTE_ROOT / f"{model.name}.yaml"
            assert len(parse_bag(path.read_bytes(), path.name).members) == model.members


def test_nothing_heavy_is_imported():
    check = "import sys, stemd.engines.models; print(sorted({'numpy', 'torch', 'yaml', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
