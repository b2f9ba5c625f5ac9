"""Who is next."""

from __future__ import annotations

from collections import Counter
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from stemd.core.fairness import Shares, Waiting


def job(key: str, user: str = "ana", priority: int = 5, since: float = 0.0, cost: float = 60.0) -> Waiting:
    return Waiting(key, user, priority, since, cost)


def keys(waiting, shares=None, now=0.0, aging=1800.0):
    return [each.key for each in (shares or Shares()).order(waiting, now, aging)]


def test_one_user_is_served_in_the_order_of_arrival():
    assert keys([job("b", since=2), job("a", since=1), job("c", since=3)]) == ["a", "b", "c"]


def test_the_urgent_come_first():
    assert keys([job("usual"), job("late", priority=9), job("first", priority=0, since=5)], now=6) == [
        "first", "usual", "late",
    ]  # fmt: skip


def test_users_take_turns_however_much_one_of_them_drops():
    album = [job(f"a{n}", "ana", since=n) for n in range(6)]
    assert keys([*album, job("b0", "ben", since=100), job("b1", "ben", since=101)], now=102) == [
        "a0", "b0", "a1", "b1", "a2", "a3", "a4", "a5",
    ]  # fmt: skip


def test_turns_are_of_audio_not_of_files():
    hours, songs = [job("hour", "ana", cost=3600)] * 2, [job("song", "ben", since=1, cost=180)] * 20
    assert keys([*hours, *songs], now=2) == ["hour", *["song"] * 20, "hour"]


def test_what_was_given_before_counts():
    shares = Shares()
    shares.started("ana", 600)
    assert keys([job("a", "ana"), job("b", "ben", since=9)], shares, now=10) == ["b", "a"]


def test_who_comes_while_another_s_jobs_run_is_next():
    shares = Shares()
    for _ in range(2):
        assert keys([job("blocker")], shares)
        shares.started("ana", 60)
    assert keys([job("a0")], shares) == ["a0"]
    assert keys([job("a0"), job("b0", "ben", since=1)], shares, now=2) == ["b0", "a0"]


def test_who_was_away_does_not_catch_up():
    shares = Shares()
    for _ in range(100):
        assert list(shares.order([job("a", "ana")], 0, 1800))
        shares.started("ana", 60)
    both = [job(f"a{n}", "ana") for n in range(10)] + [job(f"b{n}", "ben", since=1) for n in range(10)]
    first = Counter(each.user for each in islice(shares.order(both, 2, 1800), 10))
    assert first == {"ana": 5, "ben": 5}


def test_urgency_does_not_reset_what_one_was_given():
    shares = Shares()
    for _ in range(5):
        assert keys([job("now", "ana", priority=0), job("b", "ben")], shares)[0] == "now"
        shares.started("ana", 60)
    assert keys([job(f"a{n}", "ana") for n in range(3)] + [job(f"b{n}", "ben", since=1) for n in range(6)], shares) == [
        *(f"b{n}" for n in range(5)), "a0", "b5", "a1", "a2",
    ]  # fmt: skip


def test_nobody_waits_for_ever():
    old = job("old", "ben", priority=9, since=0)
    urgent = [job(f"u{n}", "ana", priority=0, since=16_000.0 + n) for n in range(3)]
    assert keys([old, *urgent], now=1000)[-1] == "old"
    assert keys([old, *urgent], now=9 * 1800)[0] == "old"


@given(
    st.lists(
        st.builds(
            Waiting, st.text("ab", min_size=1), st.sampled_from("xyz"), st.integers(0, 9), st.floats(0, 1e6),
            st.floats(0, 1e5),
        ),
        max_size=30,
    ),
    st.floats(0, 2e6),
)  # fmt: skip
def test_everyone_is_served_once(waiting, now):
    assert sorted(map(repr, Shares().order(waiting, now, 1800))) == sorted(map(repr, waiting))


def test_five_users_get_equal_shares_of_two_workers():
    """A hundred starts, every user with more than enough to do, jobs of different length."""
    shares, given_to = Shares(), Counter()
    waiting = [
        Waiting(f"{user}{n}", user, 5, float(n), cost)
        for user, cost in zip("abcde", (30, 60, 90, 120, 240), strict=True)
        for n in range(400)
    ]
    for _ in range(800):
        first = next(shares.order(waiting, 1000, 1e9))
        waiting.remove(first)
        shares.started(first.user, first.cost)
        given_to[first.user] += first.cost
    assert max(given_to.values()) - min(given_to.values()) <= 240
