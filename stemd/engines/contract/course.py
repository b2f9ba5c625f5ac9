"""How a separation goes: its progress, its repetition, its end before its time, its memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from stemd.core.errors import StemdError
from stemd.engines.base import CancelledError, Progress, TrackStats
from stemd.engines.contract.subject import Check, Subject, refused, require
from stemd.engines.overlap_add import OverlapAdd

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stemd.engines.base import Frames

#: What Python itself may need more of, in bytes.
_SMALL = 1 << 16
_STAGES = ["decode", "separate", "encode"]


def reports_progress_from_0_to_1(subject: Subject) -> None:
    """Its fraction never falls and ends at 1, after the stages decode, separate and encode."""
    seen: list[Progress] = []
    subject.separate(subject.usual_mix(), report=seen.append)
    fractions = [progress.fraction for progress in seen]
    require(fractions == sorted(fractions), "progress falls")
    require(0 <= fractions[0] < 1 and fractions[-1] == 1, f"progress goes from {fractions[0]} to {fractions[-1]}")
    stages = list(dict.fromkeys(progress.stage for progress in seen))
    require(stages == _STAGES, f"the stages are {', '.join(stages)}")


def gives_the_same_bits_twice(subject: Subject) -> None:
    """The same track with the same settings is the same to the bit."""
    subject.usual()
    subject.require_usual("the second time")


def can_begin_at_any_frame(subject: Subject) -> None:
    """A track begun in its middle, as after a restart, is from there on bit for bit that begun at its start."""
    mix = subject.usual_mix()
    whole = _from(subject, mix, 0)
    for begin in (len(mix) // 2, len(mix) - 1):
        rest = _from(subject, mix, begin)
        require(np.array_equal(rest, whole[begin:]), f"begun at frame {begin} of {len(mix)} it gives other bits")


def stops_where_it_is_cancelled(subject: Subject) -> None:
    """A cancel between two segments ends the separation with ``CancelledError``, and the engine works on."""
    subject.usual()
    _cancel(subject, 0)
    subject.require_usual("after a cancel")


def resumes_what_was_cancelled_bit_for_bit(subject: Subject) -> None:
    """The chunks of a cancelled track are used again, by an engine that was loaded anew, and the files are the same."""
    usual, mix = subject.usual(), subject.usual_mix()
    chunk = len(mix) / 8 / subject.info.sample_rate
    _cancel(subject, 0.75, name="cut", checkpoint=chunk)
    subject.close()
    found = subject.separate(mix, name="cut", checkpoint=chunk)
    require(found.result.chunks["reused"] > 0, f"no chunk was used again: {', '.join(found.result.warnings)}")
    require(found.bits == usual, "resumed, the track has other bits than in one go")


def works_on_after_an_error(subject: Subject) -> None:
    """A refused option, and a source that is no sound, leave the engine as it was."""
    subject.usual()
    refused(lambda: subject.separate(subject.noise(100), options={"no-such-option": 1}), "STEMD-E004", "", "an option")
    junk = subject.source()
    junk.write_bytes(bytes(range(256)) * 8)
    refused(lambda: subject.separate_file(junk), "STEMD-A", "", "a source that is no sound")
    subject.require_usual("after an error")


def closes_twice_and_loads_again(subject: Subject) -> None:
    """``close`` may come twice; after another ``load`` all is as before, the facts too."""
    subject.usual()
    info, facts = subject.info, dict(subject.engine.facts())
    try:
        subject.engine.close()
        subject.close()
    except Exception as error:
        raise AssertionError(f"closing twice: {type(error).__name__}: {error}") from error
    require(subject.load() == info, "loaded again, the model describes itself differently")
    subject.require_usual("loaded again")
    require(dict(subject.engine.facts()) == facts, f"loaded again, its facts are {subject.engine.facts()}")


def takes_no_more_memory_for_a_longer_track(subject: Subject) -> None:
    """Sixteen segments need no more memory (as Python and numpy count it) than eight: nothing keeps the track."""
    few, many = subject.several(8), subject.several(16)
    _work_off(subject, subject.several(1))
    more = _peak(subject, many) - _peak(subject, few)
    audio = (many - few) * 2 * 4
    require(more < audio / 4 + _SMALL, f"{more / 2**20:.2f} MiB more for {audio / 2**20:.2f} MiB more of audio")


def _from(subject: Subject, mix: Frames, begin: int) -> NDArray[np.float32]:
    mono = mix.mean(axis=1, dtype=np.float64)
    stats = TrackStats(len(mix), float(mono.mean()), float(mono.std(ddof=1)), float(np.abs(mix).max()))
    return np.concatenate(list(_driven(subject, stats, iter([mix]), begin)))


def _driven(
    subject: Subject, stats: TrackStats, blocks: Iterator[Frames], begin: int = 0
) -> Iterator[NDArray[np.float32]]:
    """What the driver makes of ``blocks``, without files."""
    lanes = subject.lanes()
    work = OverlapAdd(subject.engine, lanes, subject.info.stems, subject.engine.begin(stats), stats.frames, begin=begin)
    return work.run(blocks)


def _cancel(subject: Subject, after: float, **request: Any) -> None:
    """Cancel the usual track at the first report of segments beyond this share of the whole."""

    def stop(progress: Progress) -> None:
        if progress.stage == "separate" and progress.fraction >= after:
            raise CancelledError

    try:
        subject.separate(subject.usual_mix(), report=stop, **request)
    except CancelledError:
        return
    except StemdError as error:
        raise AssertionError(f"a cancel became {error}") from error
    raise AssertionError("it was cancelled and went on to its end")


def _peak(subject: Subject, frames: int) -> int:
    """The most memory that is held at once while such a track is separated, in bytes."""
    tracemalloc.start()
    try:
        _work_off(subject, frames)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _work_off(subject: Subject, frames: int) -> None:
    block = min(lane.stride for lane in subject.lanes())
    blocks = (subject.noise(min(block, frames - start)) for start in range(0, frames, block))
    for _ in _driven(subject, TrackStats(frames, 0.0, 0.1, 0.5), blocks):
        pass


CHECKS: tuple[Check, ...] = (
    reports_progress_from_0_to_1,
    gives_the_same_bits_twice,
    can_begin_at_any_frame,
    stops_where_it_is_cancelled,
    resumes_what_was_cancelled_bit_for_bit,
    works_on_after_an_error,
    closes_twice_and_loads_again,
    takes_no_more_memory_for_a_longer_track,
)
