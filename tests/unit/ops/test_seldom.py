"""What is told of now and then."""

from __future__ import annotations

from stemd.ops.seldom import Seldom


def test_each_thing_passes_once_in_a_while():
    at = [0.0]
    seldom = Seldom(60.0, 10, lambda: at[0])
    assert [seldom.passes(each) for each in ("a", "a", "b", "b")] == [True, False, True, False]
    at[0] = 59.9
    assert not seldom.passes("a")
    at[0] = 60.0
    assert seldom.passes("a")
    assert not seldom.passes("a")


def test_no_more_than_so_many_pass_and_are_kept():
    at = [0.0]
    seldom = Seldom(60.0, 3, lambda: at[0])
    assert [seldom.passes(number) for number in range(5)] == [True, True, True, False, False]
    at[0] = 61.0
    assert seldom.passes(4)
