"""The song: eight bars in A minor at 100 beats a minute, with drums, bass, keys (``other``) and a sung line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from stemd.engines.sample import synth
from stemd.engines.sample.synth import RATE, Signal

LENGTH = 20.0
STEMS = ("drums", "bass", "other", "vocals")
_BEAT = 0.6
_BAR = 4 * _BEAT
#: One chord per bar: the bass note and the triad.
_CHORDS = (
    (33, (57, 60, 64)),
    (29, (57, 60, 65)),
    (36, (55, 60, 64)),
    (31, (55, 59, 62)),
    (33, (57, 60, 64)),
    (29, (57, 60, 65)),
    (31, (55, 59, 62)),
    (33, (57, 60, 64)),
)
#: The melody: beat of entry, beats held, note, vowels.
_MELODY = (
    (2, 1.5, 69, "a"), (3.5, 0.5, 71, "e"), (4, 2.5, 72, "oa"), (7, 1, 71, "i"),
    (8, 1.5, 67, "a"), (9.5, 0.5, 69, "e"), (10, 1.5, 67, "o"), (12, 3, 71, "ea"),
    (16, 1, 69, "a"), (17, 1, 72, "o"), (18, 1.5, 76, "a"), (20, 2, 74, "ie"), (22, 1.5, 72, "o"),
    (24, 1.5, 71, "a"), (25.5, 0.5, 69, "e"), (26, 1.5, 67, "o"), (28, 3.5, 69, "ao"),
)  # fmt: skip
_LEVELS = {"drums": 0.60, "bass": 0.18, "other": 0.40, "vocals": 0.24}


class _Track:
    """A stereo track on which sounds are laid."""

    def __init__(self) -> None:
        self.frames: NDArray[np.float64] = np.zeros((round(LENGTH * RATE), 2))

    def lay(self, at: float, sound: Signal, level: float = 1.0, side: float = 0.0) -> None:
        """Add ``sound`` at ``at`` seconds; ``side`` from −1 (left) to 1 (right) with constant power."""
        start = round(at * RATE)
        stop = min(len(self.frames), start + len(sound))
        angle = (side + 1) * np.pi / 4
        self.frames[start:stop] += np.outer(level * sound[: stop - start], [np.cos(angle), np.sin(angle)])

    def at_level(self, level: float) -> NDArray[np.float64]:
        """The track scaled to the peak ``level``."""
        self.frames *= level / np.abs(self.frames).max()
        return self.frames


def compose() -> dict[str, NDArray[np.float64]]:
    """The stems of the song (frames × 2, float64); always the same numbers. Their sum is the song."""
    tracks = {"drums": _drums(), "bass": _bass(), "other": _keys(), "vocals": _vocals()}
    return {stem: tracks[stem].at_level(_LEVELS[stem]) for stem in STEMS}


def write(folder: Path, stems: Mapping[str, NDArray[np.float64]] | None = None) -> Path:
    """Write ``song.wav`` (24 bit) and ``truth/STEM.wav`` (float) below ``folder``; return the song's path."""
    made = stems or compose()
    truth = folder / "truth"
    truth.mkdir(parents=True, exist_ok=True)
    for stem, frames in made.items():
        soundfile.write(truth / f"{stem}.wav", frames.astype(np.float32), RATE, subtype="FLOAT")
    song = folder / "song.wav"
    soundfile.write(song, sum(made.values()), RATE, subtype="PCM_24")
    return song


def _drums() -> _Track:
    random, track = np.random.default_rng(1), _Track()
    for bar in range(len(_CHORDS)):
        start = bar * _BAR
        for beat in (0, 2, 2.5) if bar % 2 else (0, 1.5, 2):
            track.lay(start + beat * _BEAT, synth.kick(), 1.0)
        for beat in (1, 3):
            track.lay(start + beat * _BEAT, synth.snare(random), 0.8, 0.05)
        for eighth in range(8):
            ring = 0.09 if eighth == 7 else 0.022
            track.lay(start + eighth * _BEAT / 2, synth.hat(random, ring), 0.5 if eighth % 2 else 0.7, 0.25)
    return track


def _bass() -> _Track:
    track = _Track()
    for bar, (root, _) in enumerate(_CHORDS):
        for beat, length, step in ((0, 1.4, 0), (1.5, 0.45, 0), (2, 0.9, 0), (3, 0.45, 7), (3.5, 0.45, 12)):
            track.lay(bar * _BAR + beat * _BEAT, synth.bass(root + step, length * _BEAT))
    return track


def _keys() -> _Track:
    track = _Track()
    for bar, (_, triad) in enumerate(_CHORDS):
        start = bar * _BAR
        track.lay(start, synth.organ(triad, _BAR, 0.06), 0.55, -0.5)
        track.lay(start, synth.organ(triad, _BAR, -0.07), 0.55, 0.5)
        for eighth in range(8):
            note = triad[(0, 1, 2, 1)[eighth % 4]] + 12
            side = -0.7 if eighth % 2 else 0.7
            track.lay(start + eighth * _BEAT / 2, synth.pluck(note, 0.9), 0.5, side)
    return track


def _vocals() -> _Track:
    random, track = np.random.default_rng(2), _Track()
    before = _MELODY[0][2] - 2.0
    for beat, held, note, vowels in _MELODY:
        track.lay(beat * _BEAT, synth.voice(random, note, held * _BEAT, vowels, before))
        before = note
    return track
