"""What the command line prints."""

from __future__ import annotations

import pytest

from stemd.cli import report


def test_columns_are_aligned_by_what_they_show():
    text = report.table(("NAME", "N", "NOTE"), [("日本", "1", "x"), ("e\u0301a", "10", ""), ("abc", "–", "y")])
    assert text.splitlines() == ["NAME   N  NOTE", "日本   1  x", "e\u0301a    10", "abc    –  y"]


def test_a_table_without_rows_is_its_header():
    assert report.table(("A", "B"), []) == "A  B"


@pytest.mark.parametrize(("seconds", "text"), [(None, ""), (0.4, "0:00"), (75, "1:15"), (3601, "1:00:01")])
def test_durations(seconds: float | None, text: str):
    assert report.duration(seconds) == text
