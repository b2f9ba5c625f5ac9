"""The built-in list against its sources, and docs/models.md against the list."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stemd.engines import models
from stemd.engines.models import checksums, parse_bag

DOCS = Path(__file__).parents[4] / "docs" / "models.md"
BUILT_IN = list(models.BUILT_IN.values())


@pytest.mark.parametrize("model", BUILT_IN, ids=lambda model: model.name)
def test_a_row_is_whole(model):
    assert model.engine in models.KINDS
    assert len(set(model.stems)) == len(model.stems) >= 2
    assert model.licence
    assert model.terms.endswith(".")
    assert model.publisher
    assert model.size is None or model.size > 1_000_000
    assert model.weights in models.BUILT_IN
    if model.home is not None:
        assert model.home.startswith("https://")
        assert model.page.startswith(f"{model.home}/{model.repository}")
        assert model.path.startswith(f"{model.repository}/")
        assert model.paper.startswith("https://")


def test_variants_share_their_weights():
    for stems in (2, 4, 5):
        plain, wide = models.BUILT_IN[f"{stems}stems"], models.BUILT_IN[f"{stems}stems-16kHz"]
        assert wide.weights == plain.weights == plain.name
        assert wide.stems == plain.stems
        assert len(plain.stems) == stems


def test_demucs_models_are_where_demucs_looks_for_them():
    from demucs.hf import DEFAULT_NAMESPACE, hf_repo_name
    from demucs.pretrained import REMOTE_ROOT

    for model in BUILT_IN:
        if model.engine == "demucs" and model.repository:
            assert model.repository == f"{DEFAULT_NAMESPACE}/{hf_repo_name(model.name)}"
            path = REMOTE_ROOT / f"{model.name}.yaml"
            bag = parse_bag(path.read_bytes(), path.name)
            assert len(bag.members) == model.members
            known = checksums.FILES.get(model.name, {})
            assert set(known) <= {f"{member}.safetensors" for member in bag.members}


def test_the_known_pickles_are_those_that_demucs_names():
    """Each name ends in the first digits of its own sha256, and demucs lists the names."""
    from demucs.pretrained import REMOTE_ROOT

    listed = (REMOTE_ROOT / "files.txt").read_text().split()
    for digest, name in checksums.PICKLES.items():
        assert name in listed
        assert digest.startswith(Path(name).stem.rpartition("-")[2])


def test_sha256_are_whole_and_of_files_of_the_list():
    for weights, files in checksums.FILES.items():
        assert weights in models.BUILT_IN
        for digest in files.values():
            assert re.fullmatch("[0-9a-f]{64}", digest)
    assert len(set(checksums.PICKLES)) == 19


def row(model: models.Model) -> str:
    size = f"{model.size / 1e6:.0f} MB" if model.size else "not stated"
    page = f"[{model.repository}]({model.page})" if model.repository else model.page
    paper = f"[paper]({model.paper})" if model.paper else "–"
    checked = "yes" if model.weights in checksums.FILES or model.home is None else "no"
    cells = (f"`{model.name}`", model.engine, ", ".join(model.stems), size, model.licence, page, paper, checked)
    return f"| {' | '.join(cells)} |"


def test_the_table_in_the_docs_is_the_list():
    wanted = [row(model) for model in BUILT_IN]
    found = [line for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    assert found == wanted, "docs/models.md should have:\n" + "\n".join(wanted)


def test_the_docs_state_all_terms():
    text = " ".join(DOCS.read_text().split())
    for terms in {model.terms for model in BUILT_IN}:
        assert terms in text
