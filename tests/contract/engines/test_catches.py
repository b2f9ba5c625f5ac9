"""Each check notices an engine that breaks what it is about."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from stemd.core.errors import StemdError
from stemd.engines.base import Lane, ModelInfo, Scaling
from stemd.engines.contract import Subject, course, sound, words
from stemd.engines.stub_engine import StubEngine

RATE = 44_100


class Nameless(StubEngine):
    version = ""


class OddStem(StubEngine):
    def load(self, model, store, device) -> ModelInfo:
        super().load(model, store, device)
        return ModelInfo(model, ("drums", "../bass"), RATE, 2, "0" * 64)


class MovingFacts(StubEngine):
    def facts(self) -> Mapping[str, Any]:
        return {**super().facts(), "now": time.monotonic()}


class Overlooking(StubEngine):
    def lanes(self, options, stems) -> tuple[Lane, ...]:
        return super().lanes({}, stems)


class AnyModel(StubEngine):
    def load(self, model, store, device) -> ModelInfo:
        return super().load("stub", store, device)


class AnyDevice(StubEngine):
    def load(self, model, store, device) -> ModelInfo:
        return super().load(model, store, "cpu")


class Gaps(StubEngine):
    def lanes(self, options, stems) -> tuple[Lane, ...]:
        (lane,) = super().lanes(options, stems)
        return (Lane(0, lane.segment, lane.segment + 1, 0, lane.weights),)


class Zealous(StubEngine):
    def lanes(self, options, stems) -> tuple[Lane, ...]:
        return super().lanes(options, ("drums", "bass", "other", "vocals"))


class Doubles(StubEngine):
    def separate_segments(self, lane, batch):
        return {stem: values.astype(np.float64) for stem, values in super().separate_segments(lane, batch).items()}


class Overwriting(StubEngine):
    def separate_segments(self, lane, batch):
        batch *= 0.25
        return dict.fromkeys(lane.weights, batch)


class Averaging(StubEngine):
    def separate_segments(self, lane, batch):
        return dict.fromkeys(lane.weights, batch / np.abs(batch).max())


class EasesToNonsense(StubEngine):
    def ease(self, options, level):
        return {**options, "smaller": level}


class CountsTheTrack(StubEngine):
    def memory(self, stats) -> int:
        return super().memory(stats) + stats.frames * 8


class OneNote(StubEngine):
    def notes(self, stats) -> Sequence[str]:
        return "a text"


class NeedsLength(StubEngine):
    def separate_segments(self, lane, batch):
        if batch.shape[1] < 100:
            raise ValueError("too short")
        return super().separate_segments(lane, batch)


class Normalising(StubEngine):
    """Divides by what is 0 in silence."""

    def separate_segments(self, lane, batch):
        with np.errstate(all="ignore"):
            return dict.fromkeys(lane.weights, (batch / np.abs(batch).max()).astype(np.float32))


class Whitening(StubEngine):
    """Divides by what is 0 in a constant."""

    def begin(self, stats) -> Scaling:
        return Scaling(stats.mean, stats.std)


class SharesAmongAsked(StubEngine):
    def separate_segments(self, lane, batch):
        return dict.fromkeys(lane.weights, batch / np.float32(len(lane.weights)))


class Random(StubEngine):
    def separate_segments(self, lane, batch):
        noise = np.random.default_rng().uniform(-0.01, 0.01, batch.shape).astype(np.float32)
        return {stem: values + noise for stem, values in super().separate_segments(lane, batch).items()}


class Counting(StubEngine):
    """Its answer depends on how many segments of the track it has seen."""

    def begin(self, stats) -> Scaling:
        self.seen = 0
        return super().begin(stats)

    def separate_segments(self, lane, batch):
        self.seen += 1
        return {stem: values / self.seen for stem, values in super().separate_segments(lane, batch).items()}


class Unfinished(StubEngine):
    """Goes on with what was left of the last track."""

    left = 0.0

    def begin(self, stats) -> Scaling:
        self.carried, self.left = self.left > 0, stats.frames
        return super().begin(stats)

    def separate_segments(self, lane, batch):
        self.left -= lane.stride
        return {stem: values / (1 + self.carried) for stem, values in super().separate_segments(lane, batch).items()}


class CountsLoads(StubEngine):
    loads = 0

    def load(self, model, store, device) -> ModelInfo:
        self.loads += 1
        return super().load(model, store, device)

    def facts(self) -> Mapping[str, Any]:
        return {**super().facts(), "loads": self.loads}


class Resentful(StubEngine):
    """An option that it refuses changes what comes after."""

    hurt = False

    def lanes(self, options, stems) -> tuple[Lane, ...]:
        try:
            return super().lanes(options, stems)
        except StemdError:
            self.hurt = True
            raise

    def separate_segments(self, lane, batch):
        return {
            stem: values / (1 + self.hurt) for stem, values in super().separate_segments(lane, batch).items()
        }  # fmt: skip


class ClosesOnce(StubEngine):
    def load(self, model, store, device) -> ModelInfo:
        self.open = [True]
        return super().load(model, store, device)

    def close(self) -> None:
        self.open.pop()


class Hoarding(StubEngine):
    def load(self, model, store, device) -> ModelInfo:
        self.kept: list[np.ndarray] = []
        return super().load(model, store, device)

    def separate_segments(self, lane, batch):
        self.kept.append(batch)
        return super().separate_segments(lane, batch)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (Nameless, words.speaks_the_protocol),
        (OddStem, words.describes_its_model),
        (MovingFacts, words.states_plain_facts_that_stay),
        (Overlooking, words.refuses_an_unknown_option_by_name),
        (AnyModel, words.refuses_an_unknown_model),
        (AnyDevice, words.refuses_an_unknown_device),
        (Gaps, words.covers_the_track),
        (Zealous, words.computes_only_what_is_asked),
        (Doubles, words.answers_in_the_form_of_the_batch),
        (Overwriting, words.answers_in_the_form_of_the_batch),
        (Averaging, words.answers_alike_in_any_company),
        (EasesToNonsense, words.eases_to_options_it_takes),
        (CountsTheTrack, words.estimates_its_memory),
        (OneNote, words.notes_are_sentences),
        (NeedsLength, sound.takes_a_track_of_any_length),
        (Normalising, sound.keeps_silence_silent),
        (Whitening, sound.takes_a_constant),
        (SharesAmongAsked, sound.gives_only_the_stems_asked_for),
        (Random, course.gives_the_same_bits_twice),
        (Counting, course.can_begin_at_any_frame),
        (Counting, course.resumes_what_was_cancelled_bit_for_bit),
        (Unfinished, course.stops_where_it_is_cancelled),
        (CountsLoads, course.resumes_what_was_cancelled_bit_for_bit),
        (CountsLoads, course.closes_twice_and_loads_again),
        (Resentful, course.works_on_after_an_error),
        (ClosesOnce, course.closes_twice_and_loads_again),
        (Hoarding, course.takes_no_more_memory_for_a_longer_track),
    ],
    ids=lambda each: each.__name__,
)
def test_a_broken_engine_is_noticed(tmp_path, broken, check):
    subject = Subject(broken(), "stub", tmp_path, tmp_path)
    subject.load()
    with pytest.raises((AssertionError, StemdError)) as caught:
        check(subject)
    assert str(caught.value)
