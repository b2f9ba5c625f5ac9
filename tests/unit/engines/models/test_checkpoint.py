"""TensorFlow checkpoints: Spleeter's archives, and those nobody should open."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from stemd.core.errors import StemdError
from stemd.engines import models
from stemd.engines.models import checksums
from stemd.engines.models.checkpoint import FILES, extract
from tests.unit.engines.models.conftest import SPLEETER, checkpoint_archive, content
from tests.unit.engines.models.hub import drop_after


@pytest.fixture
def published(hub, monkeypatch) -> bytes:
    """``4stems`` at a release of the hub; its sha256 is the catalogue's, its storage states none."""
    archive = checkpoint_archive()
    hub.files[f"{SPLEETER}/4stems.tar.gz"] = archive
    hub.states = False
    monkeypatch.setitem(checksums.FILES, "4stems", {"4stems.tar.gz": hashlib.sha256(archive).hexdigest()})
    return archive


def test_an_archive_becomes_a_checkpoint(hub, store, patience, published):
    hub.faults[f"{SPLEETER}/4stems.tar.gz"] = [drop_after(1000)]
    folder = models.fetch("4stems-16kHz", store, hub.url, patience=patience)
    assert hub.content_requests(".tar.gz")[1].range == "bytes=1000-"
    assert folder == store / "4stems" == models.find("4stems-16kHz", store) == models.find("4stems", store, "spleeter")
    assert {path.name for path in folder.iterdir()} == {*FILES, "stemd.json"}
    told = json.loads((folder / "stemd.json").read_text())
    assert (told["name"], told["engine"], told["stems"]) == ("4stems", "spleeter", ["vocals", "drums", "bass", "other"])
    facts = told["files"]["model.index"]
    assert facts["checked"] == "catalogue"
    assert facts["archive_sha256"] == hashlib.sha256(published).hexdigest()
    assert models.verify("4stems-16kHz", store).keys() == FILES.keys()
    assert models.present("4stems", store)
    assert not models.present("5stems", store)
    assert {path.name for path in store.iterdir()} == {"4stems", ".4stems.lock"}


def test_damage_is_found(hub, store, patience, published):
    folder = models.fetch("4stems", store, hub.url, patience=patience)
    data = bytearray((folder / "model.index").read_bytes())
    data[0] ^= 1
    (folder / "model.index").write_bytes(data)
    with pytest.raises(StemdError, match=r"STEMD-M003.*4stems/model.index"):
        models.verify("4stems-16kHz", store)


def test_a_model_belongs_to_its_engine(store):
    with pytest.raises(StemdError, match=r"STEMD-M002.*of the engine spleeter, not of demucs"):
        models.find("2stems", store, "demucs")
    with pytest.raises(StemdError, match=r"STEMD-M002.*of the engine demucs, not of spleeter"):
        models.find("nano", store, "spleeter")
    with pytest.raises(StemdError, match=r"STEMD-M002.*known: 2stems, 4stems") as caught:
        models.find("3stems", store, "spleeter")
    assert "htdemucs" not in caught.value.message


@pytest.mark.parametrize("form", ["archive", "files", "below"])
def test_a_folder_may_hold_the_archive_or_its_files(form, tmp_path, store, monkeypatch):
    archive = checkpoint_archive()
    monkeypatch.setitem(checksums.FILES, "2stems", {"2stems.tar.gz": hashlib.sha256(archive).hexdigest()})
    source = tmp_path / ("2stems" if form == "files" else "usb")
    place = source / "2stems" if form == "below" else source
    place.mkdir(parents=True)
    (place / "2stems.tar.gz").write_bytes(archive)
    if form != "archive":
        extract(place / "2stems.tar.gz", place)
        (place / "2stems.tar.gz").unlink()
    folder = models.fetch("2stems", store, source)
    assert set(models.verify("2stems", store)) == set(FILES)
    assert (folder / "model.meta").read_bytes() == content(2000, 3)


def test_one_models_files_are_not_taken_for_anothers(tmp_path, store):
    place = tmp_path / "5stems"
    place.mkdir()
    (tmp_path / "a.tar.gz").write_bytes(checkpoint_archive())
    extract(tmp_path / "a.tar.gz", place)
    with pytest.raises(StemdError, match=r"STEMD-M002"):
        models.fetch("4stems", store, place)


