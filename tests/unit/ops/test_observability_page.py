"""docs/observability.md has every metric, no other, and a test for each that is there."""

import re
from pathlib import Path

import pytest

from stemd.ops.metrics import Metrics

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "observability.md"


def rows(heading: str) -> dict[str, list[str]]:
    """The rows of the table below a heading, by the name in their first column."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return {re.sub("[` ]", "", cells[0]): [cell.strip() for cell in cells] for cells in lines}


def test_every_metric_has_its_row_and_every_row_its_metric():
    assert set(rows("Metrics")) == {row.name + ("_total" if is_bare(row) else "") for row in Metrics.rows()}


def is_bare(row) -> bool:
    """A counter may be written down without its ending; it is always exported with it."""
    return row.kind.__name__ == "Counter" and not row.name.endswith("_total")


@pytest.mark.parametrize("heading", ["Metrics"])
def test_every_row_names_a_test_that_is_there(heading):
    for name, cells in rows(heading).items():
        found = re.findall(r"`(tests/\S+?\.py)(?:::(\w+))?`", cells[-1])
        assert found, name
        for path, function in found:
            assert (ROOT / path).is_file(), path
            assert f"def {function or 'test_'}" in (ROOT / path).read_text(), f"{path}::{function}"


def test_every_event_has_its_row_and_every_row_its_event():
    code = "\n".join(path.read_text() for path in (ROOT / "stemd").glob("**/*.py"))
    told = set(re.findall(r'(?:\.log|logs\.get\(\)\.\w+)\(\s*"(\w+)"', code)) | {"alert_delayed"}
    assert len(told) > 40
    assert set(rows("Events of the log")) == told
