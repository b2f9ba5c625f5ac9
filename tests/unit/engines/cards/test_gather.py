"""Which segments go together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stemd.engines.cards.gather import Gathering, Request


def taken(gathering, size):
    return [(part.request.kind, part.start, part.stop) for part in gathering.take(size)]


def test_of_several_jobs_together_in_the_order_in_which_they_came():
    gathering = Gathering()
    for count in (1, 2, 3):
        gathering.put(Request((0, 100), count))
    parts = gathering.take(4)
    assert [(part.request.count, len(part)) for part in parts] == [(1, 1), (2, 2), (3, 1)]
    assert [(part.start, part.stop) for part in gathering.take(4)] == [(1, 3)] and not gathering.take(4)


def test_only_what_is_of_one_kind():
    gathering = Gathering()
    for kind in ((0, 100), (1, 100), (0, 100), (0, 99)):
        gathering.put(Request(kind, 1))
    assert taken(gathering, 8) == [((0, 100), 0, 1)] * 2
    assert taken(gathering, 8) == [((1, 100), 0, 1)] and taken(gathering, 8) == [((0, 99), 0, 1)]


def test_a_long_one_does_not_keep_others_waiting():
    gathering, long, other = Gathering(), Request((0, 100), 9), Request((1, 100), 1)
    gathering.put(long)
    gathering.put(other)
    assert [gathering.take(4)[0].request for _ in range(3)] == [long, other, long]


def test_what_is_dropped_is_not_computed():
    gathering, gone = Gathering(), Request((0, 100), 9)
    gathering.put(gone)
    gathering.take(4)
    gathering.drop(gone)
    gathering.drop(gone)
    assert not gathering.take(4)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9)), max_size=12), st.integers(1, 6))
def test_each_segment_once(asked, size):
    gathering: Gathering[Request] = Gathering()
    requests = [Request((member, 100), count) for member, count in asked]
    for each in requests:
        gathering.put(each)
    seen: dict[Request, list[int]] = {each: [] for each in requests}
    while parts := gathering.take(size):
        assert 0 < sum(map(len, parts)) <= size and len({part.request.kind for part in parts}) == 1
        for part in parts:
            seen[part.request] += range(part.start, part.stop)
    assert all(seen[each] == list(range(each.count)) for each in requests)
