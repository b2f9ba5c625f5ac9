"""A song's plan rendered: four stems, mixed, mastered, sometimes through a codec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from stemd.training.composing.song import Song
from stemd.training.sounding import codec, mastering, singing
from stemd.training.sounding.instruments import Studio, Take, frames_of, play
from stemd.training.terms import STEMS, Sound, levelled

#: How loud each stem is against the others, in dB, and how much songs differ in that; how likely a codec is.
_BALANCE, _SPREAD = (0.0, -1.0, -1.0, 1.0), 3.0
CODED = 0.15


@dataclass(frozen=True, slots=True)
class Rendered:
    """``stems`` (4 × 2 × frames) add up to the song; ``facts`` say what was drawn for the whole."""

    stems: Sound
    facts: dict[str, Any]


def render(song: Song, studio: Studio, *, coded: float = CODED) -> Rendered:
    """The same for the same plan, soundfont and voices, whatever was rendered before."""
    whole = np.random.default_rng([song.seed, song.number, 1])
    frames = frames_of(song.seconds)
    singer = singing.draw(whole, studio.voices) if studio.voices else None
    take = Take(frames, song.beat, singer)
    stems = np.zeros((len(STEMS), 2, frames), np.float32)
    for index, part in enumerate(song.parts):
        own = np.random.default_rng([song.seed, song.number, 2, index])
        stems[STEMS.index(part.stem)] += play(own, studio, take, part)
    for index in range(len(STEMS)):
        decibel = _BALANCE[index] + _SPREAD * float(np.clip(whole.normal(), -2.5, 2.5))
        stems[index] = levelled(np.nan_to_num(stems[index])) * np.float32(10 ** (decibel / 20))
    style, coding = mastering.draw(whole), codec.draw(whole, coded)
    stems = mastering.master(stems, style)
    if coding:
        stems = np.stack([codec.through(stem, *coding) for stem in stems])
    return Rendered(stems, {"genre": song.genre, "master": style.to_json(), "codec": coding and list(coding)})
