"""Which pieces make a training mixture: drawn from the seed and the number of the batch alone.

So a run that was killed goes on with the very batches it would have had, and two runs of different seeds see others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from stemd.training.composing.theory import Note
from stemd.training.shelf import Shelved
from stemd.training.sounding import effects, synth, vowels
from stemd.training.terms import LEVEL, RATE, STEMS, Sound, levelled

_BASS = STEMS.index("bass")
#: How likely a mixture is one real song (else stems of different songs), its stems are brought to one level, a stem is
#: left out, the speed is changed, the bass is played at quite another pitch.
_TOGETHER, _EVEN, _MISSING, _VARIED, _BENT = 0.5, 0.5, 0.12, 0.5, 0.3
_DENSE, _TRIES = 0.7, 6
"""How likely a place is looked for where every stem of the song sounds, and how many are tried."""
_BEFORE = 2 * RATE
"""Frames that a line plays before the mixture begins, so that it begins within a note."""
_SPEED = 0.17
"""The furthest change of speed, and with it of pitch, as a natural logarithm."""
_BEND = 0.8
"""The same for such a bass: sub-bass more than an octave down, and as high as a bass guitar is played."""


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
    """Four stems × 2 × ``frames``: of one song, in its own balance or at one level, or of four songs at one level."""
    speed = float(np.exp(random.uniform(-_SPEED, _SPEED))) if random.random() < _VARIED else 1.0
    needed = int(frames * speed) + 2
    together, even = random.random() < _TOGETHER, random.random() < _EVEN
    song = corpus.draw(random)
    start = _start(random, song, needed, range(len(STEMS))) if together else 0
    stems = np.zeros((len(STEMS), 2, frames), np.float32)
    loudest = max(song.levels) or 1.0
    for stem in range(len(STEMS)):
        if not together:
            song = corpus.draw(random, stem)
            start = _start(random, song, needed, [stem])
        if song.levels[stem] > 0 and random.random() >= _MISSING:
            level = loudest if together and not even else song.levels[stem]
            odds, play = _INSTEAD.get(STEMS[stem], (0.0, _boom))
            if random.random() < odds:
                stems[stem] = levelled(play(random, frames), LEVEL * song.levels[stem] / level)
                continue
            bend = float(np.exp(random.uniform(-_BEND, _BEND))) if stem == _BASS and random.random() < _BENT else 1.0
            length = int(needed * max(1.0, bend))
            begin = max(0, min(start, song.frames - length))  # a fast one needs more of the song
            piece = song.cut(stem, begin, begin + length)
            stems[stem] = _at_speed(piece, speed * bend, frames) * np.float32(LEVEL / level)
    return stems


def _boom(random: np.random.Generator, frames: int) -> Sound:
    """Long low notes, as of the bass drum of a TR-808 that plays the bass."""
    notes = _line(random, frames, int(random.integers(22, 40)), (0.5, 0.75, 1, 1, 1.5, 2, 3, 4))
    return synth.play(random, notes, frames + _BEFORE, synth.boom(random))[:, _BEFORE:]


def _strike(random: np.random.Generator, frames: int) -> Sound:
    """Short notes of something that is struck and yet no drum."""
    notes = _line(random, frames, int(random.integers(50, 86)), (0.25, 0.25, 0.5, 0.5, 0.75, 1, 2))
    return effects.place(synth.strike(random, notes, frames + _BEFORE), float(random.uniform(-0.7, 0.7)))[:, _BEFORE:]


def _vocalise(random: np.random.Generator, frames: int) -> Sound:
    """A voice that sings no words."""
    notes = _line(random, frames, int(random.integers(48, 74)), (0.5, 1, 1, 1.5, 2, 3, 4))
    return vowels.vocalise(random, notes, frames + _BEFORE)[:, _BEFORE:]


#: What few of the songs have and many records do: how likely it takes the place of a stem, and who makes it.
_INSTEAD = {"bass": (0.1, _boom), "other": (0.06, _strike), "vocals": (0.33, _vocalise)}


def _line(random: np.random.Generator, frames: int, root: int, gaps: Sequence[float]) -> list[Note]:
    """Notes at and after ``_BEFORE``, ``gaps`` in beats."""
    seconds, beat = (frames + _BEFORE) / RATE, float(random.uniform(0.3, 0.8))
    notes, at = [], float(random.uniform(0, beat))
    while at < seconds:
        gap = beat * float(random.choice(gaps))
        pitch = root + int(random.choice([0, 0, 0, 0, 3, 5, 7, 12, -2]))
        notes.append(Note(at, gap * float(random.uniform(0.5, 1)), pitch, int(random.integers(70, 120))))
        at += gap
    return notes


def _start(random: np.random.Generator, song: Shelved, needed: int, stems: Iterable[int]) -> int:
    """A place in the song; most often one where all of ``stems`` that it has sound, if a few tries find it."""
    wanted = [stem for stem in stems if song.levels[stem] > 0] if random.random() < _DENSE else []
    for _ in range(_TRIES):
        start = int(random.integers(max(1, song.frames - needed)))
        if all(song.sounds(stem, start, start + needed) for stem in wanted):
            break
    return start


def _at_speed(piece: Sound, speed: float, frames: int) -> Sound:
    """``piece`` played faster or slower, by straight lines between frames; what a short song lacks is silence."""
    if speed != 1.0 and piece.shape[1] > 1:
        at = np.arange(frames) * speed
        at = at[at < piece.shape[1] - 1]
        first = at.astype(np.int64)
        part = (at - first).astype(np.float32)
        piece = piece[:, first] * (1 - part) + piece[:, first + 1] * part
    return np.pad(piece[:, :frames], ((0, 0), (0, max(0, frames - piece.shape[1]))))
