"""Generated tracks (frames × 2, float32) and what effects make of them."""

import numpy as np

from stemd.engines.mix.processor import run

RATE = 44_100
RATES = [8_000, 44_100, 96_000, 192_000]


def stereo(left, right=None):
    return np.stack([left, left if right is None else right], axis=1).astype(np.float32)


def sine(hz, level_db=0.0, seconds=1.0, rate=RATE):
    return stereo(10 ** (level_db / 20) * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate))


def impulse(frames, at, height=1.0):
    track = np.zeros((frames, 2), np.float32)
    track[at] = height
    return track


def music(seconds=4.0, rate=RATE, seed=0):
    """A low note, decaying hits, hiss that comes and goes, and a quarter of it silence; the channels differ."""
    random, t = np.random.default_rng(seed), np.arange(round(seconds * rate)) / rate
    hits = random.standard_normal((len(t), 2)) * np.exp(-(t % 0.5) / 0.08)[:, None]
    note = np.sin(2 * np.pi * 55 * t)[:, None] * [1.0, 0.8]
    hiss = np.diff(random.standard_normal((len(t) + 1, 2)), axis=0) * (t % 0.7 > 0.5)[:, None]
    track = 0.3 * hits + 0.4 * note + 0.2 * hiss
    track[round(rate * seconds / 4) : round(rate * seconds / 2)] = 0
    return np.clip(track, -1, 1).astype(np.float32)


def through(effects, track, size=1 << 30):
    """``track`` in blocks of ``size`` through ``effects``, latency taken out."""
    return np.concatenate(list(run(effects, [track[at : at + size] for at in range(0, len(track), size)])))


def apart(one, other):
    """The largest difference of any two samples."""
    assert one.shape == other.shape
    return np.abs(one - other).max()


def level_db(track):
    return 10 * np.log10(np.mean(np.square(track, dtype=np.float64)))


def spectrum_db(channel, rate=RATE):
    """(frequencies in Hz, dB) of an impulse response."""
    response = np.abs(np.fft.rfft(channel.astype(np.float64)))
    return np.fft.rfftfreq(len(channel), 1 / rate), 20 * np.log10(np.maximum(response, 1e-10))
