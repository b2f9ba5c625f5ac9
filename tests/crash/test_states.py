"""A power cut after every system call, on a disk that owes nothing beyond what was flushed, then recovery.

Each scenario runs once under strace; the model of tests/crash/disk_model.py says what the disk may hold after each
call; each such state is made real, recovered twice as a restarted daemon does, and checked.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stemd.spool import attempts, durable, recover
from stemd.spool.layout import Spool, WorkDir
from tests.crash.disk_model import Disk
from tests.crash.scenarios import EXTRA, SOURCE, restart
from tests.crash.states import State, crash_states, explain, judge
from tests.crash.trace import Operation, record
from tests.support.spools import make_spool, violations

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="the strace program is not installed")
pytestmark = needs_strace

_SHM = Path("/dev/shm")
_AT_WORK = {recover.Found.CLAIMED, recover.Found.WORKING, recover.Found.STAGED}


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder in memory, where there is one: its flushes cost nothing."""
    with tempfile.TemporaryDirectory(dir=_SHM if os.access(_SHM, os.W_OK) else None) as folder:
        yield Path(folder)


def trace(
    root: Path, arrival: str, scenario: str, *, without: str = "", inject: str | None = None
) -> tuple[Disk, list[Operation]]:
    """The disk before the scenario, and what the scenario did to it."""
    make_spool(root)
    disk = Disk.load(root)
    os.environ |= {"STEMD_TEST_WITHOUT": without, "STEMD_TEST_SETTINGS": json.dumps(EXTRA)}
    command = [sys.executable, "-B", "-m", "tests.crash.run_scenario", str(root), arrival, scenario]
    return disk, record(command, root, root.with_suffix(".strace"), inject=inject)


def check(spool: Spool, state: State, sources: list[bytes], described: bool) -> list[str]:
    """Recover a spool, twice, and look at the invariants before and after."""
    found = [f"before recovery: {fault}" for fault in violations(spool, [], idle=False) if fault.startswith("I2")]
    started = [work for work in spool.jobs() if recover.classify(work) in _AT_WORK and "follows" not in _origin(work)]
    counts = [attempts.read(work.attempts) for work in started]
    found += [
        f"I6: {count.starts} of {state.starts} starts are counted" for count in counts if count.starts < state.starts
    ]
    restart(spool)
    restart(spool)
    found += [*violations(spool, sources), *_torn(spool)]
    ends = [*spool.outbox.glob("*/*/manifest.json"), *spool.orphan.glob("*/*/error.json")]
    if len(ends) != (2 if "defaults.next" in EXTRA else 1):
        found.append(f"{len(ends)} results and failures")
    if state.retried and list(spool.orphan.glob("*/*/error.json")):
        found.append("a retry that was accepted is forgotten")
    for result in spool.outbox.glob("*/*/manifest.json"):
        log = result.with_name("job.log.jsonl")
        if not log.exists() or not log.read_text(errors="replace").endswith("log\n"):
            found.append("I2: the job's log is not with its result, or torn")
        depth = json.loads(result.read_text())["settings"]["output"]["bit_depth"]
        if described and depth != "16":
            found.append("the job ran without what was asked for beside it")
    if left := [path.name for path in spool.inbox.iterdir()]:
        found.append(f"left in the inbox: {left}")
    if (spool.orphan / "_unknown").exists():
        found.append("S11: something was not understood")
    return found


def _origin(work: WorkDir) -> dict[str, object]:
    return durable.read_json(work.origin) or {}


def _torn(spool: Spool) -> Iterator[str]:
    """What was handed out without being whole, or with what was only ours: sidecars, reports, temporary files."""
    for path in [*spool.outbox.glob("*/*/*"), *spool.orphan.glob("*/*/*")]:
        if path.suffix == ".json":
            try:
                json.loads(path.read_bytes())
            except ValueError:
                yield f"I2: {path.name} is torn"
        elif path.name == "error.txt" and not path.read_text().endswith("\n"):
            yield "I3: error.txt is torn"
        elif path.name.startswith("."):
            yield f"I8: {path.name} was handed out"


def survey(
    place: Path,
    tally: Callable[..., None],
    arrival: str,
    scenario: str,
    *,
    without: str = "",
    inject: str | None = None,
    promised: bool = False,
) -> list[str]:
    """Run one scenario and judge every state it can leave; what is wrong with the bad ones."""
    disk, operations = trace(place / "traced", arrival, scenario, without=without, inject=inject)
    states = list(crash_states(disk, operations, tally, promised=promised))
    sources = [SOURCE] if EXTRA.get("defaults.source", "keep") == "keep" else []
    spool = Spool(place / "spool")

    def verdict(state: State) -> list[str]:
        return check(spool, state, sources, arrival == "drop_described")

    answers = judge(states, spool.root, verdict)
    bad = [explain(state, wrong) for state, wrong in zip(states, answers, strict=True) if wrong]
    tally("states", states=len(states), violations=len(bad))
    assert len(states) > 40
    return bad


