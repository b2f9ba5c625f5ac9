"""The error table: every row is complete, and every row happens.

A code nobody can provoke is either dead or untested; both end here.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stemd.core.errors import NEVER_RETRIED, TABLE, ErrorClass, Exit, Stage, StemdError
from tests.contract.provoke import PROVOCATIONS, Bench
from tests.support.daemon import Daemon

_EXITS = {value for name, value in vars(Exit).items() if name.isupper()} - {Exit.OK, Exit.INTERRUPTED}
_FAMILIES = "CSAMERPX"

#: Provocations that wait for a worker to load, or for a run to be killed.
_SLOW = {"STEMD-E005", "STEMD-E006", "STEMD-R001", "STEMD-R002"}


@pytest.mark.parametrize("row", TABLE.values(), ids=lambda row: row.code)
def test_a_row_says_what_a_person_needs(row):
    assert re.fullmatch(rf"STEMD-[{_FAMILIES}]\d{{3}}", row.code)
    assert row.summary.endswith(".")
    assert len(row.summary) > 15
    assert row.remedy.endswith(".") or row.remedy.endswith("`.")
    assert len(row.remedy) > 20
    assert row.remedy != row.summary
    assert row.exit in _EXITS
    assert row.error_class in ErrorClass
    assert row.stage in Stage
    assert row.retryable is (row.error_class not in NEVER_RETRIED)


def test_every_class_has_a_code():
    used = {row.error_class for row in TABLE.values()}
    assert set(ErrorClass) - used <= {ErrorClass.QUOTA}, "a class without a code is a word without a meaning"


@pytest.mark.parametrize("code", TABLE)
def test_an_error_survives_json(code):
    error = StemdError(code, "what happened", remedy="what to do", detail={"errno": 5})
    again = StemdError.from_dict(error.to_dict())
    assert again.to_dict() == error.to_dict()
    assert str(again) == f"{code}: what happened"


def test_an_unknown_code_is_our_bug_and_keeps_its_message():
    assert StemdError.from_dict({"code": "STEMD-Z999", "message": "from a newer worker"}).code == "STEMD-X001"
    assert (
        "from a newer worker" in StemdError.from_dict({"code": "STEMD-Z999", "message": "from a newer worker"}).message
    )


def test_the_source_raises_every_code_and_no_other():
    package = Path(__file__).parents[2] / "stemd"
    texts = (path.read_text() for path in package.rglob("*.py") if path.parts[-2:] != ("core", "errors.py"))
    assert {code for text in texts for code in re.findall(r"STEMD-[A-Z]\d{3}", text)} == set(TABLE)


def test_every_code_has_a_provocation():
    assert set(PROVOCATIONS) == set(TABLE)


@pytest.fixture(scope="module")
def shared() -> Iterator[Daemon]:
    """The one daemon, in a folder that other users can reach, started by the first provocation that needs it."""
    with tempfile.TemporaryDirectory(prefix="stemd-test-") as name:
        home = Path(name)
        home.chmod(0o755)
        daemon = Daemon(home, retry={"tries": 2, "base": "3s", "cap": "3s"})
        yield daemon
        daemon.__exit__()


@pytest.fixture
def bench(tmp_path: Path, public_path: Path, monkeypatch: pytest.MonkeyPatch, shared: Daemon) -> Bench:
    def running() -> Daemon:
        if shared.process is None:
            shared.start()
        return shared

    return Bench(tmp_path, public_path, monkeypatch, running)


_CASES = [pytest.param(code, marks=[pytest.mark.slow] if code in _SLOW else []) for code in TABLE]


@pytest.mark.parametrize("code", _CASES)
def test_a_code_is_what_a_person_gets_to_see(code, bench):
    if code not in PROVOCATIONS:
        pytest.fail(f"nothing provokes {code}")
    seen = PROVOCATIONS[code](bench)
    assert (seen.code, seen.exit) in {(code, None), (code, TABLE[code].exit)}, seen
    assert seen.message.strip()
    assert seen.message != TABLE[code].summary or code == "STEMD-P002", "the message must say what happened here"
    assert seen.remedy.strip()
