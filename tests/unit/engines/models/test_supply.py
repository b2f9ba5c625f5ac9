"""What a worker may fetch by itself, and what it says when it could not."""

from __future__ import annotations

import json

import pytest

from stemd.core.errors import StemdError
from stemd.engines import models
from stemd.engines.models import Supply, quarantine
from tests.unit.engines.models.conftest import MMI

WEIGHTS = "75fc33f5.safetensors"


def nothing(*_: object) -> None:
    """Progress that nobody follows."""


def damaged(supply: Supply, store) -> StemdError:
    supply.provide("hdemucs_mmi", "demucs", store, nothing)
    path = store / "hdemucs_mmi" / WEIGHTS
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(StemdError, match="STEMD-M003") as caught:
        models.verify("hdemucs_mmi", store)
    return caught.value


def test_a_missing_model_is_provided_once(hub, store):
    supply, seen = Supply(source=hub.url), []
    supply.provide("hdemucs_mmi", "demucs", store, lambda *each: seen.append(each))
    models.verify("hdemucs_mmi", store)
    assert seen
    asked = len(hub.asked)
    supply.provide("hdemucs_mmi", "demucs", store, nothing)
    assert len(hub.asked) == asked


@pytest.mark.parametrize(
    ("model", "engine", "allowed"),
    [("hdemucs_mmi", "demucs", False), ("hdemucs_mmi", "stub", True), ("mine", "demucs", True), ("stub", "stub", True)],
)
def test_what_is_left_alone(model, engine, allowed, hub, store):
    Supply(allowed, hub.url).provide(model, engine, store, nothing)
    assert hub.asked == []
    assert not store.exists()


def test_what_could_not_be_fetched_is_still_missing(hub, store):
    del hub.files[f"{MMI}/{WEIGHTS}"]
    with pytest.raises(StemdError, match=rf"STEMD-M001.*STEMD-M005: there is no .*{WEIGHTS} \(404\)") as caught:
        Supply(source=hub.url).provide("hdemucs_mmi", "demucs", store, nothing)
    assert "`stemd models fetch hdemucs_mmi`" in caught.value.remedy


def test_whether_trying_is_of_use(hub, tmp_path, monkeypatch):
    assert Supply().can("htdemucs")
    assert Supply().can("4stems-16kHz")
    assert not Supply(allowed=False).can("htdemucs")
    assert not Supply().can("nano")
    assert not Supply().can("mine")
    monkeypatch.setenv("STEMD_OFFLINE", "1")
    assert not Supply().can("htdemucs")
    assert not Supply(source=hub.url).can("htdemucs")
    assert Supply(source=str(tmp_path)).can("htdemucs"), "a folder is no network"


def test_a_damaged_model_is_quarantined_and_fetched_anew(hub, store):
    supply = Supply(source=hub.url)
    error = damaged(supply, store)
    supply.mend("hdemucs_mmi", store, error, nothing)
    models.verify("hdemucs_mmi", store)
    (held,) = quarantine.held(store)
    assert (held / WEIGHTS).read_bytes() == bytes(3 << 20)
    assert json.loads((held / "why.json").read_text())["why"] == error.message


@pytest.mark.parametrize("left", [0, 5])
def test_a_truncated_model_is_damaged_not_missing(left, hub, store):
    supply = Supply(source=hub.url)
    supply.provide("hdemucs_mmi", "demucs", store, nothing)
    (store / "hdemucs_mmi" / WEIGHTS).write_bytes(bytes(left))
    asked = len(hub.asked)
    supply.provide("hdemucs_mmi", "demucs", store, nothing)
    assert len(hub.asked) == asked, "it is put away first, when the engine has found it"
    with pytest.raises(StemdError, match="STEMD-M003") as caught:
        models.verify("hdemucs_mmi", store)
    supply.mend("hdemucs_mmi", store, caught.value, nothing)
    models.verify("hdemucs_mmi", store)
    (held,) = quarantine.held(store)
    assert (held / WEIGHTS).read_bytes() == bytes(left)


def test_a_damaged_model_stays_where_nothing_may_be_fetched(hub, store):
    error = damaged(Supply(source=hub.url), store)
    asked = len(hub.asked)
    Supply(source=hub.url).provide("hdemucs_mmi", "demucs", store, nothing)
    assert len(hub.asked) == asked, "whether it is whole is for the engine to find out"
    with pytest.raises(StemdError, match="STEMD-M003"):
        Supply(allowed=False).mend("hdemucs_mmi", store, error, nothing)
    assert quarantine.held(store) == []
    assert models.present("hdemucs_mmi", store)


def test_a_damaged_model_that_cannot_be_replaced_is_missing(hub, store):
    supply = Supply(source=hub.url)
    error = damaged(supply, store)
    hub.files.clear()
    with pytest.raises(StemdError, match=r"STEMD-M001.*fetching them failed"):
        supply.mend("hdemucs_mmi", store, error, nothing)
    assert not models.present("hdemucs_mmi", store)
    assert len(quarantine.held(store)) == 1


def test_what_another_process_has_mended_meanwhile_is_kept(hub, store):
    supply = Supply(source=hub.url)
    error = damaged(supply, store)
    supply.mend("hdemucs_mmi", store, error, nothing)
    asked = len(hub.asked)
    supply.mend("hdemucs_mmi", store, error, nothing)
    assert len(hub.asked) == asked
    assert len(quarantine.held(store)) == 1
