"""Electric guitars and basses: strings that are plucked, and the amplifier they are played through.

A string is one period of the pluck that goes round, each of its harmonics dying away at its own rate; so a whole note
is one inverse transform for each time round. The rates are those of a string with losses that grow with the square of
the frequency: Bensa, Bilbao, Kronland-Martinet and Smith, "The simulation of piano string vibration" (2003).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemd.training.composing.theory import Note
from stemd.training.sounding import effects
from stemd.training.terms import RATE, Sound, levelled

_TAIL = RATE
#: Semitones above the root that a hand holds: a power chord, major and minor triads, an octave, a single note.
_SHAPES = ((0, 7, 12), (0, 7, 12), (0, 7), (0, 4, 7, 12), (0, 3, 7, 12), (0, 12), (0,))
_MUTED = 0.04
"""Seconds in which the fundamental of a string under the palm dies to a third."""


@dataclass(frozen=True, slots=True)
class Strings:
    """``rings``: seconds until the fundamental is a third; ``losses``: in seconds, times the square of the frequency in
    rad/s: how much sooner the others are; ``pick``: where it is plucked, as a share of the length; ``soft``: how few
    harmonics the pluck has (an exponent of the harmonic's number)."""

    rings: float
    losses: float
    pick: float
    soft: float


@dataclass(frozen=True, slots=True)
class Amplifier:
    """``gain`` before the valve (0: none); a loudspeaker that has the band from ``low`` to ``high``, in Hz, and
    ``presence`` dB more at 2.5 kHz."""

    gain: float
    low: float
    high: float
    presence: float


def bass(random: np.random.Generator, notes: Sequence[Note], frames: int) -> Sound:
    """``notes`` on a bass guitar, by finger or pick, 2 × ``frames``; two in three go through an amplifier."""
    strings = Strings(
        rings=float(np.exp(random.uniform(np.log(0.2), np.log(3)))),
        losses=float(np.exp(random.uniform(np.log(2e-8), np.log(6e-7)))),
        pick=float(random.uniform(0.06, 0.3)),
        soft=float(random.uniform(0.3, 1.5)),
    )
    gain = float(np.exp(random.uniform(0, np.log(12)))) if random.random() < 0.66 else 0.0
    amplifier = Amplifier(gain, float(random.uniform(30, 90)), float(random.uniform(2500, 7000)), 0.0)
    return np.stack([_amplified(_played(random, notes, frames, strings, ((0,),)), amplifier)] * 2)


def guitar(random: np.random.Generator, notes: Sequence[Note], frames: int) -> Sound:
    """``notes`` on an electric guitar, 2 × ``frames``: chords or single notes, clean or driven; half of the chords are
    played twice, one to the left and one to the right; single notes may be bent and vibrate."""
    lead = random.random() < 0.35
    strings = Strings(
        rings=float(np.exp(random.uniform(np.log(0.3), np.log(4)))),
        losses=float(np.exp(random.uniform(np.log(3e-9), np.log(1e-7)))),
        pick=float(random.uniform(0.05, 0.4)),
        soft=float(random.uniform(0, 0.7)),
    )
    gain = float(np.exp(random.uniform(np.log(2), np.log(80)))) if random.random() < 0.75 else 0.0
    amplifier = Amplifier(gain, *(float(random.uniform(*span)) for span in ((60, 150), (3000, 7000), (0, 9))))
    if lead:
        higher = [note._replace(pitch=note.pitch + 12) for note in notes]
        line = _played(random, higher, frames, strings, ((0,), (0,), (0,), (0, 7)))
        line = _amplified(effects.sway(random, line[None])[0], amplifier)
        return effects.place(np.stack([line] * 2), float(random.uniform(-0.5, 0.5)))
    shapes = tuple(_SHAPES[int(random.integers(len(_SHAPES)))] for _ in range(2))
    muted = float(random.choice([0, 0, 0.3, 0.8]))
    takes = 2 if random.random() < 0.5 else 1
    played = [_amplified(_played(random, notes, frames, strings, shapes, muted), amplifier) for _ in range(takes)]
    if takes == 1:
        return effects.place(np.stack(played * 2), float(random.uniform(-0.8, 0.8)))
    apart = float(random.uniform(0.4, 1))
    return effects.place(np.stack([played[0]] * 2), -apart) + effects.place(np.stack([played[1]] * 2), apart)


def _played(
    random: np.random.Generator,
    notes: Sequence[Note],
    frames: int,
    strings: Strings,
    shapes: Sequence[tuple[int, ...]],
    muted: float = 0.0,
) -> NDArray[np.float32]:
    """One player, one channel: no note begins or sounds quite as the one before."""
    out = np.zeros(frames + _TAIL, np.float32)
    for note in notes:
        shape = shapes[int(random.integers(len(shapes)))]
        rings = _MUTED if random.random() < muted else strings.rings
        for number, step in enumerate(shape):
            late = float(random.uniform(0, 0.008)) + 0.004 * number
            start, held = int((note.at + late) * RATE), int(note.length * RATE)
            length = min(held + int(0.1 * RATE), len(out) - start)
            if length > 0:
                frequency = 440.0 * 2 ** ((note.pitch + step - 69) / 12)
                tone = _string(random, frequency, length, strings, rings)
                tone[held:] *= np.exp(-np.arange(max(0, length - held)) / (0.02 * RATE)).astype(np.float32)
                out[start : start + length] += tone * np.float32(note.velocity / 100)
    return out[:frames]


def _string(
    random: np.random.Generator, frequency: float, length: int, strings: Strings, rings: float
) -> NDArray[np.float32]:
    period = max(8, round(RATE / frequency))
    harmonic = np.arange(period // 2 + 1)
    pluck = np.fft.rfft(random.uniform(-1, 1, period))
    pluck *= np.abs(np.sin(np.pi * strings.pick * harmonic)) / np.maximum(1, harmonic) ** strings.soft
    pluck[0] = 0
    rate = 1 / rings + strings.losses * (2 * np.pi * harmonic * frequency) ** 2
    times = np.arange(-(-length // period))[:, None]
    rounds = np.fft.irfft(pluck * np.exp(-rate * period / RATE * times), period)
    tone: NDArray[np.float32] = levelled(rounds.astype(np.float32).ravel()[:length], 0.3)
    return tone


def _amplified(line: NDArray[np.float32], amplifier: Amplifier) -> NDArray[np.float32]:
    """Driven as a whole, so that chords beat against themselves; then the loudspeaker (gains without a phase)."""
    line = levelled(line)
    if amplifier.gain:
        line = np.tanh(line * np.float32(10 * amplifier.gain)) * np.float32(0.1)
    at = np.maximum(np.fft.rfftfreq(len(line), 1 / RATE), 1.0)
    response = (1 + (amplifier.low / at) ** 4) ** -0.5 * (1 + (at / amplifier.high) ** 8) ** -0.5
    response *= 10 ** (amplifier.presence / 20 * np.exp(-(np.log2(at / 2500) ** 2)))
    return levelled(np.fft.irfft(np.fft.rfft(line) * response, len(line)).astype(np.float32))
