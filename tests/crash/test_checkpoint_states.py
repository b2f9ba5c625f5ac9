"""A power cut while a long recording is separated, or a mix made: a checkpoint that was counted is there and good."""

from __future__ import annotations

import pytest

from stemd.spool.layout import Spool
from tests.crash.scenarios import chunk_store, mix_shelf
from tests.crash.states import crash_states, explain, judge
from tests.crash.test_states import needs_strace, place, trace

__all__ = ["place"]

pytestmark = needs_strace


STORES = {"chunked": chunk_store, "mixed": mix_shelf}


def check(spool: Spool, scenario: str) -> list[str]:
    found = []
    for work in spool.jobs():
        if work.chunks.is_dir():
            counted = work.attempts.read_bytes().count(b'"checkpoint"')
            store = STORES[scenario](work)
            store.open()
            if store.count < counted:
                found.append(f"{counted} checkpoints were counted, {store.count} are good: {store.discarded}")
    return found


def survey(place, tally, scenario: str, without: str = "") -> list[str]:
    disk, operations = trace(place / "traced", "drop", scenario, without=without)
    states = list(crash_states(disk, operations, tally))
    spool = Spool(place / "spool")
    answers = judge(states, spool.root, lambda state: check(spool, scenario))
    bad = [explain(state, wrong) for state, wrong in zip(states, answers, strict=True) if wrong]
    tally("states", states=len(states), violations=len(bad))
    return bad


@pytest.mark.parametrize("scenario", STORES)
def test_a_checkpoint_that_was_counted_is_there(place, tally, scenario):
    bad = survey(place, tally, scenario)
    assert not bad, f"{len(bad)} states; the first: {bad[0]}"


@pytest.mark.parametrize(
    ("scenario", "without"),
    [
        ("chunked", "_close_chunk:work/*/chunks/*.f32.part"),
        ("mixed", "put:work/*/chunks/*.f32.part"),
        *((each, f"_write_index:work/*/chunks{path}") for each in STORES for path in ("/*.json.part", "")),
    ],
)
def test_a_missing_flush_is_seen(place, scenario, without):
    assert survey(place, lambda kind, **numbers: None, scenario, without)
