"""How much a job is promised, and when there is no room for it."""

from __future__ import annotations

import pytest

from stemd.core import room
from stemd.core.job import Length, Output, Request
from stemd.core.room import Disk, Need

MINUTE = Length(60.0, 48_000, 2)
GIB = 1 << 30


def request(**changes) -> Request:
    return Request(**{"engine": "demucs", "model": "htdemucs", "stems": 4, **changes})


def test_chunks_and_stems_count_uncompressed():
    need = room.need(request(), MINUTE)
    assert need.chunks == 60 * 44_100 * 2 * 4 * 4
    assert need.results == pytest.approx(1.2 * 60 * 48_000 * 2 * 3 * 4)
    assert need.inodes > 2 * 4 + 1


@pytest.mark.parametrize(
    ("changes", "factor"),
    [
        ({"stems": 2}, 0.5),
        ({"stems": ("vocals",)}, 0.25),
        ({"stems": ()}, 1.5),
        ({"output": Output("wav", "32f")}, 4 / 3),
        ({"output": Output("flac", "16", 24_000)}, 1 / 3),
        ({"output": Output("stem.mp4", "24")}, 5 / 4),
    ],
)
def test_what_is_asked_for_decides(changes, factor):
    assert room.need(request(**changes), MINUTE).results == pytest.approx(factor * room.need(request(), MINUTE).results)


def test_an_unknown_recording_counts_as_the_longest_its_bytes_could_hold():
    assert room.longest(4_000_000).seconds == 1000


def test_of_several_jobs_the_chunks_of_one_and_the_results_of_all_are_on_the_disk():
    assert Need(10, 5, 1) + Need(7, 6, 2) == Need(10, 11, 3)


@pytest.mark.parametrize(
    ("need", "promised", "disk", "fits"),
    [
        (Need(4 * GIB, 5 * GIB, 10), Need(), Disk(10 * GIB, 20 * GIB, 100, 1000), True),
        (Need(5 * GIB, 5 * GIB, 10), Need(), Disk(10 * GIB, 20 * GIB, 100, 1000), False),
        (Need(1 * GIB, 1 * GIB, 10), Need(1 * GIB, 8 * GIB, 10), Disk(10 * GIB, 20 * GIB, 100, 1000), False),
        (Need(1, 1, 81), Need(), Disk(10 * GIB, 20 * GIB, 100, 1000), False),
        (Need(1, 1, 41), Need(0, 0, 40), Disk(10 * GIB, 20 * GIB, 100, 1000), False),
        (Need(1, 1, 10**9), Need(), Disk(10 * GIB, 20 * GIB, 0, 0), True),
    ],
)
def test_a_part_of_the_disk_is_never_given_away(need, promised, disk, fits):
    error = room.lacking(need, disk, promised)
    assert (error is None) == fits
    if error is not None:
        assert error.code == "STEMD-R004"


def test_a_mix_unpacks_every_stem_and_the_blend() -> None:
    minute = room.Length(60, 48_000, 2)
    request = Request("mix", "mix", ())
    two, eight = room.need_of_mix(request, minute, 2), room.need_of_mix(request, minute, 8)
    track = 60 * 48_000 * 8
    assert two.chunks == 5 * track
    assert eight.chunks == 11 * track
    fine = room.need_of_mix(Request("mix", "mix", (), options={"sample_rate": 192_000}), minute, 2)
    assert fine.chunks == 4 * two.chunks
    assert eight.results > two.results > track


def test_stems_that_go_on_are_there_twice() -> None:
    alone, followed = (room.need(Request("stub", "stub", 2, next=next), Length(60, 48_000, 2)) for next in (None, "m"))
    assert followed.results == pytest.approx(2 * alone.results, rel=1e-6)
