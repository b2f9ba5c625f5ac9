"""A drummer: the genre's grid, with ghosts, accents, fills, percussion and a little unsteadiness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stemd.training.composing.genres import Genre
from stemd.training.composing.theory import Harmony, Note

KICK, SNARE, CRASH = 36, 38, (49, 57)
_SNARES = (38, 38, 38, 40, 39, 37)
_HATS = (42, 42, 42, 42, 51, 44, 54, 70)
_PERCUSSION = (0, 0, 0, 70, 54, 56, 60, 62, 64, 69, 75, 76)
_TOMS = (50, 47, 45, 43, 38)
_FILL_FROM = 10


@dataclass(frozen=True, slots=True)
class _Hand:
    """What one drummer does differently from the next."""

    snare: int
    hat: int
    percussion: int
    steps: frozenset[int]
    stray: float
    ghosts: float
    looseness: float
    fills: float

    @classmethod
    def draw(cls, random: np.random.Generator) -> _Hand:
        parity = int(random.integers(2))
        return cls(
            snare=int(random.choice(_SNARES)),
            hat=int(random.choice(_HATS)),
            percussion=int(random.choice(_PERCUSSION)),
            steps=frozenset(step for step in range(parity, 16, 2) if random.random() < 0.4),
            stray=float(random.uniform(0, 0.06)),
            ghosts=float(random.uniform(0, 0.06)),
            looseness=float(random.choice([0.0, 0.002, 0.004, 0.008])),
            fills=float(random.uniform(0.2, 0.7)),
        )


def drums(random: np.random.Generator, genre: Genre, harmony: Harmony, swing: float) -> list[Note]:
    """The beat of the whole song, in the order of its steps."""
    hand = _Hand.draw(random)
    notes: list[Note] = []
    for bar in range(harmony.bars):
        fill = bar % 4 == 3 and random.random() < hand.fills
        if bar == 0 or (bar % 4 == 0 and random.random() < 0.5):
            notes.append(Note(harmony.start(bar), 1.0, int(random.choice(CRASH)), int(random.integers(80, 120))))
        for step in range(16):
            late = swing * 0.25 if step % 2 else 0.0
            at = harmony.start(bar) + (step / 4 + late) * harmony.beat + float(random.normal(0, hand.looseness))
            if fill and step >= _FILL_FROM:
                if random.random() < 0.7:
                    notes.append(Note(at, 0.1, int(random.choice(_TOMS)), int(random.integers(70, 120))))
            else:
                notes += [Note(at, 0.1, *hit) for hit in _hits(random, genre, hand, step)]
    return notes


def _hits(random: np.random.Generator, genre: Genre, hand: _Hand, step: int) -> list[tuple[int, int]]:
    """Pitches and velocities of one step."""
    hits = []
    if (genre.kick[step] == "x" and random.random() > 0.04) or random.random() < hand.stray:
        hits.append((KICK, int(random.integers(90, 125))))
    if genre.snare[step] == "x":
        hits.append((hand.snare, int(random.integers(85, 125))))
    elif random.random() < hand.ghosts:
        hits.append((SNARE, int(random.integers(25, 50))))
    if (genre.hat[step] == "x" and random.random() > 0.03) or random.random() < hand.stray:
        hat = 46 if hand.hat == 42 and random.random() < 0.06 else hand.hat
        hits.append((hat, int(random.integers(55, 100) * (1.0 if step % 4 == 0 else 0.8))))
    if hand.percussion and step in hand.steps:
        hits.append((hand.percussion, int(random.integers(40, 90))))
    return hits
