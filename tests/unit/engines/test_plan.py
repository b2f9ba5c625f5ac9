"""Which outputs a request gives."""

from __future__ import annotations

import pytest

from stemd.core.errors import StemdError
from stemd.engines.plan import Part, make_plan

FOUR = ("drums", "bass", "other", "vocals")


def names(plan):
    return tuple(part.name for part in plan.parts)


def test_all_of_the_models_stems():
    plan = make_plan(FOUR, 4)
    assert names(plan) == FOUR == plan.needed and not plan.uses_source


def test_two_is_vocals_and_the_exact_rest():
    plan = make_plan(FOUR, 2)
    assert plan.parts == (Part("vocals", "vocals"), Part("accompaniment", minus=("vocals",)))
    assert plan.needed == ("vocals",) and plan.uses_source
    assert names(make_plan(("vocals", "music"), 2)) == ("vocals", "music")


def test_a_list_keeps_its_order_and_needs_only_itself():
    plan = make_plan(FOUR, ("vocals", "bass"))
    assert names(plan) == ("vocals", "bass") and plan.needed == ("bass", "vocals")
    assert make_plan(FOUR, ("no_drums",)).needed == ("drums",)
    assert names(make_plan(FOUR, ("drums", "no_drums", "drums"))) == ("drums", "no_drums")


def test_residual_file():
    plan = make_plan(FOUR, ("vocals", "drums"), "file")
    assert plan.parts[-1] == Part("residual", minus=("vocals", "drums"))
    assert make_plan(FOUR, 2, "file") == make_plan(FOUR, 2)


def test_residual_goes_into_other():
    plan = make_plan(FOUR, 4, "other")
    assert plan.parts[2] == Part("other", minus=("drums", "bass", "vocals"))
    assert plan.needed == ("drums", "bass", "vocals")


@pytest.mark.parametrize("asked", [3, 5, 1, 0, ("guitar",), ("no_guitar",), ()])
def test_what_the_model_cannot_give(asked):
    with pytest.raises(StemdError) as caught:
        make_plan(FOUR, asked)
    assert caught.value.code == "STEMD-E003"
    assert "drums, bass, other, vocals" in caught.value.message


@pytest.mark.parametrize(("asked", "residual"), [(4, "maybe"), (("vocals",), "other"), (("other",), "other")])
def test_residual_that_cannot_be(asked, residual):
    with pytest.raises(StemdError) as caught:
        make_plan(FOUR, asked, residual)
    assert caught.value.code == "STEMD-E004"
