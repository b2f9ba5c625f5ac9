"""Melodies that wander through the scale, with rests between phrases and chord tones on strong beats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stemd.training.composing.theory import Harmony, Note

_LENGTHS = (0.25, 0.5, 0.5, 1.0, 1.0, 1.5, 2.0, 3.0)
_LEAPS = (-3, -2, -1, -1, 0, 1, 1, 2, 3)


@dataclass(frozen=True, slots=True)
class Range:
    """Where a melody lives (``low`` to ``high``), how many short notes it has, and how often two bars are silent."""

    low: int
    high: int
    dense: float = 1.0
    rests: float = 0.35


def melody(random: np.random.Generator, harmony: Harmony, within: Range) -> list[Note]:
    """Phrases of two bars."""
    pitches = [pitch for pitch in range(within.low, within.high + 1) if (pitch - harmony.key) % 12 in harmony.scale]
    odds = np.array([within.dense * 2, 3, 3, 2, 2, 1, 1, 0.5]) / (within.dense * 2 + 12.5)
    place = len(pitches) // 2 + int(random.integers(-2, 3))
    notes = []
    for bar in range(0, harmony.bars, 2):
        if random.random() < within.rests:
            continue
        at = bar * 4.0 + float(random.choice([0, 0, 0.5, 1, 1.5]))
        end = min(harmony.bars, bar + 2) * 4 - float(random.choice([0.5, 1, 1, 2]))
        while at < end:
            held = float(random.choice(_LENGTHS, p=odds))
            place = int(np.clip(place + random.choice(_LEAPS), 0, len(pitches) - 1))
            if at % 2 == 0:
                place = _settled(pitches, place, harmony.chords[min(int(at // 4), harmony.bars - 1)])
            length = held * harmony.beat * float(random.uniform(0.8, 0.98))
            notes.append(Note(at * harmony.beat, length, pitches[place], int(random.integers(75, 115))))
            at += held + (0.5 if random.random() < 0.08 else 0.0)
    return notes


def _settled(pitches: list[int], place: int, chord: tuple[int, ...]) -> int:
    """The nearest pitch that is in the chord, unless it is two steps further than the one at hand."""
    members = {pitch % 12 for pitch in chord}
    return min(range(len(pitches)), key=lambda i: abs(i - place) + (0 if pitches[i] % 12 in members else 2))
