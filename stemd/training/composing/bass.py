"""Bass lines in eight manners."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from stemd.training.composing.genres import Genre
from stemd.training.composing.theory import Harmony, Note

#: Beats from the start of the bar, beats held, semitones above the root.
_Figure = list[tuple[float, float, int]]
_LOWEST = (24, 28, 28, 31, 33)
_STEPS = (0, 0, 0, 7, 12, 10, 5, 3)


def bass(random: np.random.Generator, genre: Genre, harmony: Harmony) -> list[Note]:
    """One line for the whole song, in one manner."""
    lowest = int(random.choice(_LOWEST))
    figure = _FIGURES[str(random.choice(sorted(_FIGURES)))](random, genre)
    notes = []
    for bar, chord in enumerate(harmony.chords):
        root = chord[0] % 12 + lowest
        if root > lowest + 9 and random.random() < 0.5:
            root -= 12
        for at, held, step in figure:
            velocity = int(random.integers(80, 118))
            notes.append(Note(harmony.start(bar) + at * harmony.beat, held * harmony.beat, root + step, velocity))
    return notes


def _riff(random: np.random.Generator, _: Genre) -> _Figure:
    steps = [0, *(step for step in range(1, 16) if random.random() < 0.45)]
    return [(step / 4, 0.32, int(random.choice(_STEPS))) for step in steps]


def _walk(random: np.random.Generator, _: Genre) -> _Figure:
    return [
        (0, 0.95, 0),
        (1, 0.95, int(random.choice([3, 4]))),
        (2, 0.95, 7),
        (3, 0.95, int(random.choice([5, 9, 11]))),
    ]


def _kick(_: np.random.Generator, genre: Genre) -> _Figure:
    return [(step / 4, 0.6, 0) for step in range(16) if genre.kick[step] == "x"]


def _syncopated(random: np.random.Generator, _: Genre) -> _Figure:
    leap = 12 if random.random() < 0.3 else 0
    return [(0, 1.4, 0), (1.5, 0.5, 0), (2, 0.7, leap), (2.75, 0.6, 7), (3.5, 0.4, 0)]


_FIGURES: Mapping[str, Callable[[np.random.Generator, Genre], _Figure]] = {
    "eighths": lambda *_: [(step / 2, 0.45, 0) for step in range(8)],
    "octaves": lambda *_: [(step / 2, 0.4, 12 * (step % 2)) for step in range(8)],
    "held": lambda *_: [(0, 3.9, 0)],
    "offbeat": lambda *_: [(beat + 0.5, 0.45, 0) for beat in range(4)],
    "kick": _kick,
    "riff": _riff,
    "syncopated": _syncopated,
    "walk": _walk,
}
