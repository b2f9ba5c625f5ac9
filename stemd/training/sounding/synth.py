"""Synthesisers and plucked strings, drawn anew for every part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from stemd.training.composing.theory import Note
from stemd.training.sounding.oscillators import WAVES, Wave, envelope, oscillate
from stemd.training.terms import RATE, Sound

_TAIL = RATE
#: Of a uniform bar, a marimba's, a bell's, a plain tone's.
_PARTIALS = ((1, 2.76, 5.4, 8.93), (1, 3.93, 9.24), (1, 2, 2.4, 3, 4.5), (1, 2))
_DROPPING = 0.02
"""Seconds in which the pitch of a note that begins too high falls to a third of the way."""


@dataclass(frozen=True, slots=True)
class Patch:
    """``bright`` falls by ``closing`` within ``closes`` seconds; ``voices`` lie ``detuned`` semitones apart; a note
    begins ``drop`` semitones too high."""

    wave: str
    voices: int
    detuned: float
    attack: float
    decay: float
    sustain: float
    release: float
    bright: float
    closing: float
    closes: float
    modulation: float = 0.0
    ratio: float = 1.0
    sub: float = 0.0
    vibrato: float = 0.0
    glide: float = 0.0
    drop: float = 0.0


def patch(random: np.random.Generator, family: str) -> Patch:
    """A random sound for ``bass``, ``pads`` or anything else."""
    drawn = Patch(
        wave=str(random.choice(WAVES)),
        voices=int(random.choice([1, 1, 2, 3, 5])),
        detuned=float(random.uniform(0.03, 0.2)),
        attack=float(random.choice([0.002, 0.005, 0.02, 0.1])),
        decay=float(random.uniform(0.05, 0.8)),
        sustain=float(random.uniform(0, 1)),
        release=float(random.uniform(0.02, 0.3)),
        bright=float(random.uniform(0.2, 0.9)),
        closing=float(random.uniform(0, 0.6)),
        closes=float(random.uniform(0.05, 0.6)),
        vibrato=float(random.choice([0, 0, 0.1, 0.3])),
    )
    if random.random() < 0.25:
        depth, ratio = float(random.uniform(0.5, 5)), float(random.choice([0.5, 1, 2, 3, 3.5, 7]))
        drawn = replace(drawn, modulation=depth, ratio=ratio)
    if family == "bass":
        return replace(
            drawn,
            wave=str(random.choice([*WAVES, "triangle", "sine", "sine"])),
            voices=int(random.choice([1, 1, 2])),
            attack=0.003,
            bright=float(random.uniform(0.05, 0.6)),
            sustain=float(random.uniform(0.3, 1)),
            sub=float(random.choice([0, 0.5, 1])),
            glide=float(random.choice([0, 0, 0.03, 0.1])),
        )
    if family == "pads":
        attack, sustain = float(random.uniform(0.05, 0.5)), float(random.uniform(0.6, 1))
        return replace(drawn, attack=attack, sustain=sustain, voices=int(random.choice([2, 3, 5])), modulation=0.0)
    return drawn


def boom(random: np.random.Generator) -> Patch:
    """A random sub-bass: nearly a sine, long, its attack like a bass drum's."""
    return Patch(
        wave=str(random.choice(["sine", "sine", "triangle"])),
        voices=1,
        detuned=0.0,
        attack=float(random.choice([0.001, 0.003, 0.03])),
        decay=float(random.uniform(0.3, 3)),
        sustain=float(random.uniform(0, 0.9)),
        release=float(random.uniform(0.03, 0.4)),
        bright=float(random.uniform(0.02, 0.2)),
        closing=float(random.uniform(0, 0.3)),
        closes=float(random.uniform(0.02, 0.2)),
        glide=float(random.choice([0, 0, 0.05, 0.15])),
        drop=float(random.choice([0, 7, 12, 24])),
    )


def play(random: np.random.Generator, notes: Sequence[Note], frames: int, sound: Patch) -> Sound:
    """``notes`` with ``sound``, as 2 × ``frames``."""
    out = np.zeros((2, frames + _TAIL), np.float32)
    before: int | None = None
    for note in notes:
        start, held = int(note.at * RATE), int(note.length * RATE)
        length = min(held + int(sound.release * 3 * RATE), frames + _TAIL - start)
        if length <= 0:
            continue
        frequency = _frequency(note.pitch, before, length, sound)
        level = envelope(length, held, sound.attack, sound.decay, sound.sustain, sound.release)
        tone = _tone(random, frequency, sound)
        out[:, start : start + length] += tone * level * np.float32(note.velocity / 100)
        before = note.pitch
    return out[:, :frames]


