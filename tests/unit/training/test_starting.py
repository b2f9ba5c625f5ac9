"""Where a run begins: the bundled model grows and says what it said; what does not fit is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from demucs.demucs import DConv
from demucs.hf import load_safetensors_model

from stemd.core.errors import StemdError
from stemd.training import judging, network
from stemd.training.averaging import average
from stemd.training.card import _beginning
from stemd.training.exporting import export
from stemd.training.keeping import read_json
from stemd.training.learning import CHECKPOINT, Course, Run
from stemd.training.starting import begin, widened
from tests.unit.training.conftest import tones

COURSE = Course(steps=4, batch=1, segment=0.5, network={"depth": 3})


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _answers(*networks: torch.nn.Module) -> list[np.ndarray]:
    mixture = torch.from_numpy(tones(3, 2.0).sum(0))[None]
    with torch.inference_mode():
        return [each.eval()(mixture).numpy() for each in networks]


def test_the_layers_without_norms_compute_exactly_what_they_did():
    """With random weights everywhere and the residual branches shut: a channel in a wrong place is heard."""
    torch.manual_seed(1)
    narrow, wide = network.build(growth=1.4), network.build()
    for name, each in narrow.named_parameters():
        each.data += 0.05 * torch.randn_like(each)
        if name.endswith(".scale"):
            each.data.zero_()
    wide.load_state_dict(widened(narrow.state_dict(), wide))
    wanted, found = _answers(narrow, wide)
    assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_a_residual_branch_computes_what_it_did_but_for_its_norms():
    """LSTM gates, both directions, values and gates: each block of channels in its place."""
    torch.manual_seed(1)
    narrow, wide = (
        torch.nn.ModuleDict({"dconv": DConv(each, compress=2, depth=2, init=1.0, norm=False, lstm=True)})
        for each in (10, 14)
    )
    wide.load_state_dict(widened(narrow.state_dict(), wide))
    heard = torch.randn(2, 14, 40)
    with torch.inference_mode():
        wanted, found = narrow["dconv"](heard[:, :10]), wide["dconv"](heard)[:, :10]
    assert torch.allclose(wanted, found, atol=1e-5), "whatever the new channels hear"
    assert not torch.allclose(wanted, heard[:, :10], atol=1e-2), "or the branch adds nothing to see"


def test_new_channels_can_learn():
    torch.manual_seed(2)
    narrow, wide = network.build(growth=1.4), network.build()
    wide.load_state_dict(widened(narrow.state_dict(), wide))
    wide(torch.from_numpy(tones(3, 1.0).sum(0))[None]).square().mean().backward()
    reading = wide.decoder[2].rewrite.weight.grad[: narrow.decoder[2].rewrite.weight.shape[1]]
    assert reading[:, narrow.decoder[2].rewrite.weight.shape[1] :].abs().max() > 0


def test_a_run_begins_with_a_model_of_the_store_and_says_so_to_the_end(tmp_path: Path):
    """The origin goes through the run, one that starts from it, the mean and the export, onto the card."""
    run = Run.open(tmp_path, replace(COURSE, network={}), start=judging.BUNDLED)
    before = load_safetensors_model(judging.BUNDLED / "nano.safetensors").float()
    wanted, found = _answers(before, run.averaged)
    assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max(), "it is as wide as what is trained now"
    wider = network.build(growth=1.6)
    begin(wider, judging.BUNDLED)
    (grown,) = _answers(wider)
    assert 10 * np.log10(np.square(wanted).sum() / np.square(grown - wanted).sum()) > 10, "but for its norms"
    assert run.prior.model is not None and run.prior.model.startswith("nano ")
    run.save()
    assert Run.open(tmp_path, replace(COURSE, network={})).prior == run.prior, "a run that goes on knows it too"
    later = Run.open(tmp_path / "later", replace(COURSE, network={}), start=tmp_path / CHECKPOINT)
    assert later.prior.model == run.prior.model
    average([tmp_path / CHECKPOINT, judging.BUNDLED], tmp_path / "nearer.pt")
    near, same = network.build(), network.build()
    assert begin(near, tmp_path / "nearer.pt") == begin(same, tmp_path / CHECKPOINT), "where it began counts nothing"
    near, same = _answers(near, same)
    assert np.abs(near - same).max() < 1e-5 * np.abs(same).max(), "the run is where it began"
    with pytest.raises(StemdError, match="no run"):
        average([judging.BUNDLED], tmp_path / "none.pt")
    average([tmp_path / CHECKPOINT], tmp_path / "mean.pt")
    facts = export(tmp_path / "mean.pt", tmp_path / "nano", tmp_path)
    assert facts["origin"] == run.prior.model
    learnt = read_json(judging.BUNDLED / "training.json")["material"]
    for kind in ("songs", "shelves", "real", "credit"):
        assert facts["material"][kind] == learnt[kind], "the run itself, which never ran, adds nothing to it"
    assert run.prior.model in _beginning(facts["origin"]) and _beginning(None) == "From scratch"


def test_a_model_that_does_not_fit_is_refused(tmp_path: Path):
    with pytest.raises(StemdError, match="does not fit") as narrower:
        begin(network.build(growth=1.2), judging.BUNDLED)
    assert narrower.value.code == "STEMD-M004" and "wider than" in narrower.value.message
    with pytest.raises(StemdError, match="does not fit"):
        begin(network.build(depth=3), judging.BUNDLED)
