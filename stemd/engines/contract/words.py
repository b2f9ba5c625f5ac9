"""What an engine says and takes: the methods themselves, without the driver."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from stemd.engines.base import Engine, Lane, TrackStats
from stemd.engines.contract.subject import ALIKE, Check, Subject, refused, require

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NO_SUCH = "no-such-thing"


def speaks_the_protocol(subject: Subject) -> None:
    """It has all methods of ``stemd.engines.base.Engine``, a name, and the version of what separates."""
    engine = subject.engine
    missing = sorted(name for name in dir(Engine) if not name.startswith("_") and not hasattr(engine, name))
    require(isinstance(engine, Engine), f"it lacks {', '.join(missing)}")
    require(_NAME.fullmatch(engine.name), f"{engine.name!r} is no name for an engine")
    require(isinstance(engine.version, str) and engine.version, f"its version is {engine.version!r}")


def describes_its_model(subject: Subject) -> None:
    """Stems that can be names of files, a rate that stemd handles, two channels, a hash of the weights."""
    info = subject.info
    require(info.name == subject.model, f"the model {subject.model!r} calls itself {info.name!r}")
    require(isinstance(info.stems, tuple) and info.stems, "stems is no tuple, or empty")
    require(len(set(info.stems)) == len(info.stems), f"a stem is there twice: {info.stems}")
    odd = [stem for stem in info.stems if not _NAME.fullmatch(stem) or stem.startswith("no_") or stem == "residual"]
    require(not odd, f"no names for stems: {odd}")
    require(8_000 <= info.sample_rate <= 192_000, f"sample_rate is {info.sample_rate}")
    require(info.channels == 2, f"channels is {info.channels}; stemd gives engines 2")
    require(re.fullmatch(r"[0-9a-f]{64}", info.sha256), f"sha256 is {info.sha256!r}")
    require(info.max_segment is None or info.max_segment > 0, f"max_segment is {info.max_segment}")


def states_plain_facts_that_stay(subject: Subject) -> None:
    """Settings that JSON can hold, the same before and after a track: chunks are kept only where they are equal."""
    subject.lanes()
    before = dict(subject.engine.facts())
    plain = json.loads(json.dumps(before, allow_nan=False))
    require(plain == before, f"facts() come back from JSON as {plain}")
    require({"device", "precision"} <= before.keys(), "facts() lack device or precision")
    batch = before.get("batch", 1)
    require(isinstance(batch, int) and batch >= 1, f"facts()['batch'] is {batch!r}")
    subject.separate(subject.noise(subject.several(1)))
    require(dict(subject.engine.facts()) == before, f"facts() were {before}, after a track {subject.engine.facts()}")


def refuses_an_unknown_option_by_name(subject: Subject) -> None:
    """STEMD-E004 with the option's name in it; nothing is passed over in silence."""
    stems = subject.info.stems
    refused(
        lambda: subject.engine.lanes({_NO_SUCH: 1}, stems), "STEMD-E004", _NO_SUCH, f"an option called {_NO_SUCH!r}"
    )


def refuses_an_unknown_model(subject: Subject) -> None:
    """A code of the M family; the next ``load`` works."""
    engine = subject.engine
    refused(lambda: engine.load(_NO_SUCH, subject.store, subject.device), "STEMD-M", _NO_SUCH, "a model nobody has")
    subject.load()


def refuses_an_unknown_device(subject: Subject) -> None:
    """STEMD-E004 with the device's name in it; the next ``load`` works."""
    engine = subject.engine
    refused(lambda: engine.load(subject.model, subject.store, _NO_SUCH), "STEMD-E004", _NO_SUCH, "a device nobody has")
    subject.load()