def _frequency(pitch: int, before: int | None, length: int, sound: Patch) -> NDArray[np.float64]:
    time = np.arange(length) / RATE
    bend = np.zeros(length)
    if sound.glide and before is not None:
        bend += (before - pitch) * np.exp(-time / sound.glide)
    if sound.drop:
        bend += sound.drop * np.exp(-time / _DROPPING)
    if sound.vibrato:
        bend += sound.vibrato * np.sin(2 * np.pi * 5.5 * time) * np.clip(time - 0.15, 0, 0.3) * 3
    frequency: NDArray[np.float64] = 440.0 * 2 ** ((pitch - 69 + bend) / 12)
    return frequency


def _tone(random: np.random.Generator, frequency: NDArray[np.float64], sound: Patch) -> Sound:
    """All voices, spread over the two channels, and the octave below."""
    length = len(frequency)
    closing = np.exp(-np.arange(length) / RATE / sound.closes)
    tone = np.zeros((2, length), np.float32)
    for voice in range(sound.voices):
        apart = voice - (sound.voices - 1) / 2
        side = 0.5 + (0.4 * apart / (sound.voices - 1) if sound.voices > 1 else 0.0)
        wave = _wave(frequency * 2 ** (sound.detuned / 12 * apart), closing, sound, float(random.random()))
        tone += np.stack([wave * (1 - side), wave * side]).astype(np.float32)
    if sound.sub:
        tone += (sound.sub * 0.5 * np.sin(np.pi * np.cumsum(frequency) / RATE)).astype(np.float32)
    return tone / np.float32(np.sqrt(sound.voices))


def _wave(frequency: NDArray[np.float64], closing: NDArray[np.float64], sound: Patch, start: float) -> Wave:
    phase = 2 * np.pi * np.cumsum(frequency) / RATE
    if sound.modulation:
        return np.sin(phase + sound.modulation * closing * np.sin(sound.ratio * phase)).astype(np.float32)
    if sound.wave == "sine":
        return np.sin(phase).astype(np.float32)
    bright = np.clip(sound.bright + sound.closing * closing, 0.02, 1).astype(np.float32)
    return oscillate(frequency, sound.wave, bright, start)


def strike(random: np.random.Generator, notes: Sequence[Note], frames: int) -> Sound:
    """Bars, bells and blocks that a mallet strikes: a few partials that die away, and the noise of the blow."""
    out = np.zeros(frames + _TAIL, np.float32)
    partials = _PARTIALS[int(random.integers(len(_PARTIALS)))]
    dies, hard = float(np.exp(random.uniform(np.log(0.03), np.log(0.6)))), float(random.uniform(0, 0.5))
    for note in notes:
        start = int(note.at * RATE)
        length = min(int(7 * dies * RATE), frames + _TAIL - start)
        if length <= 0:
            continue
        time, frequency = np.arange(length) / RATE, 440.0 * 2 ** ((note.pitch - 69) / 12)
        heard = [(n, ratio) for n, ratio in enumerate(partials) if frequency * ratio < RATE / 2]
        tone = sum(
            hard**n * np.sin(2 * np.pi * frequency * ratio * time) * np.exp(-time * ratio / dies) for n, ratio in heard
        )
        blow = hard * random.normal(0, 0.5, length) * np.exp(-time / 0.004)
        out[start : start + length] += ((tone + blow) * note.velocity / 200).astype(np.float32)
    return np.stack([out[:frames]] * 2)


def pluck(random: np.random.Generator, notes: Sequence[Note], frames: int) -> Sound:
    """Strings after Karplus and Strong: noise that runs around in a damped delay."""
    out = np.zeros(frames + _TAIL, np.float32)
    damping = float(random.uniform(0.990, 0.9985))
    for note in notes:
        start, held = int(note.at * RATE), int(note.length * RATE)
        length = min(held + int(0.3 * RATE), frames + _TAIL - start)
        period = int(RATE / (440.0 * 2 ** ((note.pitch - 69) / 12)))
        if length <= period:
            continue
        burst = np.zeros(length)
        burst[:period] = random.uniform(-1, 1, period)
        loop = np.zeros(period + 2)
        loop[0], loop[period], loop[period + 1] = 1, -damping / 2, -damping / 2
        string = lfilter([1], loop, burst)
        string[held:] *= np.exp(-np.arange(max(0, length - held)) / (0.05 * RATE))
        out[start : start + length] += (string * (note.velocity / 200)).astype(np.float32)
    return np.stack([out[:frames]] * 2)
