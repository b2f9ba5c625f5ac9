"""What follows from a look at a worker."""

from __future__ import annotations

import pytest

from stemd.core.errors import StemdError
from stemd.core.job import Limits
from stemd.core.limits import Action, Budget, Limit, Usage, breaches, explained, shown

ALL = Limits(memory=1 << 30, cpu=2.0, disk=1 << 30, time=60.0, pids=100)
WITHIN = Usage(memory=1 << 30, disk=1 << 30, tasks=100, cpu_seconds=1e6)
MUCH = Usage(memory=(1 << 30) + 1, disk=(1 << 30) + 1, tasks=101)


def test_nothing_is_said_of_what_stays_within():
    assert breaches(ALL, WITHIN, 60.0) == []


def test_without_limits_there_is_nothing_to_breach():
    assert breaches(Limits(), MUCH, 1e9) == []


def test_each_limit_that_is_exceeded_stops_with_its_own_cause():
    found = breaches(ALL, MUCH, 60.1)
    assert {each.limit for each in found} == {Limit.TIME, Limit.MEMORY, Limit.DISK, Limit.PIDS}
    assert {each.action for each in found} == {Action.STOPPED}
    codes = {each.limit: each.error.code for each in found if each.error}
    assert codes == {
        Limit.TIME: "STEMD-R002", Limit.MEMORY: "STEMD-R001", Limit.DISK: "STEMD-R007", Limit.PIDS: "STEMD-R008",
    }  # fmt: skip


def test_what_the_kernel_enforces_is_left_to_it():
    found = breaches(ALL, MUCH, 60.1, frozenset({Limit.MEMORY, Limit.PIDS}))
    assert {each.limit for each in found} == {Limit.TIME, Limit.DISK}


def test_a_run_that_has_not_begun_has_no_time_and_one_without_a_job_no_folder():
    assert breaches(ALL, Usage(), None) == []


def test_what_slows_a_run_down_is_told_and_does_not_stop_it():
    slow = Usage(slowed=0.5, pressure=60.0, refused=3)
    found = breaches(ALL, slow, 1.0, frozenset(Limit))
    assert {(each.limit, each.action) for each in found} == {
        (Limit.CPU, Action.THROTTLED), (Limit.MEMORY, Action.THROTTLED), (Limit.PIDS, Action.THROTTLED),
    }  # fmt: skip
    assert [each.error for each in found] == [None] * 3
    assert breaches(ALL, Usage(slowed=0.05, pressure=5.0), 1.0, frozenset(Limit)) == []


DEATH = StemdError("STEMD-E005", "the worker ended with signal SIGKILL")


@pytest.mark.parametrize(
    ("usage", "code", "says"),
    [
        (Usage(ooms=2, at_limit=1), "STEMD-R001", "limit of 1GiB"),
        (Usage(ooms=1), "STEMD-R001", "the machine"),
        (Usage(refused=2), "STEMD-R008", "100 processes and threads"),
        (Usage(), "STEMD-E005", "signal SIGKILL"),
    ],
)
def test_a_death_is_explained_by_what_the_kernel_counted(usage, code, says):
    error = explained(DEATH, ALL, usage)
    assert error.code == code
    assert says in error.message


def test_an_error_that_names_its_cause_keeps_it():
    known = StemdError("STEMD-A001", "no audio")
    assert explained(known, ALL, Usage(ooms=1, refused=1)) is known


def test_cpu_time_beyond_the_limit_is_rested_off():
    budget = Budget()
    assert budget.spend(1.0, 2.0, 1.0)
    assert not budget.spend(1.0, 0.0, 1.0), "as long as it worked too much"
    for _ in range(100):
        budget.spend(1.0, 0.0, 1.0)
    assert budget.spend(1.0, 2.5, 1.0), "of idle time only a second is kept"


def test_over_time_the_budget_holds_the_limit():
    budget, used, resting = Budget(), 0.0, False
    for _ in range(1000):
        spent = 0.0 if resting else 2.0
        used += spent
        resting = budget.spend(1.0, spent, 0.3)
    assert used == pytest.approx(300, abs=5)


@pytest.mark.parametrize(
    ("count", "text"),
    [(6 << 30, "6GiB"), (512 << 20, "512MiB"), (1_234_567_890, "1.15 GiB"), (800_000_123, "763 MiB"), (7, "7 bytes")],
)
def test_sizes_are_short_and_limits_exact(count, text):
    assert shown(count) == text
