"""Notes, scales and chords."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Note(NamedTuple):
    """``at`` and ``length`` in seconds, ``pitch`` as in MIDI (60 is the middle C), ``velocity`` 1 to 127."""

    at: float
    length: float
    pitch: int
    velocity: int


class Harmony(NamedTuple):
    """A key, its scale, the chord of each bar (pitches from the bass up), and the length of a beat in seconds."""

    key: int
    scale: tuple[int, ...]
    chords: tuple[tuple[int, ...], ...]
    beat: float

    @property
    def bars(self) -> int:
        return len(self.chords)

    def start(self, bar: int) -> float:
        """When ``bar`` begins, in seconds; a bar has four beats."""
        return bar * 4 * self.beat


SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "harmonic": (0, 2, 3, 5, 7, 8, 11),
}
_USUAL = ("major", "major", "minor", "minor", "minor", "dorian", "mixolydian", "phrygian", "harmonic")
#: Degrees of the scale, one for each bar, over and over.
_PROGRESSIONS = (
    (0, 4, 5, 3), (0, 5, 3, 4), (5, 3, 0, 4), (0, 3, 4, 3), (1, 4, 0, 0), (0, 6, 5, 4), (0, 0, 3, 4), (0, 2, 3, 4),
    (0, 5, 1, 4), (0, 3, 0, 4), (0, 6, 3, 0), (3, 0, 4, 5), (0, 0, 0, 0, 3, 3, 0, 0, 4, 3, 0, 4), (0,), (0, 3), (0, 6),
)  # fmt: skip


def chord(key: int, scale: tuple[int, ...], degree: int, seventh: bool) -> tuple[int, ...]:
    """The chord on ``degree`` of the scale in thirds."""
    steps = (0, 2, 4, 6) if seventh else (0, 2, 4)
    return tuple(key + scale[(degree + step) % 7] + 12 * ((degree + step) // 7) for step in steps)


def harmony(random: np.random.Generator, beat: float, seconds: float, sevenths: float) -> Harmony:
    """A random key, scale and progression for as many bars as fill ``seconds``."""
    bars = max(2, int(np.ceil(seconds / (4 * beat))))
    key = int(random.integers(36, 48))
    scale = SCALES[str(random.choice(_USUAL))]
    progression = _PROGRESSIONS[random.integers(len(_PROGRESSIONS))]
    seventh = bool(random.random() < sevenths)
    chords = tuple(chord(key, scale, progression[bar % len(progression)], seventh) for bar in range(bars))
    return Harmony(key, scale, chords, beat)
