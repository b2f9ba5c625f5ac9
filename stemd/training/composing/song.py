"""A whole song as a plan: who plays which notes. How it sounds is drawn when it is rendered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from stemd.training.composing.bass import bass
from stemd.training.composing.chords import accompaniment
from stemd.training.composing.drums import drums
from stemd.training.composing.genres import GENRES, Genre
from stemd.training.composing.melody import Range, melody
from stemd.training.composing.theory import Harmony, Note, harmony
from stemd.training.terms import STEMS

#: Players: ``kit`` and ``synth`` are computed, ``sampled`` plays the soundfont, ``string`` is plucked, ``voice`` sings.
PLAYERS = ("kit", "sampled", "synth", "string", "voice", "talk", "choir")
#: How likely a stem is missing where the genre says nothing.
_ABSENT: Mapping[str, float] = {"drums": 0.05, "bass": 0.06, "other": 0.04, "vocals": 0.08}
_BASES, _LEADS_FROM = (48, 55, 60), (55, 60, 67, 72)


@dataclass(frozen=True, slots=True)
class Part:
    """One player's notes. ``family`` chooses among the player's sounds (``keys``, ``guitars``, ``pads``, ``leads``)."""

    stem: str
    player: str
    notes: tuple[Note, ...]
    family: str = ""


@dataclass(frozen=True, slots=True)
class Song:
    """``seed`` and ``number`` are all that the rendering draws from, besides the notes."""

    seed: int
    number: int
    genre: str
    beat: float
    seconds: float
    parts: tuple[Part, ...]

    def to_json(self) -> dict[str, Any]:
        parts = [
            {
                "stem": part.stem,
                "player": part.player,
                "family": part.family,
                "notes": [[round(note.at, 4), round(note.length, 4), note.pitch, note.velocity] for note in part.notes],
            }
            for part in self.parts
        ]
        named = {"seed": self.seed, "number": self.number, "genre": self.genre}
        return {**named, "beat": self.beat, "seconds": self.seconds, "parts": parts}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Song:
        parts = tuple(
            Part(part["stem"], part["player"], tuple(Note(*note) for note in part["notes"]), part["family"])
            for part in facts["parts"]
        )
        return cls(facts["seed"], facts["number"], facts["genre"], facts["beat"], facts["seconds"], parts)


def compose(seed: int, number: int, seconds: float) -> Song:
    """Song ``number`` of ``seed``: the same on every machine. Genres take turns."""
    random = np.random.default_rng([seed, number])
    name = sorted(GENRES)[number % len(GENRES)]
    genre = GENRES[name]
    beat = round(60.0 / float(random.uniform(*genre.tempo)), 5)
    frame = harmony(random, beat, seconds, genre.sevenths)
    swing = float(random.uniform(0.15, 0.33)) if random.random() < genre.swing else 0.0
    parts = [
        _drums(random, genre, frame, swing),
        _bass(random, genre, frame),
        *_others(random, frame),
        *_voices(random, genre, frame),
    ]
    missing = {stem for stem in STEMS if random.random() < genre.absent.get(stem, _ABSENT[stem])}
    if len(missing) == len(STEMS):
        missing.clear()
    kept = tuple(_within(part, seconds) for part in parts if part.stem not in missing)
    return Song(seed, number, name, beat, seconds, kept)


def _within(part: Part, seconds: float) -> Part:
    notes = tuple(note for note in part.notes if 0 <= note.at < seconds - 0.05)
    return Part(part.stem, part.player, notes, part.family)


def _drums(random: np.random.Generator, genre: Genre, frame: Harmony, swing: float) -> Part:
    player = "kit" if random.random() < genre.electric else "sampled"
    return Part("drums", player, tuple(drums(random, genre, frame, swing)), "drums")


def _bass(random: np.random.Generator, genre: Genre, frame: Harmony) -> Part:
    player = "synth" if random.random() < genre.electric else "sampled"
    return Part("bass", player, tuple(bass(random, genre, frame)), "bass")


def _others(random: np.random.Generator, frame: Harmony) -> list[Part]:
    """One to four instruments."""
    parts = []
    for _ in range(int(random.integers(1, 5))):
        if random.random() < 0.55:
            family = str(random.choice(["keys", "guitars", "guitars", "pads"]))
            notes = accompaniment(random, frame, int(random.choice(_BASES)))
        else:
            family, low = "leads", int(random.choice(_LEADS_FROM))
            notes = melody(random, frame, Range(low, low + 17, float(random.uniform(0.5, 3))))
        chance = random.random()
        player = "sampled" if chance < 0.68 else "synth" if chance < 0.92 or len(notes) > 150 else "string"
        parts.append(Part("other", player, tuple(notes), family))
    return parts


def _voices(random: np.random.Generator, genre: Genre, frame: Harmony) -> list[Part]:
    """A lead; often backing voices that follow it at an interval or double it; sometimes a sampled choir.

    Pitches of the lead are around the middle C; the singer moves them by octaves into its own range.
    """
    talk = random.random() < genre.spoken
    dense = 4.0 if talk else float(random.uniform(0.2, 2))
    lead = melody(random, frame, Range(52, 71, dense, float(random.choice([0.05, 0.2, 0.4]))))
    parts = [Part("vocals", "talk" if talk else "voice", tuple(lead), "lead")]
    for _ in range(int(random.choice([0, 0, 0, 1, 1, 2])) if not talk else 0):
        interval = int(random.choice([0, 0, 3, 4, 7, -5, 12]))
        late = float(abs(random.normal(0, 0.012)))
        follow = [Note(n.at + late, n.length, n.pitch + interval, n.velocity) for n in lead if random.random() < 0.9]
        parts.append(Part("vocals", "voice", tuple(follow), "double" if interval == 0 else "harmony"))
    if random.random() < 0.12:
        parts.append(Part("vocals", "choir", tuple(accompaniment(random, frame, 60)[:200]), "choir"))
    return parts
