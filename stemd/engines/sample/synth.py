"""Sounds from numpy alone: a drum kit, a bass, keys, and a singing voice. All mono at ``RATE``, around full scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RATE = 44_100
Signal = NDArray[np.float64]

#: Formants of five sung vowels: (frequency in Hz, bandwidth in Hz, level in dB), a low female voice.
VOWELS: dict[str, tuple[tuple[float, float, float], ...]] = {
    "a": ((800, 80, 0), (1150, 90, -4), (2900, 120, -20), (3900, 130, -26)),
    "e": ((400, 60, 0), (1900, 90, -14), (2700, 110, -20), (3500, 130, -26)),
    "i": ((350, 50, 0), (2100, 100, -18), (2900, 120, -22), (3700, 130, -28)),
    "o": ((450, 70, 0), (800, 80, -7), (2830, 100, -22), (3800, 130, -30)),
    "u": ((325, 50, 0), (700, 60, -12), (2530, 170, -28), (3500, 180, -34)),
}


def hertz(note: float) -> float:
    """The frequency of a MIDI note (69 is 440 Hz)."""
    return float(440.0 * 2 ** ((note - 69) / 12))


def seconds(length: float) -> Signal:
    """The time of each frame of a sound of ``length`` seconds."""
    return np.arange(round(length * RATE)) / RATE


def swell(length: float, attack: float, release: float) -> Signal:
    """An envelope that rises in ``attack`` and falls in ``release`` seconds, with round corners."""
    time = seconds(length)
    rise = np.clip(time / attack, 0, 1)
    fall = np.clip((length - time) / release, 0, 1)
    envelope: Signal = np.sin(rise * np.pi / 2) ** 2 * np.sin(fall * np.pi / 2) ** 2
    return envelope


def noise(random: np.random.Generator, length: float, low: float, high: float) -> Signal:
    """Noise between two frequencies, with soft edges, at unit power."""
    frames = round(length * RATE)
    spectrum = np.fft.rfft(random.standard_normal(frames))
    frequency = np.fft.rfftfreq(frames, 1 / RATE)
    spectrum *= 1 / (1 + (low / np.maximum(frequency, 1)) ** 8) / (1 + (frequency / high) ** 8)
    shaped: Signal = np.fft.irfft(spectrum, frames)
    shaped /= np.sqrt(np.mean(shaped**2))
    return shaped


def kick() -> Signal:
    """A bass drum: a sine that falls from 190 to 48 Hz, and the click of the beater."""
    time = seconds(0.38)
    falling = 48 * time + 142 * 0.03 * (1 - np.exp(-time / 0.03))
    body = np.sin(2 * np.pi * falling) * np.exp(-time / 0.11)
    click = np.sin(2 * np.pi * 2200 * time) * np.exp(-time / 0.003)
    return np.tanh(1.6 * body) + 0.25 * click


def snare(random: np.random.Generator) -> Signal:
    """A snare drum: two modes of the head and the rattle of the wires."""
    time = seconds(0.3)
    head = np.sin(2 * np.pi * 187 * time) + 0.6 * np.sin(2 * np.pi * 331 * time)
    wires = noise(random, 0.3, 900, 12_000)
    return 0.5 * head * np.exp(-time / 0.05) + 0.45 * wires * np.exp(-time / 0.075)


def hat(random: np.random.Generator, ring: float) -> Signal:
    """A hi-hat that rings for ``ring`` seconds (to 1/e)."""
    time = seconds(5 * ring)
    return 0.4 * noise(random, 5 * ring, 6500, 16_000) * np.exp(-time / ring)


def bass(note: float, length: float) -> Signal:
    """A synthetic bass: a saw whose upper partials die away first, as behind a closing filter."""
    time, base = seconds(length), hertz(note)
    sound = np.zeros(len(time))
    for partial in range(1, int(900 / base) + 1):
        decay = np.exp(-time * (0.6 + 1.1 * (partial - 1)))
        sound += np.sin(2 * np.pi * base * partial * time) / partial * decay
    return sound * swell(length, 0.006, 0.04)


def pluck(note: float, length: float) -> Signal:
    """A bright plucked string: partials that fade the sooner the higher they are, slightly stretched."""
    time, base = seconds(length), hertz(note)
    sound = np.zeros(len(time))
    for partial in range(1, min(14, int(9000 / base)) + 1):
        stretched = base * partial * (1 + 0.0003 * partial**2) ** 0.5
        sound += np.sin(2 * np.pi * stretched * time + partial) / partial**0.9 * np.exp(-time * (1.6 + 0.9 * partial))
    return sound * swell(length, 0.003, 0.05)


def organ(notes: Sequence[float], length: float, detune: float) -> Signal:
    """A held chord on a soft organ: few partials, a slow beat by ``detune`` (in semitones)."""
    time = seconds(length)
    sound = np.zeros(len(time))
    for note in notes:
        for partial, level in ((1, 1.0), (2, 0.55), (3, 0.3), (4, 0.2), (6, 0.08)):
            for bent in (note, note + detune):
                sound += level * np.sin(2 * np.pi * hertz(bent) * partial * time + partial * note)
    return sound / (2 * len(notes)) * swell(length, 0.03, 0.12)


def voice(random: np.random.Generator, note: float, length: float, vowels: str, came_from: float) -> Signal:
    """A sung note: glides in from ``came_from``, gets its vibrato late, moves through ``vowels``, breathes a little."""
    time = seconds(length)
    glide = note + (came_from - note) * np.exp(-time / 0.035)
    vibrato = 0.35 * np.clip((time - 0.18) / 0.3, 0, 1) * np.sin(2 * np.pi * 5.6 * time)
    drift = 0.05 * np.sin(2 * np.pi * 1.3 * time + random.uniform(0, 6))
    frequency = 440 * 2 ** ((glide + vibrato + drift - 69) / 12)
    phase = 2 * np.pi * np.cumsum(frequency) / RATE
    sound = np.zeros(len(time))
    for partial in range(1, int(5500 / hertz(note)) + 1):
        sound += np.sin(partial * phase) * partial**-0.8 * _throat(vowels, partial * frequency, time / length)
    breath = noise(random, length, 2500, 9000) * 0.012 * (1 + 6 * np.exp(-time / 0.03))
    sound += breath
    sound *= swell(length, 0.045, 0.09)
    return sound


def _throat(vowels: str, frequency: Signal, where: Signal) -> Signal:
    """The level of a partial at ``frequency`` while the mouth moves through ``vowels`` (``where``: 0 to 1)."""
    place = np.minimum(where * len(vowels), len(vowels) - 1e-6)
    index = place.astype(int)
    following = np.minimum(index + 1, len(vowels) - 1)
    blend = np.clip((place - index - 0.6) / 0.4, 0, 1)
    levels = np.stack([_resonance(vowel, frequency) for vowel in vowels])
    frames = np.arange(len(frequency))
    blended: Signal = (1 - blend) * levels[index, frames] + blend * levels[following, frames]
    return blended


def _resonance(vowel: str, frequency: Signal) -> Signal:
    level = np.zeros(len(frequency))
    for centre, width, decibel in VOWELS[vowel]:
        level += 10 ** (decibel / 20) / np.sqrt(1 + ((frequency - centre) / width) ** 2)
    return level