def covers_the_track(subject: Subject) -> None:
    """Segments without a gap in windows no smaller than they are, and a weight for every stem that is asked for."""
    lanes = subject.lanes()
    require(lanes == subject.lanes(), "the same request gives other lanes the second time")
    for lane in lanes:
        require(0 < lane.stride <= lane.segment, f"segments of {lane.segment} frames advance by {lane.stride}")
        require(0 <= lane.lead < lane.segment, f"the first segment ends before the track begins: lead {lane.lead}")
        require(all(weight > 0 for weight in lane.weights.values()), f"weights are {dict(lane.weights)}")
        for frames in (1, lane.segment // 2 + 1, lane.segment):
            window = subject.engine.window(lane, frames)
            require(window >= frames, f"the window for {frames} frames has {window}")
    given = {stem for lane in lanes for stem in lane.weights}
    require(given == set(subject.info.stems), f"asked for {subject.info.stems}, its lanes give {sorted(given)}")


def computes_only_what_is_asked(subject: Subject) -> None:
    """For one stem there are lanes with weight in that stem alone, and as many answers."""
    for stem in subject.info.stems:
        lanes = subject.engine.lanes({}, [stem])
        given = {name for lane in lanes for name in lane.weights}
        require(given == {stem}, f"asked for {stem}, its lanes give {sorted(given)}")


def answers_in_the_form_of_the_batch(subject: Subject) -> None:
    """For each stem with weight finite float32 numbers, as many as it was given; its input it leaves alone."""
    for lane in _lanes_of_members(subject):
        batch = _batch(subject, lane, 2)
        before = batch.copy()
        answer = subject.engine.separate_segments(lane, batch)
        require(np.array_equal(batch, before), "separate_segments changes its input")
        for stem in lane.weights:
            require(stem in answer, f"the answer lacks {stem}")
            values = np.asarray(answer[stem])
            require(values.shape == batch.shape, f"{stem} has the form {values.shape}, the batch {batch.shape}")
            require(values.dtype == np.float32, f"{stem} is of {values.dtype}, not float32")
            require(np.isfinite(values).all(), f"{stem} has numbers that are not finite")


def answers_alike_in_any_company(subject: Subject) -> None:
    """A segment comes out the same alone, beside others, and again after others, to 1e-5 of the highest sample."""
    for lane in _lanes_of_members(subject):
        batch = _batch(subject, lane, 2)
        together = _answers(subject, lane, batch)
        for number in (1, 0):
            alone = _answers(subject, lane, batch[number : number + 1])
            for stem in lane.weights:
                apart = np.abs(alone[stem][0] - together[stem][number]).max()
                limit = ALIKE * max(1.0, float(np.abs(together[stem]).max()))
                require(apart <= limit, f"{stem} differs by {apart:.2g} between a segment alone and one in a batch")


def eases_to_options_it_takes(subject: Subject) -> None:
    """What ``ease`` makes of options for a job that ran out of memory are options, at any level, and still work."""
    given: dict[str, Any] = {}
    for level in (1, 2, 3, 10):
        eased = subject.engine.ease(given, level)
        require(isinstance(eased, Mapping), f"ease(…, {level}) gives {eased!r}")
        require(given == {}, "ease changes the options it is given")
        subject.engine.lanes(eased, subject.info.stems)
    mix = subject.noise(subject.several(1))
    subject.separate(mix, options=dict(subject.engine.ease({}, 1)))


def estimates_its_memory(subject: Subject) -> None:
    """Bytes, as many for eight hours as for ten minutes, and no more for what ``ease`` gives."""
    subject.lanes()
    minute = 60 * subject.info.sample_rate
    short, long = (subject.engine.memory(TrackStats(n * minute, 0.0, 0.1, 0.5)) for n in (10, 480))
    require(isinstance(short, int) and short > 0, f"memory() gives {short!r}")
    require(long <= 1.1 * short, f"memory() is {short >> 20} MiB for ten minutes, {long >> 20} MiB for eight hours")
    subject.engine.lanes(subject.engine.ease({}, 1), subject.info.stems)
    eased = subject.engine.memory(TrackStats(10 * minute, 0.0, 0.1, 0.5))
    require(eased <= short, f"eased options need {eased >> 20} MiB, more than {short >> 20}")


def notes_are_sentences(subject: Subject) -> None:
    """``notes`` gives texts, or nothing."""
    subject.lanes()
    notes = subject.engine.notes(TrackStats(subject.several(2), 0.0, 0.1, 0.5))
    require(not isinstance(notes, str), "notes() is one text, not a sequence of them")
    require(all(isinstance(note, str) and note for note in notes), f"notes() gives {notes!r}")


def _lanes_of_members(subject: Subject) -> list[Lane]:
    """One lane of each network; the engine has been told of a track."""
    lanes = {lane.member: lane for lane in subject.lanes()}
    subject.engine.begin(TrackStats(subject.several(2), 0.0, 0.1, 0.5))
    return list(lanes.values())


def _batch(subject: Subject, lane: Lane, segments: int) -> Any:
    frames = subject.engine.window(lane, lane.segment)
    return np.stack([subject.noise(frames, seed=seed) for seed in range(segments)])


def _answers(subject: Subject, lane: Lane, batch: Any) -> dict[str, Any]:
    return {stem: np.array(values) for stem, values in subject.engine.separate_segments(lane, batch).items()}


CHECKS: tuple[Check, ...] = (
    speaks_the_protocol,
    describes_its_model,
    states_plain_facts_that_stay,
    refuses_an_unknown_option_by_name,
    refuses_an_unknown_model,
    refuses_an_unknown_device,
    covers_the_track,
    computes_only_what_is_asked,
    answers_in_the_form_of_the_batch,
    answers_alike_in_any_company,
    eases_to_options_it_takes,
    estimates_its_memory,
    notes_are_sentences,
)
