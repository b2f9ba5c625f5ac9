"""Songs as notes: the same by seed, in order, within their length, and not all alike."""

from __future__ import annotations

import json

import pytest

from stemd.training.composing.genres import GENRES
from stemd.training.composing.song import PLAYERS, Song, compose
from stemd.training.terms import STEMS


def test_the_same_seed_composes_the_same_song_and_another_another():
    assert compose(1, 3, 20.0) == compose(1, 3, 20.0)
    assert compose(1, 3, 20.0).parts != compose(2, 3, 20.0).parts
    assert compose(1, 3, 20.0).parts != compose(1, 3 + len(GENRES), 20.0).parts


@pytest.mark.parametrize("number", range(len(GENRES)))
def test_every_genre_composes(number: int):
    song = compose(5, number, 15.0)
    assert song.genre == sorted(GENRES)[number]
    assert song.parts and {part.player for part in song.parts} <= set(PLAYERS)
    for part in song.parts:
        assert part.stem in STEMS
        assert all(0 <= note.at < 15 and note.length > 0 and 0 < note.pitch < 128 for note in part.notes)


def test_grids_have_sixteen_steps():
    for name, genre in GENRES.items():
        assert {len(genre.kick), len(genre.snare), len(genre.hat)} == {16}, name


def test_a_plan_survives_its_file():
    song = compose(9, 4, 12.0)
    again = Song.from_json(json.loads(json.dumps(song.to_json())))
    assert again.to_json() == song.to_json()
    assert [len(part.notes) for part in again.parts] == [len(part.notes) for part in song.parts]


def test_stems_are_missing_now_and_then_but_never_all():
    stems = [{part.stem for part in compose(3, number, 8.0).parts} for number in range(120)]
    assert all(stems)
    for stem in STEMS:
        there = sum(stem in song for song in stems)
        assert 70 < there < 120, stem
