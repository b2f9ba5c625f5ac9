"""What is finished stays; what is not whole, or no longer of use, does not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from stemd.core.errors import StemdError
from stemd.engines.mix.shelf import Shelf


def track(seed: int, frames: int = 1000) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((frames, 2)).astype(np.float32)


def opened(folder, **header) -> Shelf:
    shelf = Shelf(folder, header)
    shelf.open()
    return shelf


def whole(shelf: Shelf, name: str, begin: int = 0, end: int | None = None) -> np.ndarray:
    return np.concatenate([*shelf.read(name, begin, end), np.zeros((0, 2), np.float32)])


def test_a_track_and_its_facts_are_there_for_the_next_attempt(tmp_path):
    first = opened(tmp_path)
    first.put("a", iter(np.array_split(track(1), 7)), lambda: {"a": {"level": -20.5}})
    first.note("lags", {"b": 3})
    again = opened(tmp_path)
    assert np.array_equal(whole(again, "a"), track(1))
    assert (again.frames("a"), again.fact("a"), again.fact("lags")) == (1000, {"level": -20.5}, {"b": 3})
    assert (again.count, again.reused, again.resumes, again.discarded) == (1, 1, 1, "")


@pytest.mark.parametrize(
    ("begin", "end"), [(-500, 1500), (200, 300), (-10, 5), (990, 1300), (1000, 1200), (-300, -100)]
)
def test_beyond_its_ends_a_track_is_silent(tmp_path, begin, end):
    shelf = opened(tmp_path)
    shelf.put("a", [track(1)])
    padded = np.pad(track(1), ((2000, 2000), (0, 0)))
    assert np.array_equal(whole(shelf, "a", begin, end), padded[begin + 2000 : end + 2000])


def test_other_settings_begin_anew(tmp_path):
    opened(tmp_path, gain=1).put("a", [track(1)])
    again = opened(tmp_path, gain=2)
    assert (again.count, again.has("a")) == (0, False)
    assert "gain" in again.discarded
    assert [path.name for path in tmp_path.glob("*.f32")] == []


def test_what_is_damaged_is_made_again_and_what_was_emptied_for_it_too(tmp_path):
    shelf = opened(tmp_path)
    for name in ("stem a", "stem b", "track a", "track b"):
        shelf.put(name, [track(len(name))])
    shelf.drop("stem a", "track a")
    shelf.drop("stem b", "track b")
    path = tmp_path / "000002.f32"
    path.write_bytes(bytes(path.stat().st_size))
    again = opened(tmp_path)
    assert [again.has(name) for name in ("stem a", "stem b", "track a", "track b")] == [False, True, False, True]
    assert "damaged" in again.discarded


@pytest.mark.parametrize("spoil", [b"", b'{"b": {"peaks": [1', b"[1]", None])
def test_a_track_whose_facts_are_damaged_is_made_again(tmp_path, spoil):
    shelf = opened(tmp_path)
    for name in "abc":
        shelf.put(name, [track(ord(name))], lambda name=name: {name: {"level": ord(name)}})
    shelf.drop("a", "b")
    path = tmp_path / "000001.json"
    if spoil is None:
        path.unlink()
    else:
        path.write_bytes(spoil)
    again = opened(tmp_path)
    assert [again.has(name) for name in "abc"] == [False, False, True]
    assert [again.fact(name) for name in "abc"] == [None, None, {"level": 99}]
    assert "damaged" in again.discarded
    again.put("b", [track(2)], lambda: {"b": {"level": 2}})
    assert opened(tmp_path).fact("b") == {"level": 2}


def test_facts_of_an_emptied_track_stay(tmp_path):
    shelf = opened(tmp_path)
    shelf.put("a", [track(1)], lambda: {"a": 1, "more": 2})
    shelf.put("b", [track(2)])
    shelf.drop("a", "b")
    again = opened(tmp_path)
    assert (again.fact("a"), again.fact("more"), again.fact("b")) == (1, 2, None)


def test_what_one_more_track_costs_does_not_grow_with_their_facts(tmp_path):
    shelf = opened(tmp_path)
    for number in range(20):
        shelf.put(f"track {number}", [track(1, 10)], lambda number=number: {f"track {number}": ["peaks"] * 5000})
    assert (tmp_path / "mix.json").stat().st_size < 5000
    assert opened(tmp_path).fact("track 19") == ["peaks"] * 5000


def test_an_emptied_track_counts_and_takes_no_room(tmp_path):
    shelf = opened(tmp_path)
    shelf.put("a", [track(1)])
    shelf.put("b", [track(2)])
    shelf.drop("a", "b")
    shelf.drop("a", "b")
    again = opened(tmp_path)
    assert (again.count, again.has("a"), again.frames("a")) == (2, True, 1000)
    assert sorted(path.stat().st_size for path in tmp_path.glob("*.f32")) == [0, 8000]


def test_what_was_not_finished_is_removed(tmp_path):
    shelf = opened(tmp_path)

    def breaks():
        yield track(1)
        raise StemdError("STEMD-A002", "cut short")

    with pytest.raises(StemdError):
        shelf.put("a", breaks())
    assert opened(tmp_path).count == 0
    assert {path.name for path in tmp_path.iterdir()} == {"mix.json"}


def test_new_tracks_do_not_take_the_files_of_those_kept(tmp_path):
    shelf = opened(tmp_path)
    for name in "abc":
        shelf.put(name, [track(ord(name))])
    (tmp_path / "000001.f32").unlink()
    again = opened(tmp_path)
    again.put("b", [track(ord("b"))])
    again.put("d", [track(ord("d"))])
    last = opened(tmp_path)
    assert all(np.array_equal(whole(last, name), track(ord(name))) for name in "abcd")


def test_a_file_that_shrinks_under_us_is_told_of(tmp_path):
    shelf = opened(tmp_path)
    shelf.put("a", [track(1)])
    (tmp_path / "000000.f32").write_bytes(b"short")
    with pytest.raises(StemdError) as caught:
        whole(shelf, "a")
    assert caught.value.code == "STEMD-E008"


@pytest.mark.parametrize("index", ["", "{", "[]", '{"format": 1}', json.dumps({"format": 9, "header": {}})])
def test_a_torn_index_begins_anew(tmp_path, index):
    opened(tmp_path).put("a", [track(1)])
    (tmp_path / "mix.json").write_text(index)
    assert opened(tmp_path).count == 0
