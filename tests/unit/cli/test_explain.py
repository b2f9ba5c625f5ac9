"""The pages of errors, and that docs/errors.md is made from the same table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from stemd.cli.explain import errors_markdown
from stemd.cli.main import main
from stemd.core.errors import TABLE

DOCS = Path(__file__).parents[3] / "docs" / "errors.md"


def explain(*words: str):
    return CliRunner().invoke(main, ["explain", *words])


@pytest.mark.parametrize("code", ["STEMD-S006", "stemd-s006", "S006", " s006 "])
def test_a_code_may_be_written_in_several_ways(code: str):
    result = explain(code)
    assert result.exit_code == 0
    row = TABLE["STEMD-S006"]
    assert row.summary in result.stdout
    assert row.remedy in result.stdout
    assert f"exit status {row.exit}" in result.stdout


def test_every_code_has_a_page():
    for code in TABLE:
        assert explain(code).exit_code == 0


def test_without_a_code_all_are_listed():
    assert all(code in explain().stdout for code in TABLE)
    assert [row["code"] for row in json.loads(explain("--json").stdout)["errors"]] == list(TABLE)


def test_an_unknown_code_is_a_usage_error():
    result = explain("S999")
    assert result.exit_code == 2
    assert "stemd explain" in result.stderr


def test_docs_errors_md_is_current():
    assert DOCS.read_text(encoding="utf-8") == errors_markdown(), "run `stemd explain --markdown > docs/errors.md`"
