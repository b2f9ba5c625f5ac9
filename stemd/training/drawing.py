"""Which pieces make a training mixture: drawn from the seed and the number of the batch alone.

So a run that was killed goes on with the very batches it would have had, and two runs of different seeds see others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from stemd.training import standins
from stemd.training.shelf import Shelved
from stemd.training.sounding import effects
from stemd.training.terms import LEVEL, STEMS, Sound, levelled

_OTHER = STEMS.index("other")
#: How likely a mixture is one real song (else stems of different songs), its stems are brought to one level, a stem is
#: left out, the speed is changed.
_TOGETHER, _EVEN, _MISSING, _VARIED = 0.5, 0.5, 0.12, 0.5
_DENSE, _TRIES = 0.7, 6
"""How likely a place is looked for where every stem of the song sounds, and how many are tried."""
_SPEED = 0.17
"""The furthest change of speed, and with it of pitch, as a natural logarithm."""
_BENT = (0.2, 0.3, 0.2, 0.3)
"""How likely a stem is played at quite another pitch: its drums are tuned, its singer is another one."""
_BEND = (0.3, 0.8, 0.4, 0.3)
"""The furthest it is: sub-bass more than an octave down, and as high as a bass guitar is played."""
_SWAYING, _LONGER = 0.2, 1.14
"""How likely the other instruments vibrate and slide as a voice does, and how much more of the song that takes."""


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
            gain = np.float32(song.levels[stem] / level)
            stems[stem] = gain * _play(random, song, stem, start, speed, frames)
    return stems


def _play(random: np.random.Generator, song: Shelved, stem: int, start: int, speed: float, frames: int) -> Sound:
    """One stem at the common level, 2 × ``frames``, by the song from ``start`` on, by who stands in for it, or both."""
    sound, standin = np.zeros((2, frames), np.float32), standins.draw(random, STEMS[stem])
    if standin:
        sound = levelled(standin.play(random, frames))
        if random.random() >= standin.joins:
            return sound
    if random.random() < _BENT[stem]:
        speed *= float(np.exp(random.uniform(-_BEND[stem], _BEND[stem])))
    sways = stem == _OTHER and random.random() < _SWAYING
    length = int((int(frames * speed) + 2) * (_LONGER if sways else 1.0))
    begin = max(0, min(start, song.frames - length))  # a fast one needs more of the song
    piece = song.cut(stem, begin, begin + length)
    if sways:
        piece = effects.sway(random, piece)
    return sound + _at_speed(piece, speed, frames) * np.float32(LEVEL / song.levels[stem])


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
