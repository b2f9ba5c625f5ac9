"""YAML and JSON with places: right values, right marks, bounded cost."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemd.core.config import tree

text = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cn"]))
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
keys = st.text("abcé😀 ", min_size=1, max_size=5)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)


def laughs() -> bytes:
    """Nine lists of nine aliases of the list before: 9⁹ values if they were all followed."""
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for before, name in zip("abcdefghi", "bcdefghij", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    return "\n".join(lines).encode()


@given(values, st.booleans(), st.sampled_from([None, 2, "\t"]))
def test_any_json_is_read_as_json_reads_it(value: object, ascii_only: bool, indent: int | str | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    document = tree.read(text.encode(), "job.json", 1 << 20)
    assert document.faults == []
    assert document.data == json.loads(text)


def test_scalars_are_those_of_yaml_1_2() -> None:
    document = tree.read(
        b"[NO, yes, off, 0640, 12:30, 2024-01-01, ~, true, 5, 2.5, 1e3, '7', 1_000, <<]", "x.yaml", 999
    )
    expected = ["NO", "yes", "off", "0640", "12:30", "2024-01-01", None, True, 5, 2.5, 1000.0, "7", "1_000", "<<"]
    assert document.data == expected


def test_marks_are_lines_and_columns_from_one() -> None:
    document = tree.read(b"a: 1\nb:\n  - x\n  - {c: y}\n", "x.yaml", 999)
    mark = document.marks[("b", 1, "c")]
    assert (mark.line, mark.column, mark.key_line, mark.key_column) == (4, 9, 4, 6)
    assert str(document.marks[("a",)]) == "x.yaml:1:4"


def test_anchors_are_followed() -> None:
    document = tree.read(b"a: &x {k: 1}\nb: *x\n", "x.yaml", 999)
    assert document.data == {"a": {"k": 1}, "b": {"k": 1}}


@pytest.mark.parametrize(
    ("text", "place", "word"),
    [
        (b"a: [1\nb: 2\n", "2:2", "not valid YAML"),
        (b"a: 1\na: 2\n", "2:1", "twice"),
        (b"a: \xff\n", "1:4", "UTF-8"),
        (b"a: 1\nb: \x01\n", "2:4", "control"),
        (b"a: 1\n---\nb: 2\n", "2:1", "YAML"),
        (b"a: !!python/object/apply:os.system [x]\nb: !foo x", "2:4", "tag"),
        (b"a: *nothing", "1:4", "alias"),
    ],
)
def test_faults_have_their_place(text: bytes, place: str, word: str) -> None:
    faults = tree.read(text, "x.yaml", 999).faults
    assert any(str(fault).startswith(f"x.yaml:{place}: ") and word in fault.message for fault in faults), faults


@pytest.mark.parametrize(
    "hostile",
    [
        laughs(),
        b"[" * 100_000,
        b"{a: " * 50_000,
        b"a: &a [*a]",
        b"- " * 100_000,
        b"a: " + b"9" * 5000,
        b"a: 1e999",
        b"x" * (1 << 20),
        b"a: &x " + b"z" * 100_000 + b"\nb: [*x, *x, *x, *x, *x]",
        b"a: &x {" + b"k" * 900 + b": 1}\nb: [" + b", ".join([b"*x"] * 600) + b"]",
    ],
    ids=[
        "laughs",
        "deep list",
        "deep mapping",
        "itself",
        "deep block",
        "long number",
        "infinity",
        "large",
        "text",
        "keys",
    ],
)
def test_hostile_files_cost_nothing(hostile: bytes) -> None:
    began = time.process_time()
    document = tree.read(hostile, "x.yaml", 512 * 1024)
    assert document.faults
    assert time.process_time() - began < 3


@pytest.mark.parametrize(
    "text", [b'{"a": 1, "a": 2}', b'{"a": NaN}', b'{"a": 1e999}', b"{a: 1}", b"[" * 100_000, b'{"a": 1} x']
)
def test_json_is_strict(text: bytes) -> None:
    assert tree.read(text, "job.json", 1 << 20).faults
