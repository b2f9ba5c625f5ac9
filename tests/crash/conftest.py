"""Counts of what the crash tests went through, printed at the end of a test run, also of one in several processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

_counts = pytest.StashKey[dict[str, Counter[str]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_counts] = {}


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Callable[..., None]:
    """``tally("states", points=12, states=340)`` adds to the line ``crash suite: states: …`` of the summary."""
    counts = request.config.stash[_counts]

    def add(kind: str, **numbers: int) -> None:
        counts.setdefault(kind, Counter()).update(numbers)

    return add


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["tally"] = {
            kind: dict(each) for kind, each in session.config.stash[_counts].items()
        }


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    for kind, numbers in getattr(node, "workeroutput", {}).get("tally", {}).items():
        node.config.stash[_counts].setdefault(kind, Counter()).update(numbers)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for kind, numbers in config.stash[_counts].items():
        line = ", ".join(f"{number} {name}" for name, number in numbers.items())
        terminalreporter.write_line(f"crash suite: {kind}: {line}")
