"""A mix that is interrupted goes on where it was, and ends as if nothing had happened."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from stemd.core.errors import StemdError
from stemd.engines.base import CancelledError, Progress
from stemd.engines.mix import shelf as shelves
from tests.golden.mixes import EVERYTHING, STAGES, Mixed, Studio, over, song

pytestmark = [pytest.mark.golden, pytest.mark.filterwarnings("error")]

OPTIONS = over(EVERYTHING, {"export": {"formats": [{"codec": "wav", "bits": 16}, {"codec": "flac"}]}})


@pytest.fixture(scope="module", autouse=True)
def small_blocks():
    """Many moments to be interrupted in, even in two seconds of sound."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shelves, "BLOCK", 8192)
        yield


@pytest.fixture
def studio(tmp_path) -> Studio:
    return Studio(tmp_path)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    return Studio(tmp_path_factory.mktemp("stems")).write(song(2.0))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, files) -> Mixed:
    """The mix as it comes out when nothing happens."""
    return Studio(tmp_path_factory.mktemp("whole")).mix(files, OPTIONS)


def stop_at(stage: str, count: int) -> Callable[[Progress], None]:
    """Raises ``CancelledError`` at the ``count``-th report of the stage (from 0)."""
    seen: defaultdict[str, int] = defaultdict(int)

    def report(progress: Progress) -> None:
        seen[progress.stage] += 1
        if progress.stage == stage and seen[stage] > count:
            raise CancelledError

    return report


def moments() -> list[tuple[str, int]]:
    return [(stage, count) for stage in STAGES for count in (0, 4)]


def same(mixed: Mixed, whole: Mixed) -> bool:
    return [file.sha256 for file in mixed.result.files] == [file.sha256 for file in whole.result.files]


@pytest.mark.parametrize(("stage", "count"), moments())
def test_interrupted_anywhere_it_ends_the_same(studio, files, whole, stage, count):
    chunks = studio.folder / "chunks"
    try:
        studio.mix(files, OPTIONS, report=stop_at(stage, count), chunks=chunks)
    except CancelledError:
        pass
    else:
        assert count == 4, "the stage has fewer moments than that"
    left = json.loads((chunks / "mix.json").read_text()) if (chunks / "mix.json").exists() else {"tracks": {}}
    seen = []
    mixed = studio.mix(files, OPTIONS, report=seen.append, chunks=chunks)
    assert same(mixed, whole)
    assert mixed.warnings == whole.warnings
    assert mixed.report["parameters"] == whole.report["parameters"]
    assert mixed.result.chunks["reused"] == len(left["tracks"])
    assert mixed.result.chunks["total"] == whole.result.chunks["total"]
    assert_not_done_again(stage, mixed, seen)
    assert not list(chunks.glob("*.part"))


def assert_not_done_again(stage: str, mixed: Mixed, seen: list[Progress]) -> None:
    """Stages before the one of the interruption only say that they are over."""
    for before in STAGES[: STAGES.index(stage)]:
        assert sum(each.stage == before for each in seen) == 1, before


def test_interrupted_again_and_again_it_comes_to_its_end(studio, files, whole):
    """Each attempt gets one track further; none of the work that was done is lost."""
    chunks, attempts, known = studio.folder / "chunks", 0, 0
    while attempts < 100:
        attempts += 1
        try:
            mixed = studio.mix(files, OPTIONS, report=after_one_more_track(chunks, known), chunks=chunks)
            break
        except CancelledError:
            assert len(json.loads((chunks / "mix.json").read_text())["tracks"]) > known
            known = len(json.loads((chunks / "mix.json").read_text())["tracks"])
    assert same(mixed, whole)
    assert mixed.result.chunks["resumes"] == attempts - 1 > 5


def after_one_more_track(chunks: Path, known: int) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        index = chunks / "mix.json"
        if index.exists() and len(json.loads(index.read_text())["tracks"]) > known:
            raise CancelledError

    return report


# ---- what is found on the shelf is not believed


@pytest.fixture
def begun(studio, files) -> Path:
    """What is left of a mix that was interrupted while it was mastered."""
    chunks = studio.folder / "chunks"
    with pytest.raises(CancelledError):
        studio.mix(files, OPTIONS, report=stop_at("mastering", 1), chunks=chunks)
    return chunks


def track_of(chunks: Path, name: str) -> Path:
    return chunks / json.loads((chunks / "mix.json").read_text())["tracks"][name]["file"]


@pytest.mark.parametrize("how", ["a bit", "cut short", "longer", "gone"])
def test_a_damaged_track_is_noticed(studio, files, whole, begun, how):
    track = track_of(begun, "blend")
    data = bytearray(track.read_bytes())
    match how:
        case "a bit":
            data[len(data) // 2] ^= 1
            track.write_bytes(data)
        case "cut short":
            track.write_bytes(data[:-8])
        case "longer":
            track.write_bytes(bytes(data) + b"\0" * 8)
        case "gone":
            track.unlink()
    mixed = studio.mix(files, OPTIONS, chunks=begun)
    assert same(mixed, whole)
    assert "discarded" in mixed.warnings
    assert "blend" in mixed.warnings


@pytest.mark.parametrize("index", [b"", b"[]", b'{"format": 1}', b"\xff\xfe"])
def test_an_index_that_cannot_be_read_is_begun_anew(studio, files, whole, begun, index):
    (begun / "mix.json").write_bytes(index)
    assert same(studio.mix(files, OPTIONS, chunks=begun), whole)


def test_litter_of_a_killed_attempt_is_removed(studio, files, whole, begun):
    for name in ("000099.f32", "000003.f32.part", "mix.json.part"):
        (begun / name).write_bytes(b"half of it")
    assert same(studio.mix(files, OPTIONS, chunks=begun), whole)
    assert not list(begun.glob("*.part"))
    assert not (begun / "000099.f32").exists()


def test_other_settings_begin_anew(studio, files, begun):
    options = over(OPTIONS, {"master": {"width": 0.7}})
    mixed = studio.mix(files, options, chunks=begun)
    assert same(mixed, studio.mix(files, options))
    assert "discarded; changed since: settings" in mixed.warnings
    assert mixed.result.chunks["reused"] == 0


def test_another_stem_begins_anew(studio, files, begun):
    others = {**files, "bass": files["other"]}
    mixed = studio.mix(others, OPTIONS, chunks=begun)
    assert same(mixed, studio.mix(others, OPTIONS))
    assert "discarded; changed since: inputs" in mixed.warnings


def test_a_track_that_is_damaged_while_it_is_used_is_no_wrong_mix(studio, files, begun):
    """Cut off under the mix's hands: an error that is tried again, not half a song."""

    def report(progress: Progress) -> None:
        if progress.stage == "mastering":
            track_of(begun, "blend").write_bytes(b"")

    with pytest.raises(StemdError) as caught:
        studio.mix(files, OPTIONS, report=report, chunks=begun)
    assert caught.value.code == "STEMD-E008"
    assert caught.value.detail["mix_stage"] == "mastering"
