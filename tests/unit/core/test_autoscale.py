"""The machine shared out: never more than there is, everyone with work gets some, and the reason is told."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemd.core.autoscale import Demand, Direction, Host, Reason, Target, direction, plan, share, wanted

GIB = 1 << 30
ROOMY = Host(cores=8, memory=64 * GIB)


def one(host=ROOMY, **facts):
    return plan(host, [Demand("demucs", **{"memory": GIB, **facts})])["demucs"]


@pytest.mark.parametrize(
    ("facts", "workers", "reason"),
    [
        ({}, 0, Reason.IDLE),
        ({"least": 2}, 2, Reason.MINIMUM),
        ({"live": 3, "warm": 3}, 3, Reason.WARM),
        ({"live": 3, "warm": 1}, 1, Reason.WARM),
        ({"live": 3, "warm": 0, "least": 1}, 1, Reason.MINIMUM),
        ({"waiting": 1, "most": 4}, 1, Reason.QUEUE),
        ({"waiting": 3, "running": 1, "most": 4}, 4, Reason.QUEUE),
        ({"waiting": 9, "most": 4}, 4, Reason.MAXIMUM),
        ({"waiting": 99, "most": 99}, 8, Reason.CORES),
        ({"waiting": 99, "most": 8, "memory": 20 * GIB}, 3, Reason.MEMORY),
        ({"least": 3, "memory": 30 * GIB}, 2, Reason.MEMORY),
        ({"waiting": 1, "memory": 90 * GIB}, 1, Reason.QUEUE),
        ({"short_of_disk": True}, 0, Reason.DISK),
    ],
)
def test_one_engine(facts, workers, reason):
    target = one(**facts)
    assert (target.workers, target.reason) == (workers, reason)


def test_under_pressure_nothing_is_added_but_nobody_is_left_without_any():
    strained = Host(8, 64 * GIB, strained=True)
    assert one(strained, waiting=9, most=4, live=2, warm=2) == Target(2, Reason.PRESSURE, 2)
    two = plan(strained, [Demand("a", waiting=5, most=4, live=2, warm=2), Demand("b", waiting=5, most=4)])
    assert [two[name].workers for name in "ab"] == [2, 1]


@pytest.mark.parametrize(
    ("jobs", "cores", "workers"), [(0, 2, 0), (1, 2, 1), (3, 2, 1), (4, 2, 2), (90, 2, 2), (1, 32, 1), (8, 32, 8),
                                   (9, 32, 8), (20, 32, 10), (90, 32, 32), (90, 1, 1)],
)  # fmt: skip
def test_auto_goes_down_to_one_core_a_job_where_the_queue_is_long(jobs, cores, workers):
    assert wanted(Demand("demucs", waiting=jobs), cores) == workers


def test_auto_is_one_where_two_would_be_in_each_other_s_way():
    assert wanted(Demand("demucs", waiting=90, alone=True), 32) == 1
    assert wanted(Demand("demucs", waiting=90, alone=True, most=3), 32) == 3, "the operator knows better"


def test_a_single_job_has_all_cores_and_fixed_workers_have_equal_shares():
    single = Demand("demucs", waiting=1)
    assert share(single, ROOMY, [single]) == 8
    long = Demand("demucs", waiting=99)
    assert share(long, ROOMY, [long]) == 1
    assert share(single, ROOMY, [single, Demand("mix", waiting=1)]) == 4
    fixed = Demand("demucs", waiting=1, most=3)
    assert share(fixed, ROOMY, [fixed]) == 2
    assert share(Demand("demucs", waiting=1, most=99), ROOMY, []) == 1


def test_which_way_it_goes():
    assert [direction(*pair) for pair in ((1, 2), (2, 1), (1, 1))] == [Direction.UP, Direction.DOWN, None]


numbers = st.integers(0, 40)
demands = st.builds(
    Demand,
    engine=st.just("x"),
    waiting=numbers,
    running=numbers,
    least=st.integers(0, 3),
    most=st.none() | st.integers(1, 12),
    live=st.just(0),
    memory=st.integers(1, 8 * GIB),
    alone=st.booleans(),
)
hosts = st.builds(Host, cores=st.integers(1, 64), memory=st.integers(0, 256 * GIB), strained=st.booleans())


def named(found):
    return [replace(each, engine=f"e{number}") for number, each in enumerate(found)]


@given(hosts, st.lists(demands, min_size=1, max_size=4).map(named))
def test_nothing_is_given_out_twice(host, asked):
    targets = plan(host, asked)
    taken = sum(targets[each.engine].workers * each.memory for each in asked)
    assert taken <= host.memory or sum(target.workers for target in targets.values()) == 1, "but for a single one"
    at_work = sum(min(targets[each.engine].workers, each.jobs) for each in asked)
    kept = sum(min(each.least, each.jobs) for each in asked)
    assert at_work <= max(host.cores, kept)
    for each in asked:
        most = max(each.least, each.jobs if each.most is None else min(each.jobs, each.most))
        assert targets[each.engine].workers <= most


@given(st.lists(demands, min_size=1, max_size=4).map(named))
def test_every_engine_with_jobs_gets_a_worker_where_there_is_room(asked):
    targets = plan(Host(cores=64, memory=1 << 40), asked)
    assert all(targets[each.engine].workers >= 1 for each in asked if each.jobs)


@given(hosts, st.lists(demands, min_size=1, max_size=4).map(named))
def test_as_many_jobs_as_are_meant_to_run_side_by_side_find_their_cores(host, asked):
    automatic = [each for each in asked if each.most is None and each.jobs]
    together = sum(wanted(each, host.cores) * share(each, host, automatic) for each in automatic)
    assert together <= max(host.cores, sum(wanted(each, host.cores) for each in automatic))