@pytest.mark.parametrize("arrival", ["drop", "drop_staged"])
@pytest.mark.parametrize("keep", ["keep", "delete"])
@pytest.mark.parametrize("scenario", ["whole", "failing", "failing_late", "retried", "retried_early"])
def test_every_state_a_power_cut_can_leave_is_recovered(place, monkeypatch, tally, arrival, scenario, keep):
    monkeypatch.setitem(EXTRA, "defaults.source", keep)
    bad = survey(place, tally, arrival, scenario)
    assert not bad, f"{len(bad)} states; the first: {bad[0]}"


@pytest.mark.parametrize("scenario", ["whole", "whole@P3"])
def test_so_is_one_that_another_job_follows(place, monkeypatch, tally, scenario):
    monkeypatch.setitem(EXTRA, "inboxes.mixes.engine", "mix")
    monkeypatch.setitem(EXTRA, "defaults.next", "mixes")
    bad = survey(place, tally, "drop", scenario)
    assert not bad, f"{len(bad)} states; the first: {bad[0]}"


@pytest.mark.parametrize("scenario", ["whole", "failing"])
def test_so_is_one_of_a_recording_with_a_description_beside_it(place, tally, scenario):
    bad = survey(place, tally, "drop_described", scenario)
    assert not bad, f"{len(bad)} states; the first: {bad[0]}"


def test_so_is_one_of_a_file_with_a_second_name(place, tally):
    bad = survey(place, tally, "drop_linked", "whole")
    assert not bad, f"{len(bad)} states; the first: {bad[0]}"


@pytest.mark.parametrize(
    "scenario",
    ["whole@C2", "whole@C4+2", "whole@P0", "whole@P1", "whole@P2", "whole@P3a+2", "failing_late@U1+4", "retried@Y1"],
)
def test_so_is_one_after_a_kill_and_a_restart(place, tally, scenario):
    bad = survey(place, tally, "drop", scenario)
    assert not bad, f"{len(bad)} states; the first: {bad[0]}"


def test_so_is_one_where_renames_that_never_replace_are_missing(place, tally):
    bad = survey(place, tally, "drop", "whole", inject="renameat2:error=EINVAL")
    assert not bad, f"{len(bad)} states; the first: {bad[0]}"


def test_so_is_one_after_a_kill_between_the_two_names_of_a_rename_in_two_steps(place, tally):
    for scenario in ("whole@C1+1", "whole@C3+1"):
        folder = place / scenario
        folder.mkdir()
        bad = survey(folder, tally, "drop_described", scenario, inject="renameat2:error=EINVAL")
        assert not bad, f"{len(bad)} states; the first: {bad[0]}"


def test_so_is_one_of_a_sealed_job_that_still_has_its_name_in_the_inbox(place, tally):
    bad = survey(place, tally, "at_work_with_two_names", "nothing", promised=True)
    assert not bad, f"{len(bad)} states; the first: {bad[0]}"


def test_what_is_put_aside_is_whole_in_every_state(place, tally):
    """Not by ``survey``: nothing comes of it, and it must be left as it is."""
    disk, operations = trace(place / "traced", "drop_unknown", "nothing")
    spool = Spool(place / "spool")

    def verdict(state: State) -> list[str]:
        restart(spool)
        restart(spool)
        found = [path for path in spool.root.rglob("precious") if path.read_bytes() == SOURCE]
        return [] if len(found) == 1 else [f"found {len(found)} times"]

    states = list(crash_states(disk, operations, tally, promised=True))
    answers = judge(states, spool.root, verdict)
    bad = [explain(state, wrong) for state, wrong in zip(states, answers, strict=True) if wrong]
    tally("states", states=len(states), violations=len(bad))
    assert len(states) > 5
    assert not bad, f"{len(bad)} states; the first: {bad[0]}"


@pytest.mark.parametrize(
    ("arrival", "without"),
    [
        ("drop", "prepare:work"),
        ("drop", "claim:work/*/src"),
        ("drop", "confirm:outbox/*"),
        ("drop_linked", "_make_private:work/*/private"),
    ],
)
def test_a_missing_flush_is_seen(place, arrival, without):
    assert survey(place, lambda kind, **numbers: None, arrival, "whole", without=without)
