"""Work on other threads keeps its order, its bound and its errors."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from stemd.engines.beside import ahead, behind, side_by_side, threads


class BoomError(Exception):
    pass


def test_ahead_gives_the_same_and_no_more_than_its_depth_early():
    made = []

    def blocks():
        for number in range(20):
            made.append(number)
            yield number

    seen = []
    with closing(ahead(blocks(), 3)) as coming:
        for number in coming:
            seen.append(number)
            assert len(made) <= number + 1 + 3
    assert seen == list(range(20))


def test_ahead_raises_where_the_block_is_due_and_closes():
    def blocks():
        yield 1
        raise BoomError

    coming = ahead(blocks())
    assert next(coming) == 1
    with pytest.raises(BoomError):
        next(coming)
    endless = iter(int, 1)
    with closing(ahead(endless)) as coming:
        next(coming)
    assert not [each for each in threading.enumerate() if each.name.startswith("ahead")]


def test_behind_keeps_the_order_and_waits_at_its_bound():
    taken, gate = [], threading.Event()

    def take(number):
        gate.wait(60)
        taken.append(number)

    with behind(take, 2) as keep:
        keep(0)
        keep(1)
        late = threading.Thread(target=keep, args=(2,))
        late.start()
        late.join(0.05)
        assert late.is_alive() and not taken
        gate.set()
        late.join()
    assert taken == [0, 1, 2]


def test_behind_raises_and_leaves_the_rest_out():
    taken = []

    def take(number):
        taken.append(number)
        raise BoomError

    with pytest.raises(BoomError), behind(take) as keep:
        for number in range(10):
            keep(number)
    assert taken == [0]
    with pytest.raises(BoomError), behind(take) as keep:
        keep(0)  # the error of the last comes at the end
    with pytest.raises(KeyError), behind(taken.append):
        raise KeyError


def test_behind_keeps_what_was_handed_on_before_the_block_raised():
    taken, gate = [], threading.Event()

    def take(number):
        gate.wait(60)
        taken.append(number)

    with pytest.raises(KeyError), behind(take, 3) as keep:
        for number in range(3):
            keep(number)
        threading.Timer(0.05, gate.set).start()
        raise KeyError
    assert taken == [0, 1, 2]


def test_side_by_side_answers_in_order_and_raises():
    together = threading.Barrier(2)

    def call(number):
        together.wait(60)
        return number * number

    assert side_by_side(call, range(4), most=2) == [0, 1, 4, 9]
    assert side_by_side(str, [], most=2) == [] and side_by_side(str, [1, 2], most=1) == ["1", "2"]
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda number: 1 / number, [1, 0, 2], most=2)


def test_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert threads() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert threads() >= 1
