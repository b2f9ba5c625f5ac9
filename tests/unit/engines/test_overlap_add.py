"""The driver with an engine that is simple enough to know the answer."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stemd.engines.base import Lane, Scaling
from stemd.engines.overlap_add import OverlapAdd, segment_count, segments, triangle
from stemd.engines.sliding import SlidingBuffer


class Doubling:
    """Gives back what it sees, once as it is and once doubled, and checks that what it sees is its window."""

    def __init__(self, margin: int = 0) -> None:
        self.margin, self.calls = margin, 0

    def window(self, lane: Lane, frames: int) -> int:
        return frames + self.margin

    def separate_segments(self, lane: Lane, batch: np.ndarray) -> Mapping[str, np.ndarray]:
        self.calls += 1
        return {"same": batch, "twice": 2 * batch}


def in_blocks(track: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (track[start : start + size] for start in range(0, len(track), size))


def run(lanes, track, engine=None, block=100, **fields) -> np.ndarray:
    engine = engine or Doubling()
    work = OverlapAdd(engine, lanes, ("same", "twice"), Scaling(0.5, 3.0), len(track), **fields)
    return np.concatenate(list(work.run(in_blocks(track, block))))


BOTH = {"same": 1.0, "twice": 1.0}
lanes_of = st.lists(
    st.builds(
        Lane,
        st.just(0),
        segment=st.integers(2, 90),
        stride=st.integers(1, 60),
        lead=st.integers(0, 40),
        weights=st.fixed_dictionaries({"same": st.sampled_from([0.5, 1.0]), "twice": st.sampled_from([1.0, 2.0])}),
    ).filter(lambda lane: lane.stride <= lane.segment),
    min_size=1,
    max_size=3,
)


@settings(deadline=None, max_examples=80)
@given(
    lanes=lanes_of, total=st.integers(1, 400), margin=st.integers(0, 31), batch=st.integers(1, 4), share=st.floats(0, 1)
)
def test_any_grid_gives_the_track_back_and_begins_anywhere(lanes, total, margin, batch, share):
    track = np.random.default_rng(total).standard_normal((total, 2)).astype(np.float32)
    whole = run(lanes, track, Doubling(margin), batch=batch)
    assert whole.shape == (total, 2, 2)
    assert np.allclose(whole[:, 0], track, atol=1e-5)
    assert np.allclose(whole[:, 1], 2 * (track - 0.5) + 0.5, atol=1e-5)
    begin = int(share * (total - 1))
    assert np.array_equal(run(lanes, track, Doubling(margin), batch=batch, begin=begin, block=17), whole[begin:])


def test_segments_lie_in_the_middle_of_their_windows():
    lane = Lane(0, 100, 75, 0, BOTH)
    found = list(segments(Doubling(7), lane, 160))
    assert [(each.start, each.stop) for each in found] == [(0, 100), (75, 160), (150, 160)]
    assert all(each.inset == 3 and each.window_stop - each.stop == 4 for each in found)
    assert segment_count(lane, 160) == len(found)


def test_a_resumed_run_skips_what_is_done():
    lane, track, engine = Lane(0, 100, 75, 0, BOTH), np.ones((3000, 2), np.float32), Doubling()
    seen = []
    run([lane], track, engine, begin=1500, on_segments=lambda done, of: seen.append((done, of)))
    assert engine.calls == 21 and seen[0] == (20, 40) and seen[-1] == (40, 40)


def test_triangle():
    assert np.allclose(triangle(4), [0.5, 1, 1, 0.5])
    assert np.allclose(triangle(5), [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3])
    assert triangle(1) == pytest.approx([1])


@pytest.mark.parametrize("length", [1, 2, 3, 10, 11, 343_980, 2**25 + 3])
@pytest.mark.parametrize("most", [1, 2, 7, 343_980, 2**26])
def test_a_part_of_a_triangle_is_that_of_the_whole_to_the_last_bit(length, most):
    half = length // 2
    ramp = np.concatenate([np.arange(1, half + 1), np.arange(length - half, 0, -1)]).astype(np.float32)
    assert np.array_equal(triangle(length, most), (ramp / ramp.max())[:most])


def test_a_long_segment_of_a_short_track_takes_no_memory():
    track, lane = np.ones((3000, 2), np.float32), Lane(0, 600 * 44_100, 450 * 44_100, 300, BOTH)
    tracemalloc.start()
    try:
        assert np.allclose(run([lane], track)[:, 0], track)
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


def test_sliding_buffer_forgets_and_reads_zero_where_nothing_was_written():
    buffer = SlidingBuffer((1,))
    buffer.write(0, np.arange(10, dtype=np.float32)[:, None])
    buffer.drop(6)
    assert buffer.span(6, 12).ravel().tolist() == [6, 7, 8, 9, 0, 0]
    buffer.drop(40)
    buffer.write(38, np.arange(1, 5, dtype=np.float32)[:, None])
    assert buffer.span(40, 44).ravel().tolist() == [3, 4, 0, 0]


class Turned(Doubling):
    """As torch answers: the channels' frames one after the other in memory."""

    def separate_segments(self, lane: Lane, batch: np.ndarray) -> Mapping[str, np.ndarray]:
        answer = super().separate_segments(lane, np.ascontiguousarray(batch.transpose(0, 2, 1)))
        return {stem: values.transpose(0, 2, 1) for stem, values in answer.items()}


def plainly(lanes, track, shift, gain) -> np.ndarray:
    """The rules over the whole track at once, frame by frame in float32."""
    out, divisors = np.zeros((len(track), 2, 2), np.float32), np.zeros(2, np.float32)
    for lane in lanes:
        sums, weights = np.zeros_like(out), np.zeros(len(track), np.float32)
        for start in range(-lane.lead, len(track), lane.stride):
            begin, end = max(0, start), min(start + lane.segment, len(track))
            if end > begin:
                weight = triangle(lane.segment)[begin - start : end - start]
                seen = (track[begin:end] - np.float32(shift)) / np.float32(gain)
                for stem, values in enumerate((seen, 2 * seen)):
                    sums[begin:end, stem] += weight[:, None] * values
                weights[begin:end] += weight
        share = np.array([lane.weights["same"], lane.weights["twice"]], np.float32)
        out += sums / weights[:, None, None] * share[:, None]
        divisors += share
    out /= divisors[:, None]
    return out * np.float32(gain) + np.float32(shift)


@pytest.mark.parametrize("engine", [Doubling, Turned])
def test_rows_and_strips_change_no_bit(engine):
    track = np.random.default_rng(3).standard_normal((50_001, 2)).astype(np.float32)
    lanes = [
        Lane(0, 40_000, 17_000, 0, {"same": 0.7, "twice": 1.1}),
        Lane(1, 21_000, 9_000, 333, {"same": 0.9, "twice": 0.2}),
    ]
    assert np.array_equal(run(lanes, track, engine(), block=4096), plainly(lanes, track, 0.5, 3.0))
