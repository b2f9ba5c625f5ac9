"""Escaping that cannot be forgotten, and outlines of any form."""

import json

import pytest

from stemd.ops.web.markup import document, h
from stemd.ops.web.waves import drawing, outlines

HOSTILE = [
    "<script>alert(1)</script>",
    '" onmouseover="x',
    "a\u202egnp.exe",
    "\x00\x1b[31m",
    "\udcff",
    "&amp;",
    "'><img>",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_text_stays_text(text):
    made = document(h("p", {"title": text}, text, [text, h("b", None, text)])).decode()
    assert "<script" not in made and "<img" not in made
    assert 'onmouseover="' not in made
    assert not {"\u202e", "\x00", "\x1b", "\udcff"} & set(made)
    assert made.count("<") == 5, "the doctype, and two elements"


def test_attributes_may_have_no_value_or_not_be_there():
    assert (
        str(h("button", {"hidden": True, "disabled": False, "id": None, "value": 0}))
        == '<button hidden value="0"></button>'
    )


@pytest.mark.parametrize("name", ["onclick", "style", "a b", "x>", ""])
def test_what_the_policy_forbids_is_not_made(name):
    with pytest.raises(AssertionError):
        h("p", {name: "x"})


FORM = {"version": 2, "channels": 2, "sample_rate": 10, "samples_per_pixel": 5, "bits": 16, "length": 2,
        "data": [-32768, 32767, -1, 1, 0, 16384, 0, 0], "stems": ["a", "b"]}  # fmt: skip


def test_outlines_are_told_apart_by_stem():
    a, b = outlines(json.dumps(FORM).encode())
    assert (a.stem, b.stem, a.seconds) == ("a", "b", 1.0)
    assert list(a.pairs) == [(-1.0, 32767 / 32768), (0.0, 0.5)]
    assert a.loudest == 1.0
    assert "M0 0.0L1 25.0" in str(drawing(a, 1.0))
    assert 'aria-label="Waveform of a"' in str(drawing(a, 1.0))


@pytest.mark.parametrize(
    "change",
    [
        {"channels": 3}, {"length": 1 << 40}, {"length": -1}, {"data": []}, {"data": ["x"] * 8}, {"data": [1e9] * 8},
        {"data": None}, {"stems": ["a"]}, {"stems": [1, 2]}, {"sample_rate": 0}, {"bits": "16"}, {"channels": True},
    ],
)  # fmt: skip
def test_a_changed_file_is_no_outline(change):
    assert outlines(json.dumps({**FORM, **change}).encode()) == []


@pytest.mark.parametrize("data", [None, b"", b"[]", b"{}", b"[" * 10_000, b"null"])
def test_what_is_no_outline_is_none(data):
    assert outlines(data) == []