def test_an_own_checkpoint_is_spleeters(tmp_path, store):
    place = tmp_path / "mine"
    place.mkdir()
    (place / "mine.tar.gz").write_bytes(checkpoint_archive())
    models.fetch("mine", store, place)
    assert models.find("mine", store, "spleeter") == store / "mine"
    assert next(entry for entry in models.catalogue(store) if entry.name == "mine").engine == "spleeter"
    with pytest.raises(StemdError, match=r"STEMD-M002"):
        models.find("mine", store, "demucs")


def test_an_archive_under_the_name_of_a_demucs_model_is_none(tmp_path, store):
    (tmp_path / "htdemucs.tar.gz").write_bytes(checkpoint_archive())
    with pytest.raises(StemdError, match=r"STEMD-M002.*holds no demucs model htdemucs"):
        models.fetch("htdemucs", store, tmp_path)


def member(name: str, data: bytes = b"x", **facts: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in facts.items():
        setattr(info, key, value)
    return info, data


def hostile(path: Path, *extra: tuple[tarfile.TarInfo, bytes], without: str | None = None) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name in FILES:
            if name != without:
                info, data = member(name)
                tar.addfile(info, io.BytesIO(data))
        for info, data in extra:
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize(
    ("extra", "why"),
    [
        ([member("../../evil")], "leads out"),
        ([member("/etc/cron.d/evil")], "leads out"),
        ([member("x", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")], "no plain file"),
        ([member("x", b"", type=tarfile.LNKTYPE, linkname="checkpoint")], "no plain file"),
        ([member("x", b"", type=tarfile.CHRTYPE)], "no plain file"),
        ([member("x", b"", type=tarfile.FIFOTYPE)], "no plain file"),
        ([member("model.index", b"again")], "twice"),
        ([member(f"f{number}") for number in range(200)], "more than 100 entries"),
    ],
)
def test_a_hostile_archive_is_refused_as_a_whole(extra, why, tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(StemdError, match=f"STEMD-M004.*{why}"):
        extract(hostile(tmp_path / "a.tar.gz", *extra), target)
    assert {path.name for path in target.iterdir()} <= set(FILES)
    assert not (tmp_path.parent / "evil").exists()


def test_a_link_in_place_of_a_file_is_refused(tmp_path):
    link = member("model.index", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
    with pytest.raises(StemdError, match=r"STEMD-M004.*no plain file"):
        extract(hostile(tmp_path / "a.tar.gz", link, without="model.index"), tmp_path)


def test_what_is_written_does_not_go_through_a_link_that_is_there(tmp_path):
    target, outside = tmp_path / "target", tmp_path / "outside"
    target.mkdir()
    outside.write_text("mine")
    (target / "model.index").symlink_to(outside)
    extract(hostile(tmp_path / "a.tar.gz"), target)
    assert outside.read_text() == "mine"
    assert (target / "model.index").read_bytes() == b"x"


def test_sizes_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setitem(FILES, "checkpoint", 10)
    big = hostile(tmp_path / "a.tar.gz", member("checkpoint", b"x" * 11), without="checkpoint")
    with pytest.raises(StemdError, match=r"STEMD-M004.*has 11 bytes"):
        extract(big, tmp_path)


@pytest.mark.parametrize("cut", [10, 100, -10])
def test_an_archive_cut_short_is_refused(cut, tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(checkpoint_archive()[:cut])
    with pytest.raises(StemdError, match=r"STEMD-M004"):
        extract(tmp_path / "a.tar.gz", tmp_path)


@pytest.mark.parametrize("data", [b"", b"no archive", bytes(5000)])
def test_what_is_no_archive_is_refused(data, tmp_path, store):
    place = tmp_path / "mine"
    place.mkdir()
    (place / "mine.tar.gz").write_bytes(data)
    with pytest.raises(StemdError, match=r"STEMD-M004"):
        models.fetch("mine", store, place)
    assert not models.present("mine", store)


def test_an_archive_that_lacks_a_file_is_refused(tmp_path):
    with pytest.raises(StemdError, match=r"STEMD-M004.*lacks model.meta"):
        extract(hostile(tmp_path / "a.tar.gz", without="model.meta"), tmp_path)
