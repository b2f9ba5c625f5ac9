"""Accompaniment: chords held, struck, strummed or broken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from stemd.training.composing.theory import Harmony, Note

#: Beats from the start of the bar, beats held, which pitch of the voicing (and octaves above it).
_Figure = list[tuple[float, float, int]]
_POWER = 0.12


def accompaniment(random: np.random.Generator, harmony: Harmony, base: int) -> list[Note]:
    """One manner for the whole song, voiced from ``base`` up."""
    figure = _FIGURES[str(random.choice(sorted(_FIGURES)))](random)
    power = random.random() < _POWER
    turn = int(random.integers(0, 4))
    notes = []
    for bar, chord in enumerate(harmony.chords):
        voicing = _power(chord, base) if power else _voicing(chord, base, turn)
        velocity = int(random.integers(60, 105))
        for at, held, index in figure:
            for number, pitch in enumerate(_chosen(voicing, index)):
                strummed = 0.008 * number if index < 0 else 0.0
                start = harmony.start(bar) + at * harmony.beat + strummed
                notes.append(Note(start, held * harmony.beat, pitch, velocity + int(random.integers(-6, 7))))
    return notes


def _chosen(voicing: Sequence[int], index: int) -> Sequence[int]:
    """All of it, or one pitch: those above the voicing are an octave higher."""
    return voicing if index < 0 else [voicing[index % len(voicing)] + 12 * (index // len(voicing) % 2)]


def _voicing(chord: Sequence[int], base: int, turn: int) -> list[int]:
    return [base + pitch % 12 + (12 if pitch % 12 < turn else 0) for pitch in chord]


def _power(chord: Sequence[int], base: int) -> list[int]:
    root = base - 12 + chord[0] % 12
    return [root, root + 7, root + 12]


def _stabs(random: np.random.Generator) -> _Figure:
    return [(0, 0.3, -1), *((step / 4, 0.3, -1) for step in range(1, 16) if random.random() < 0.3)]


def _broken(random: np.random.Generator) -> _Figure:
    each = int(random.choice([2, 4]))
    order = [int(index) for index in random.permutation(6)] if random.random() < 0.4 else list(range(6))
    return [(step / each, 1.5 / each, order[step % 6]) for step in range(4 * each)]


_ALL = -1
_FIGURES: Mapping[str, Callable[[np.random.Generator], _Figure]] = {
    "block": lambda _: [(0, 1.9, _ALL), (2, 1.9, _ALL)],
    "held": lambda _: [(0, 3.95, _ALL)],
    "offbeat": lambda _: [(beat + 0.5, 0.25, _ALL) for beat in range(4)],
    "strummed": lambda _: [(step / 2, 0.45, _ALL) for step in range(8)],
    "broken": _broken,
    "stabs": _stabs,
}
