"""Segments with context, triangular weights, and the sum of all passes: one driver for every model.

The rules are those of ``demucs.apply.apply_model`` (split, transition power 1, shift trick, bag of models), so the
result is that of the reference on the whole track; the track itself is never in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stemd.core.errors import StemdError
from stemd.engines.base import Engine, Lane, Scaling
from stemd.engines.sliding import SlidingBuffer

if TYPE_CHECKING:
    from stemd.engines.base import Frames

_STRIP = 16_384
"""Frames of all stems put together at a time: few enough to stay in a core's cache over all that is done to them."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Frames ``start`` to ``stop`` of the track (``start`` may lie before it), seen within the window."""

    start: int
    stop: int
    window_start: int
    window_stop: int

    @property
    def inset(self) -> int:
        return self.start - self.window_start


def segments(engine: Engine, lane: Lane, total: int) -> Iterator[Segment]:
    """The segments of ``lane`` over a track of ``total`` frames: the last ones are shorter, their windows are not.

    A segment lies in the middle of its window, with the odd frame on the right; around it are its real neighbours.
    """
    for start in range(-lane.lead, total, lane.stride):
        stop = min(start + lane.segment, total)
        window = engine.window(lane, stop - start)
        window_start = start - (window - (stop - start)) // 2
        yield Segment(start, stop, window_start, window_start + window)


