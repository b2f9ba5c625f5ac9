"""When a file is complete: the tracker alone, with a clock made of numbers."""

from hypothesis import given
from hypothesis import strategies as st

from stemd.spool.settle import Arrival, Sighting, Times, Tracker, Writers

TIMES = Times(settle=2.0, unprobed=30.0, tree=10.0)


def look(tracker, now, *sightings, writers=Writers.NONE):
    return [sighting.key for sighting in tracker.observe(now, sightings, lambda _: writers)]


def seen(fingerprint="a", arrival=Arrival.GROWN, tree=False):
    return Sighting("song.mp3", fingerprint, arrival, tree)


def test_two_equal_looks_at_least_settle_apart():
    tracker = Tracker(TIMES)
    assert look(tracker, 100.0, seen()) == []
    assert look(tracker, 101.9, seen()) == []
    assert "settling" in tracker.why("song.mp3")
    assert look(tracker, 102.0, seen()) == ["song.mp3"]


def test_any_change_starts_the_clock_anew():
    tracker = Tracker(TIMES)
    look(tracker, 0.0, seen("a"))
    assert look(tracker, 3.0, seen("b")) == []
    assert look(tracker, 4.9, seen("b")) == []
    assert look(tracker, 5.0, seen("b")) == ["song.mp3"]


def test_an_open_writer_is_waited_for_however_long_it_pauses():
    tracker = Tracker(TIMES)
    look(tracker, 0.0, seen())
    for now in range(2, 200, 2):
        assert look(tracker, float(now), seen(), writers=Writers.SOME) == []
    assert tracker.why("song.mp3") == "still open for writing"
    assert look(tracker, 200.0, seen()) == ["song.mp3"]


def test_without_a_probe_the_file_must_rest_longer():
    tracker = Tracker(TIMES)
    look(tracker, 0.0, seen())
    assert look(tracker, 29.9, seen(), writers=Writers.UNKNOWN) == []
    assert "cannot see" in tracker.why("song.mp3")
    assert look(tracker, 30.0, seen(), writers=Writers.UNKNOWN) == ["song.mp3"]


def test_what_was_moved_in_is_complete_at_once_unless_somebody_writes():
    assert look(Tracker(TIMES), 0.0, seen(arrival=Arrival.MOVED)) == ["song.mp3"]
    assert look(Tracker(TIMES), 0.0, seen(arrival=Arrival.MOVED), writers=Writers.SOME) == []
    assert look(Tracker(TIMES), 0.0, seen(arrival=Arrival.MOVED), writers=Writers.UNKNOWN) == []
    assert look(Tracker(TIMES), 0.0, seen(arrival=Arrival.OWN), writers=Writers.UNKNOWN) == ["song.mp3"]


def test_a_folder_settles_as_a_whole_and_longer():
    tracker = Tracker(TIMES)
    look(tracker, 0.0, seen(tree=True))
    assert look(tracker, 9.9, seen(tree=True)) == []
    assert look(tracker, 10.0, seen(tree=True)) == ["song.mp3"]


def test_what_disappears_is_forgotten():
    tracker = Tracker(TIMES)
    look(tracker, 0.0, seen())
    look(tracker, 1.0)
    assert len(tracker) == 0
    assert look(tracker, 2.5, seen()) == []


def test_the_next_look_is_when_something_may_be_complete():
    tracker = Tracker(TIMES)
    assert tracker.next_look() is None
    look(tracker, 7.0, seen())
    assert tracker.next_look() == 9.0


@given(st.lists(st.tuples(st.floats(0.01, 5.0), st.sampled_from("abc"), st.sampled_from(Writers)), max_size=40))
def test_nothing_is_ever_taken_sooner_than_settle_after_its_last_change(steps):
    tracker, now, changed, last = Tracker(TIMES), 0.0, None, None
    for pause, fingerprint, writers in steps:
        now += pause
        if fingerprint != last:
            changed, last = now, fingerprint
        if look(tracker, now, seen(fingerprint), writers=writers):
            assert now - changed >= TIMES.settle - 1e-9
            assert writers is not Writers.SOME
            assert writers is Writers.NONE or now - changed >= TIMES.unprobed - 1e-9
