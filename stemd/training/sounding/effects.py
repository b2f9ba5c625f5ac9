"""Effects on one part: room, echo, place, drive, silence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, lfilter, oaconvolve

from stemd.training.terms import RATE, Sound

_FADE = 441


def reverb(random: np.random.Generator, sound: Sound, wet: float, decay: float | None = None) -> Sound:
    """A room of noise that fades by 60 dB in ``decay`` seconds, with a random width, colour and delay."""
    seconds = decay or float(random.uniform(0.2, 2.2))
    length, late = int(min(seconds, 1.8) * RATE), int(random.uniform(0, 0.03) * RATE)
    tail = random.normal(0, 1, (2, length)) * 10 ** (-3 * np.arange(length) / RATE / seconds)
    tail = lfilter(*butter(1, random.uniform(2000, 9000) / RATE * 2), tail)
    width = random.uniform(0.3, 1)
    tail[1] = width * tail[1] + (1 - width) * tail[0]
    tail /= np.sqrt((tail**2).sum(1, keepdims=True))
    frames = sound.shape[1]
    room = oaconvolve(sound, tail.astype(np.float32), axes=1)[:, :frames]
    mixed = sound.copy()
    mixed[:, late:] += np.float32(wet) * room[:, : frames - late]
    return mixed


def echo(sound: Sound, seconds: float, feedback: float) -> Sound:
    """Three repeats, changing sides."""
    out, late = sound.copy(), max(1, int(seconds * RATE))
    for number in range(1, 4):
        if late * number < sound.shape[1]:
            repeat = sound[::-1] if number % 2 else sound
            out[:, late * number :] += np.float32(feedback**number) * repeat[:, : -late * number]
    return out


def place(sound: Sound, side: float, width: float = 1.0) -> Sound:
    """Move to ``side`` (−1 left to 1 right) at constant power, and scale the difference of the channels."""
    middle, apart = (sound[0] + sound[1]) / 2, (sound[0] - sound[1]) / 2 * np.float32(width)
    angle = (side + 1) * np.pi / 4
    left, right = np.float32(np.cos(angle) * 2**0.5), np.float32(np.sin(angle) * 2**0.5)
    return np.stack([(middle + apart) * left, (middle - apart) * right])


def drive(sound: Sound, amount: float) -> Sound:
    """Saturation; full scale stays full scale."""
    driven: Sound = np.tanh(sound * np.float32(amount)) / np.float32(np.tanh(amount))
    return driven


def sway(random: np.random.Generator, sound: Sound) -> Sound:
    """Played along a time that sways: a vibrato of up to half a semitone that comes and goes, and at times slow bends
    of up to two semitones upwards. The end, for which there is nothing left to play, is silent (12 % at most)."""
    time = np.arange(sound.shape[1]) / RATE

    def swing(low: float, high: float) -> NDArray[np.float64]:
        return np.sin(2 * np.pi * float(random.uniform(low, high)) * time + float(random.uniform(0, 2 * np.pi)))

    vibrato = float(random.uniform(0.1, 0.5)) * swing(4, 7) * np.clip(swing(0.3, 1), 0, 1)
    bend = float(random.choice([0, 0, 1, 2])) * np.clip(swing(0.2, 0.6), 0, 1)
    at, whole = np.cumsum(2 ** ((vibrato + bend) / 12)), np.arange(sound.shape[1])
    return np.stack([np.interp(at, whole, channel, right=0.0) for channel in sound]).astype(np.float32)


def rests(random: np.random.Generator, sound: Sound, bar: float, odds: float) -> Sound:
    """Silence whole stretches of two bars of ``bar`` seconds, with short fades: parts come and go."""
    frames, stretch = sound.shape[1], max(1, int(2 * bar * RATE))
    gate = np.ones(frames, np.float32)
    for start in range(0, frames, stretch):
        if random.random() < odds:
            gate[start : start + stretch] = 0
    padded = np.pad(gate, _FADE // 2, mode="edge")
    smooth = np.convolve(padded, np.full(_FADE, 1 / _FADE, np.float32), "valid")
    gated: Sound = sound * np.clip(smooth, 0, 1).astype(np.float32)
    return gated
