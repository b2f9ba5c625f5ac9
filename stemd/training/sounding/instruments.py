"""One part of a song, played: which sound, which effects, where it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from stemd.training.composing.song import Part
from stemd.training.sounding import effects, kit, singing, synth
from stemd.training.sounding.fluid import DRUMS, Fluid
from stemd.training.sounding.voicebank import Bank
from stemd.training.terms import RATE, Sound, levelled

#: Programs of General MIDI for each family.
PROGRAMS: Mapping[str, tuple[int, ...]] = {
    "drums": (0, 0, 0, 8, 16, 24, 25, 32, 40),
    "bass": (32, 33, 33, 34, 34, 35, 36, 37, 38, 39),
    "keys": (0, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 23),
    "guitars": (24, 25, 25, 26, 27, 28, 29, 30, 30, 31),
    "pads": (44, 48, 49, 50, 51, 55, 88, 89, 90, 92, 93, 94, 95),
    "leads": (8, 9, 11, 12, 13, 14, 22, 40, 41, 42, 43, 45, 46, 56, 57, 58, 59, 60, 61, 62, 63, 64, 65, 66, 67, 68, 69,
              70, 71, 72, 73, 74, 75, 77, 79, 80, 81, 82, 84, 87, 98, 99, 102, 104, 105, 107, 108, 110, 114),
    "choir": (52, 53, 54, 91),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Studio:
    """What all songs share: a soundfont and a bank of voices."""

    fluid: Fluid
    voices: Bank


@dataclass(frozen=True, slots=True)
class Take:
    """One song's length and beat, and the lead singer, who also doubles."""

    frames: int
    beat: float
    singer: singing.Singer | None


def play(random: np.random.Generator, studio: Studio, take: Take, part: Part) -> Sound:
    """``part`` with its effects at the common level, 2 × frames; silence where it has no notes."""
    if not part.notes or (part.player in {"voice", "talk"} and take.singer is None):
        return np.zeros((2, take.frames), np.float32)
    return _STEMS[part.stem](random, studio, take, part)


def _drums(random: np.random.Generator, studio: Studio, take: Take, part: Part) -> Sound:
    def sampled() -> Sound:
        return levelled(studio.fluid.play(part.notes, _program(random, "drums"), take.frames, DRUMS))

    if part.player == "kit":
        sound = levelled(kit.play(random, part.notes, take.frames))
        if random.random() < 0.3:
            sound = sound + sampled() * np.float32(random.uniform(0.3, 1))
    else:
        sound = sampled()
    if random.random() < 0.5:
        sound = effects.drive(sound * np.float32(random.uniform(1, 4)), 1.0)
    if random.random() < 0.6:
        sound = effects.reverb(random, sound, float(random.uniform(0.03, 0.35)), float(random.uniform(0.15, 1.0)))
    return levelled(_gaps(random, take, sound, 0.1))


def _bass(random: np.random.Generator, studio: Studio, take: Take, part: Part) -> Sound:
    if part.player == "synth":
        sound = synth.play(random, part.notes, take.frames, synth.patch(random, "bass"))
        width = 0.0 if random.random() < 0.8 else 1.0
    else:
        sound = studio.fluid.play(part.notes, _program(random, "bass"), take.frames)
        width = float(random.uniform(0, 0.4))
    sound = levelled(effects.place(sound, 0.0, width))
    if random.random() < 0.35:
        sound = effects.drive(sound, float(random.uniform(1, 8)))
    return levelled(_gaps(random, take, sound, 0.1))


def _other(random: np.random.Generator, studio: Studio, take: Take, part: Part) -> Sound:
    if part.player == "synth":
        sound = synth.play(random, part.notes, take.frames, synth.patch(random, part.family))
    elif part.player == "string":
        sound = synth.pluck(random, part.notes, take.frames)
    else:
        sound = studio.fluid.play(part.notes, _program(random, part.family), take.frames)
        if part.family == "guitars" and random.random() < 0.3:
            sound = effects.drive(levelled(sound), float(random.uniform(2, 12)))
    sound = _echoed(random, take, levelled(sound), 0.25, 0.5)
    if random.random() < 0.5:
        sound = effects.reverb(random, sound, float(random.uniform(0.05, 0.6)))
    side = float(random.uniform(-0.9, 0.9)) if random.random() < 0.5 else 0.0
    sound = effects.place(sound, side, float(random.uniform(0.3, 1.3)))
    sound = effects.rests(random, sound, 4 * take.beat, 0.12)
    return levelled(sound) * np.float32(random.uniform(0.3, 1))


def _vocals(random: np.random.Generator, studio: Studio, take: Take, part: Part) -> Sound:
    backing = part.family in {"double", "harmony", "choir"}
    if part.player == "choir":
        sound = studio.fluid.play(part.notes, _program(random, "choir"), take.frames)
    else:
        assert take.singer is not None
        other = part.family == "harmony" and random.random() < 0.5
        singer = singing.draw(random, studio.voices) if other else take.singer
        line = singing.sing(random, part.notes, take.frames, singer, talk=part.player == "talk")
        sound = np.stack([line] * 2)
    sound = levelled(sound)
    if random.random() < 0.4:
        sound = effects.drive(sound, float(random.uniform(0.5, 4)))
    if backing:
        sound = effects.place(sound, float(random.uniform(-0.9, 0.9)))
    sound = _echoed(random, take, sound, 0.3, 0.35)
    if random.random() < 0.8:
        sound = effects.reverb(random, sound, float(random.uniform(0.05, 0.7)))
    return levelled(sound) * np.float32(random.uniform(0.25, 0.8) if backing else 1.0)


def _program(random: np.random.Generator, family: str) -> int:
    return int(random.choice(PROGRAMS[family]))


def _echoed(random: np.random.Generator, take: Take, sound: Sound, odds: float, most: float) -> Sound:
    if random.random() >= odds:
        return sound
    return effects.echo(sound, take.beat * float(random.choice([0.5, 0.75, 1])), float(random.uniform(0.1, most)))


def _gaps(random: np.random.Generator, take: Take, sound: Sound, odds: float) -> Sound:
    return effects.rests(random, sound, 4 * take.beat, odds) if random.random() < 0.5 else sound


_STEMS: Mapping[str, Callable[[np.random.Generator, Studio, Take, Part], Sound]] = {
    "drums": _drums,
    "bass": _bass,
    "other": _other,
    "vocals": _vocals,
}


def frames_of(seconds: float) -> int:
    """How many frames a song has."""
    return int(seconds * RATE)
