"""Which pieces make a training mixture: drawn from the seed and the number of the batch alone.

So a run that was killed goes on with the very batches it would have had, and two runs of different seeds see others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stemd.training.shelf import Shelved
from stemd.training.terms import LEVEL, STEMS, Sound

#: How likely a mixture is one real song (else stems of different songs), a stem is left out, the speed is changed.
_TOGETHER, _MISSING, _VARIED = 0.5, 0.07, 0.5
_SPEED = 0.17
"""The furthest change of speed, and with it of pitch, as a natural logarithm."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """The songs, and for each stem the numbers of those in which it sounds; real ones may be drawn more often."""

    songs: Sequence[Shelved]
    weights: tuple[float, ...]

    @classmethod
    def of(cls, songs: Sequence[Shelved], real: float = 1.0) -> Corpus:
        """``real``: how much more often a piece of a real recording is drawn than a synthetic song."""
        odds = np.array([real if "real" in song.facts else 1.0 for song in songs])
        return cls(songs, tuple(odds / odds.sum()))

    def draw(self, random: np.random.Generator, stem: int | None = None) -> Shelved:
        """A song; where ``stem`` is given, one in which it sounds, unless there is none."""
        for _ in range(50):
            song = self.songs[int(random.choice(len(self.songs), p=self.weights))]
            if stem is None or song.levels[stem] > 0:
                return song
        return song


def generator(seed: int, batch: int, what: int = 0) -> np.random.Generator:
    """The random numbers of one batch."""
    return np.random.default_rng([seed, 77, batch, what])


def mixture(random: np.random.Generator, corpus: Corpus, frames: int) -> Sound:
    """Four stems × 2 × ``frames``: of one song in its own balance, or of four songs at one level."""
    speed = float(np.exp(random.uniform(-_SPEED, _SPEED))) if random.random() < _VARIED else 1.0
    needed = int(frames * speed) + 2
    together = random.random() < _TOGETHER
    song = corpus.draw(random)
    start = _start(random, song, needed)
    stems = np.zeros((len(STEMS), 2, frames), np.float32)
    loudest = max(song.levels) or 1.0
    for stem in range(len(STEMS)):
        if not together:
            song = corpus.draw(random, stem)
            start = _start(random, song, needed)
            loudest = song.levels[stem]
        if song.levels[stem] > 0 and random.random() >= _MISSING:
            piece = song.cut(stem, start, start + needed)
            stems[stem] = _at_speed(piece, speed, frames) * np.float32(LEVEL / loudest)
    return stems


def _start(random: np.random.Generator, song: Shelved, needed: int) -> int:
    return int(random.integers(max(1, song.frames - needed)))


def _at_speed(piece: Sound, speed: float, frames: int) -> Sound:
    """``piece`` played faster or slower, by straight lines between frames; what a short song lacks is silence."""
    if speed != 1.0 and piece.shape[1] > 1:
        at = np.arange(frames) * speed
        at = at[at < piece.shape[1] - 1]
        first = at.astype(np.int64)
        part = (at - first).astype(np.float32)
        piece = piece[:, first] * (1 - part) + piece[:, first + 1] * part
    return np.pad(piece[:, :frames], ((0, 0), (0, max(0, frames - piece.shape[1]))))