def segment_count(lane: Lane, total: int) -> int:
    """How many segments ``segments`` gives."""
    return -(-(total + lane.lead) // lane.stride)


def triangle(length: int, most: int | None = None) -> NDArray[np.float32]:
    """The weight of a segment's frames: rises from 1 in equal steps to the middle, falls back, divided by its peak.

    Only of the first ``most`` frames, where that is given.
    """
    at = np.arange(length if most is None else min(length, most))
    ramp = np.minimum(at + 1, length - at).astype(np.float32)
    ramp /= np.float32(length - length // 2)
    return ramp


@dataclass(slots=True)
class _Pass:
    """One lane on its way: the groups of segments still to do, and the sums of weighted results from ``begin`` on.

    ``sums`` are a row of frames for each channel of each stem: with the channels side by side it takes seven times as
    long to add up.
    """

    lane: Lane
    stems: tuple[str, ...]
    weight: NDArray[np.float32]
    groups: Iterator[list[Segment]]
    total: int
    sums: Sequence[Sequence[SlidingBuffer]]
    weights: SlidingBuffer
    group: list[Segment] | None = None
    finished: int = 0

    def advance(self) -> None:
        self.group = next(self.groups, None)
        self.finished = self.total if self.group is None else max(self.finished, self.group[0].start)

    @property
    def needs_until(self) -> int:
        assert self.group is not None
        return min(max(segment.window_stop for segment in self.group), self.total)

    @property
    def needs_from(self) -> int:
        return self.total if self.group is None else max(0, min(each.window_start for each in self.group))

    def add(self, segment: Segment, result: Sequence[Frames]) -> None:
        """Weigh what the network gave for ``segment`` (per stem: window × channels) and add it up."""
        start, stop = max(segment.start, self.weights.base), segment.stop
        if stop <= start:
            return
        weight = self.weight[start - segment.start : stop - segment.start]
        for rows, values in zip(self.sums, result, strict=True):
            cut = values[start - segment.window_start : stop - segment.window_start]
            for channel, row in enumerate(rows):
                row.span(start, stop)[:] += weight * cut[:, channel]
        self.weights.span(start, stop)[:] += weight

    def drop(self, position: int) -> None:
        for rows in self.sums:
            for row in rows:
                row.drop(position)
        self.weights.drop(position)


@dataclass(slots=True)
class OverlapAdd:
    """One separation of one track.

    ``stems`` are those wanted, ``total`` the track's frames, ``begin`` the frame to begin at (earlier ones are
    finished already): from there on the result is bit for bit that of a run from the start. ``batch`` segments go
    to the engine at once, in groups that do not depend on ``begin``. ``on_segments`` is told (done, of all).
    """

    engine: Engine
    lanes: Sequence[Lane]
    stems: Sequence[str]
    scaling: Scaling
    total: int
    channels: int = 2
    begin: int = 0
    batch: int = 1
    on_segments: Callable[[int, int], None] = lambda done, of: None
    _passes: list[_Pass] = field(default_factory=list)
    _done: int = 0

    def run(self, blocks: Iterator[Frames]) -> Iterator[NDArray[np.float32]]:
        """Separate ``blocks`` (frames × channels, from frame 0 on); gives frames × stems × channels from ``begin`` on.

        Raises:
            StemdError: what the engine raises, or STEMD-E006 where it fails or gives numbers that are not finite.
        """
        self._passes = [self._start(lane) for lane in self.lanes]
        count = sum(segment_count(lane, self.total) for lane in self.lanes)
        track = SlidingBuffer((self.channels,))
        received, emitted = 0, self.begin
        while open_passes := [each for each in self._passes if each.group is not None]:
            current = min(open_passes, key=lambda each: each.needs_until)
            track.drop(min(each.needs_from for each in open_passes))
            while received < current.needs_until:
                block = next(blocks)
                track.write(received, block)
                received += len(block)
            self._separate(current, track)
            self.on_segments(self._done, count)
            if (finished := min(each.finished for each in self._passes)) > emitted:
                yield self._emit(emitted, finished)
                emitted = finished

    def _start(self, lane: Lane) -> _Pass:
        def left() -> Iterator[list[Segment]]:
            group: list[Segment] = []
            for index, segment in enumerate(segments(self.engine, lane, self.total)):
                group.append(segment)
                if (index + 1) % self.batch == 0 or segment.start + lane.stride >= self.total:
                    if group[-1].stop > self.begin:
                        yield group
                    else:
                        self._done += len(group)
                    group = []

        stems = tuple(stem for stem in self.stems if lane.weights.get(stem))
        started = _Pass(
            lane,
            stems,
            triangle(lane.segment, self.total + lane.lead),  # a short track may have a long segment
            left(),
            self.total,
            [[SlidingBuffer((), self.begin) for _ in range(self.channels)] for _ in stems],
            SlidingBuffer((), self.begin),
            finished=self.begin,
        )
        started.advance()
        return started

    def _separate(self, current: _Pass, track: SlidingBuffer) -> None:
        assert current.group is not None
        group, start = current.group, 0
        while start < len(group):
            window = group[start].window_stop - group[start].window_start
            alike = [each for each in group[start:] if each.window_stop - each.window_start == window]
            self._separate_alike(current, alike, track)
            start += len(alike)
        self._done += len(group)
        current.advance()

    def _separate_alike(self, current: _Pass, group: Sequence[Segment], track: SlidingBuffer) -> None:
        batch = np.stack([self._window(segment, track) for segment in group])
        try:
            answer = self.engine.separate_segments(current.lane, batch)
        except (StemdError, MemoryError):
            raise
        except Exception as error:
            raise StemdError("STEMD-E006", f"{type(error).__name__}: {error}") from error
        for index, segment in enumerate(group):
            current.add(segment, [answer[stem][index] for stem in current.stems])

    def _window(self, segment: Segment, track: SlidingBuffer) -> Frames:
        """The frames around ``segment``, scaled; zero outside the track."""
        window = np.zeros((segment.window_stop - segment.window_start, self.channels), np.float32)
        start, stop = max(0, segment.window_start), max(0, min(segment.window_stop, self.total))
        if stop <= start:
            return window
        shift, gain = np.float32(self.scaling.shift), np.float32(self.scaling.gain)
        window[start - segment.window_start : stop - segment.window_start] = (track.span(start, stop) - shift) / gain
        return window

    def _emit(self, start: int, stop: int) -> NDArray[np.float32]:
        out = np.empty((stop - start, len(self.stems), self.channels), np.float32)
        for begin in range(start, stop, _STRIP):
            end = min(begin + _STRIP, stop)
            out[begin - start : end - start] = self._together(begin, end).transpose(2, 0, 1)
        for each in self._passes:
            each.drop(stop)
        return out

    def _together(self, start: int, stop: int) -> NDArray[np.float32]:
        """The mean over all passes at the track's level: stems × channels × frames."""
        rows = np.zeros((len(self.stems), self.channels, stop - start), np.float32)
        divisors = np.zeros(len(self.stems), np.float32)
        for each in self._passes:
            weights = each.weights.span(start, stop)
            for stem, sums in zip(each.stems, each.sums, strict=True):
                at, share = self.stems.index(stem), np.float32(each.lane.weights[stem])
                for channel, row in enumerate(sums):
                    rows[at, channel] += row.span(start, stop) / weights * share
                divisors[at] += share
        rows /= divisors[:, None, None]
        rows *= np.float32(self.scaling.gain)
        rows += np.float32(self.scaling.shift)
        if not np.isfinite(rows).all():
            raise StemdError("STEMD-E006", "the engine gave numbers that are not finite")
        return rows
