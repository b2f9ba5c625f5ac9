"""Work on other threads keeps its order, its bound and its errors."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest

from stemd.engines.audio.reader import BLOCK
from stemd.engines.beside import Crew, ahead, behind, depth_for, threads


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


def test_a_crew_answers_in_order():
    together = threading.Barrier(2)

    def call(number):
        together.wait(60)
        return number * number

    with Crew(2) as crew:
        assert crew.each(call, range(4)) == [0, 1, 4, 9]
        assert crew.each(str, []) == [] and crew.each(str, [1]) == ["1"]
    with Crew(1) as alone:
        assert alone.each(lambda _: threading.current_thread(), range(2)) == [threading.main_thread()] * 2
    assert not [each for each in threading.enumerate() if each.name.startswith("beside")]


def test_a_crew_raises_the_first_in_order_and_is_at_rest_then():
    late, begun, ended = threading.Event(), [], []

    def call(number):
        begun.append(number)
        try:
            if number == 1:
                late.wait(60)  # fails after the other
                raise KeyError(number)
            if number == 2:
                late.set()
                raise BoomError
            if number == 3:
                time.sleep(0.2)  # is at work when the other raises
        finally:
            ended.append(number)

    with Crew(2) as crew:
        with pytest.raises(KeyError):
            crew.each(call, range(4))
        assert sorted(begun) == sorted(ended)
        assert crew.each(str, range(3)) == ["0", "1", "2"]


def test_without_depth_there_is_no_thread():
    seen = []
    with closing(ahead(iter(range(3)), 0)) as coming, behind(seen.append, 0) as keep:
        for number in coming:
            keep((number, [each.name for each in threading.enumerate() if each.name.startswith(("ahead", "behind"))]))
    assert seen == [(0, []), (1, []), (2, [])]
    assert depth_for(BLOCK - 1) == 0 and depth_for(BLOCK) > 0


def test_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert threads() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert threads() >= 1
