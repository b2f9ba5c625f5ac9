"""A power cut after every system call in the life of an album, on a disk that owes nothing beyond what was flushed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stemd.spool.layout import Spool
from tests.crash.albums import restart, wrong
from tests.crash.disk_model import Disk
from tests.crash.states import crash_states, explain, judge
from tests.crash.test_states import needs_strace, place
from tests.crash.trace import record
from tests.support.spools import make_spool

__all__ = ["place"]
pytestmark = needs_strace


def check(spool: Spool) -> list[str]:
    restart(spool)
    restart(spool)
    return wrong(spool)


def survey(place: Path, tally: Callable[..., None], scenario: str, check: Callable[[Spool], list[str]]) -> None:
    root = place / "traced"
    make_spool(root)
    disk = Disk.load(root)
    command = [sys.executable, "-B", "-m", "tests.crash.albums", str(root), scenario]
    operations = record(command, root, root.with_suffix(".strace"))
    states = list(crash_states(disk, operations, tally))
    spool = Spool(place / "spool")
    answers = judge(states, spool.root, lambda state: check(spool))
    bad = [explain(state, wrong) for state, wrong in zip(states, answers, strict=True) if wrong]
    tally("states of albums", states=len(states), violations=len(bad))
    assert len(states) > 100
    assert not bad, f"{len(bad)} of {len(states)}; the first: {bad[0]}"


@pytest.mark.parametrize("scenario", ["life", "given_up", "L4b", "L6b"])
def test_every_state_a_power_cut_can_leave_of_an_album_is_recovered(place, tally, scenario):
    survey(place, tally, scenario, check)


def test_so_is_one_whose_folder_was_carried_off(place, tally):
    """Its finished recording is in a folder of the same name, new, or went away with the old one."""

    def found_once(spool: Spool) -> list[str]:
        restart(spool)
        restart(spool)
        results = list(spool.root.glob("**/good/manifest.json"))
        work = [path.name for path in spool.work.iterdir()]
        return [] if len(results) == 1 and not work else [f"{len(results)} results, at work {work}"]

    survey(place, tally, "carried_off", found_once)
