"""docs/observability.md has every metric and every event and no other, and for each a test that speaks of it."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from stemd.ops.metrics import Metrics

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "observability.md"
#: How the code tells of an event, and with which argument it names it.
LOGGERS = {"info": 0, "warning": 0, "error": 0, "critical": 0}
OWN = {"log": 0, "log_elsewhere": 0, "log_here": 1}


def rows(heading: str) -> dict[str, list[str]]:
    """The rows of the table below a heading, by the name in their first column."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    found = [(re.sub("[` ]", "", cells[0]), [cell.strip() for cell in cells]) for cells in lines]
    assert len(dict(found)) == len(found), "a name has two rows"
    return dict(found)


def test_every_metric_has_its_row_and_every_row_its_metric():
    assert set(rows("Metrics")) == {row.name + ("_total" if is_bare(row) else "") for row in Metrics.rows()}


def is_bare(row) -> bool:
    """A counter may be written down without its ending; it is always exported with it."""
    return row.kind.__name__ == "Counter" and not row.name.endswith("_total")


# ---- events


def test_every_event_has_its_row_and_every_row_its_event():
    told = {event for path in (ROOT / "stemd").glob("**/*.py") for event in events(ast.parse(path.read_text()))}
    assert len(told) > 70
    assert set(rows("Events of the log")) == told


def events(module: ast.Module) -> Iterator[str]:
    """The names of the events that a module tells of."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            ours = LOGGERS if is_logger(node.func.value) else OWN
            place = ours.get(node.func.attr)
            if place is not None and len(node.args) > place:
                yield from named(node.args[place], module)


def is_logger(node: ast.expr) -> bool:
    """``logs.get()``, and ``get()`` in the module itself."""
    return isinstance(node, ast.Call) and ast.unparse(node.func) in {"logs.get", "get"}


def named(node: ast.expr, module: ast.Module) -> list[str]:
    """The name that an argument is: a word, one of two, or a variable that is given such."""
    match node:
        case ast.Constant(value=str(word)):
            return [word]
        case ast.IfExp(body=one, orelse=other):
            return [*named(one, module), *named(other, module)]
        case ast.Name(id=name):
            given = [each for each in ast.walk(module) if isinstance(each, ast.Assign)]
            return [
                word for each in given if [ast.unparse(t) for t in each.targets] == [name]
                for word in named(each.value, module)
            ]  # fmt: skip
    return []


def test_the_code_is_read_as_it_is_written():
    code = (
        'live.log("a")\nlogs.get().info("b", x=1)\ne = "c" if last else "d"\nlogs.get().error(e)\nself.log_here(p, "f")'
    )
    assert list(events(ast.parse(code))) == ["a", "b", "c", "d", "f"]
    assert list(events(ast.parse('self.info("x")\nmath.log(2)\nlive.log(event)'))) == []


# ---- their tests


@pytest.mark.parametrize("heading", ["Metrics", "Events of the log"])
def test_every_row_names_a_test_that_is_there_and_speaks_of_it(heading):
    for name, cells in rows(heading).items():
        found = re.fullmatch(r"`(tests/(?:\w+/)*(?:test_|guest)\w*\.py)::(\w+)`", cells[-1])
        assert found, f"{name} has no test"
        words = {name, *(f"{name}_{end}" for end in ("count", "sum", "bucket"))}
        assert words & mentioned(*found.groups()), f"{found[0]} does not speak of {name}"


@cache
def mentioned(path: str, function: str) -> set[str]:
    """The words in a test, and in what of its file is no test (helpers, tables)."""
    text = (ROOT / path).read_text()
    module = ast.parse(text)
    tests = {each.name: each for each in module.body if isinstance(each, ast.FunctionDef) and is_test(path, each.name)}
    assert function in tests, f"there is no {path}::{function}"
    lines = text.splitlines()
    for name, test in tests.items():
        if name != function:
            first = min([test.lineno, *(each.lineno for each in test.decorator_list)])
            lines[first - 1 : test.end_lineno] = [""] * (test.end_lineno - first + 1)
    return set(re.findall(r"\w+", "\n".join(lines)))


def is_test(path: str, name: str) -> bool:
    """The checks of a virtual machine are functions of a program that runs inside it."""
    return name.startswith("test_") or "guest" in path
