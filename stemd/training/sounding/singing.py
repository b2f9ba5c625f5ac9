"""A singer: words of one voice on a melody, resynthesised by WORLD."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemd.training.composing.theory import Note
from stemd.training.sounding.voicebank import FFT, FRAME, Bank, Word, is_female, is_recorded
from stemd.training.terms import RATE

_BINS, _SILENCE = FFT // 2 + 1, -24.0
_LEGATO, _BREATHE = 0.2, 0.45
"""Pauses, in seconds, below which a note slides in from the last one, and above which the singer takes a breath."""
_PEOPLE = 0.5
"""How likely a singer is one of the recorded voices, where there are any."""
_Row = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Singer:
    """``formants`` stretches the throat; ``vibrato`` in Hz with ``depth`` in semitones; ``slide`` in seconds."""

    words: Sequence[Word]
    low: int
    high: int
    formants: float
    vibrato: float
    depth: float
    breath: float
    tilt: float
    slide: float
    rough: float


def draw(random: np.random.Generator, bank: Bank) -> Singer:
    """One of the bank's voices, with a body and habits of its own."""
    voice = str(random.choice(_kind(random, sorted(bank))))
    female = is_female(voice)
    low, high = (55, 79) if female else (43, 69)
    return Singer(
        words=bank[voice],
        low=low,
        high=high,
        formants=float(random.uniform(0.92, 1.25) if female else random.uniform(0.82, 1.12)),
        vibrato=float(random.uniform(4.8, 6.6)),
        depth=float(random.uniform(0.0, 0.6)),
        breath=float(random.uniform(0, 0.6) ** 1.5),
        tilt=float(random.uniform(-4, 8)),
        slide=float(random.uniform(0.015, 0.1)),
        rough=float(random.uniform(0, 0.15)),
    )


def _kind(random: np.random.Generator, voices: list[str]) -> list[str]:
    """Those of people or the others; people, of whom there are few, sing more often."""
    people = [voice for voice in voices if is_recorded(voice)]
    if not people:
        return voices
    chosen = random.random() < _PEOPLE
    return [voice for voice in voices if is_recorded(voice) == chosen] or people


def sing(
    random: np.random.Generator, notes: Sequence[Note], frames: int, singer: Singer, *, talk: bool = False
) -> NDArray[np.float32]:
    """One channel of ``frames``. Notes are moved by octaves into the singer's range; ``talk`` speaks on them."""
    import pyworld

    count = int(frames / RATE / FRAME) + 2
    pitch = np.zeros(count)
    spectrum = np.full((count, _BINS), _SILENCE, np.float32)
    noise = np.ones((count, _BINS), np.float32)
    warp = np.clip(np.arange(_BINS) / singer.formants, 0, _BINS - 1).astype(int)
    tilt = -singer.tilt * np.sqrt(np.linspace(0, 1, _BINS)) / 4.34
    last: Note | None = None
    for written in notes:
        note = written._replace(pitch=_in_range(written.pitch, singer))
        first, length = int(note.at / FRAME), max(8, int(note.length / FRAME))
        if first + length >= count:
            break
        word = _stretched(random, singer.words[int(random.integers(len(singer.words)))], length)
        place = slice(first, first + length)
        line = _spoken(random, note, length) if talk else _sung(random, note, last, length, singer)
        line += np.cumsum(random.normal(0, 0.02, length)) + random.normal(0, singer.rough, length)
        pitch[place] = np.where(word.voiced, 440 * 2 ** ((line - 69) / 12), 0)
        edge = np.minimum(1, np.minimum((np.arange(length) + 1) / 4, (length - np.arange(length)) / 8))
        gain = 2 * np.log(edge * (note.velocity / 100) + 1e-4)
        spectrum[place] = word.spectrum.astype(np.float32)[:, warp] + tilt + gain[:, None]
        noise[place] = np.clip(word.noise.astype(np.float32)[:, warp] + singer.breath * 0.6, 0, 1)
        last = note
    power = np.exp(spectrum).astype(np.float64)
    sound = pyworld.synthesize(pitch, power, np.clip(noise, 1e-3, 1).astype(np.float64), RATE, FRAME * 1000)
    sound = np.pad(sound, (0, max(0, frames - len(sound))))[:frames]
    _breathe(random, notes, sound)
    return np.asarray(np.nan_to_num(sound), np.float32)


def _in_range(pitch: int, singer: Singer) -> int:
    while pitch < singer.low:
        pitch += 12
    while pitch > singer.high:
        pitch -= 12
    return pitch


def _sung(random: np.random.Generator, note: Note, last: Note | None, length: int, singer: Singer) -> _Row:
    """The pitch of each frame in semitones: a slide from the note before or from below, a vibrato that comes late."""
    time = np.arange(length) * FRAME
    line = np.full(length, float(note.pitch))
    if last is not None and note.at - (last.at + last.length) < _LEGATO:
        line += (last.pitch - note.pitch) * np.exp(-time / singer.slide)
    else:
        line -= random.uniform(0, 1.5) * np.exp(-time / 0.05)
    late = np.clip((time - 0.2) / 0.3, 0, 1)
    line += singer.depth * late * np.sin(2 * np.pi * singer.vibrato * time)
    return line


def _spoken(random: np.random.Generator, note: Note, length: int) -> _Row:
    time = np.arange(length) * FRAME
    wave = np.sin(2 * np.pi * random.uniform(0.5, 2) * time + random.uniform(0, 6))
    line: _Row = note.pitch + 3 * wave - 4 * time
    return line


def _stretched(random: np.random.Generator, word: Word, length: int) -> Word:
    """``word`` in ``length`` frames: a long note rests, wandering a little, on its loudest voiced frame."""
    own = len(word.voiced)
    if length <= own:
        index = np.linspace(0, own - 1, length)
    else:
        loudest = int(np.argmax(word.spectrum.astype(np.float32).mean(1) + 20 * word.voiced))
        drift = np.clip(np.cumsum(random.normal(0, 0.12, length - own)), -2, 2)
        held = np.clip(loudest + drift, 0, own - 1)
        index = np.concatenate([np.arange(loudest), held, np.arange(loudest, own)])
    chosen = np.clip(np.round(index).astype(int), 0, own - 1)
    return Word(word.voiced[chosen], word.spectrum[chosen], word.noise[chosen])


def _breathe(random: np.random.Generator, notes: Sequence[Note], sound: _Row) -> None:
    """Breaths before phrases."""
    level, end = 4 * float(np.abs(sound).mean()) + 1e-4, -9.0
    for note in notes:
        if note.at - end > _BREATHE and note.at > 0.4 and random.random() < 0.6:
            length = int(random.uniform(0.15, 0.35) * RATE)
            puff = random.normal(0, 1, length) * np.hanning(length)
            start = int(note.at * RATE) - length
            puff = (puff + np.diff(puff, prepend=0)) * 0.5 * random.uniform(0.01, 0.05) * level
            sound[start : start + length] += puff[: max(0, len(sound) - start)]
        end = note.at + note.length
