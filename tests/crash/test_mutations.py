"""The table of mutations in docs/crash-tests.md is that of this source, and nothing in it went unnoticed."""

from __future__ import annotations

import re

from tests.crash.mutate import PAGE, ROOT
from tests.crash.mutations import mutations


def test_every_guard_is_in_the_table_and_each_was_noticed():
    rows = dict(re.findall(r"^\| `([^`]+)` \| \S+ \| (.+) \|$", PAGE.read_text(), re.MULTILINE))
    names = {each.name.replace("|", "∣") for each in mutations(ROOT)}
    assert set(rows) == names, "run `python -m tests.crash.mutate`"
    assert [name for name, noticed_by in rows.items() if noticed_by == "**nothing**"] == []
