"""What is done to the stems of a mixture before it is learnt from, in torch, a batch at once."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from stemd.training.drawing import Corpus, generator, mixture
from stemd.training.terms import RATE, STEMS

_GAIN, _SPREAD = (0.0, -1.0, 0.0, 1.0), (3.0, 3.0, 3.5, 3.5)
"""dB: what each stem gets on average, and how much that varies."""
_ROOMS, _ROOM_FRAMES = 32, 17_640
#: How likely: an equaliser on a stem, one on everything, a low-pass as of a codec, a room, a width, a bus compressor.
_EQUALISED, _TONED, _DULL, _ROOMY, _WIDENED, _PRESSED = 0.8, 0.3, 0.15, 0.25, 0.2, 0.3
_DRIVEN, _PANNED = (0.12, 0.4, 0.12, 0.12), (0.25, 0.1, 0.25, 0.1)
_BASS, _SUBBED, _LEAN = STEMS.index("bass"), 0.08, 0.65
"""How likely a bass is left with little but its fundamental (real sub-basses are nearly sines), or with little of it: a
recorded bass guitar may have half of its energy above 200 Hz, the basses of the songs have a seventh there."""


@dataclass(slots=True)
class Batches:
    """Batch ``number`` of ``seed``: ``count`` mixtures of ``frames`` each, the same whenever it is asked for."""

    corpus: Corpus
    seed: int
    count: int
    frames: int
    _length: int = field(init=False)
    _octave: torch.Tensor = field(init=False)
    _frequency: torch.Tensor = field(init=False)
    _rooms: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        self._length = -(-(self.frames + _ROOM_FRAMES) // 4410) * 4410
        self._frequency = torch.fft.rfftfreq(self._length, 1 / RATE).clamp(min=20.0)
        self._octave = torch.log2(self._frequency / 640.0)
        random = np.random.default_rng([self.seed, 78])
        self._rooms = torch.stack([self._room(random) for _ in range(_ROOMS)])

    def get(self, number: int) -> torch.Tensor:
        """Stems as batch × 4 × 2 × frames; their sum is the mixture."""
        random = generator(self.seed, number)
        stems = torch.from_numpy(np.stack([mixture(random, self.corpus, self.frames) for _ in range(self.count)]))
        stems = self._coloured(random, stems)
        for song in stems:
            for index in range(len(STEMS)):
                _placed(random, song, index)
            if random.random() < 0.5:
                song.copy_(song.flip(1))
        drawn = np.clip(random.normal(size=(self.count, len(STEMS))), -2.5, 2.5) * _SPREAD + _GAIN
        stems *= torch.from_numpy(10 ** (drawn / 20)).float()[:, :, None, None]
        for song in stems:
            if random.random() < _PRESSED:
                song.mul_(_pressed(song, float(random.uniform(0.1, 0.6))))
        return stems

    def _coloured(self, random: np.random.Generator, stems: torch.Tensor) -> torch.Tensor:
        """Equalisers and rooms, at the level there was before."""
        response = torch.ones(*stems.shape[:3], self._octave.numel(), dtype=torch.complex64)
        for song in response:
            whole = self._equaliser(random, 0.4) if random.random() < _TONED else 1.0
            if random.random() < _DULL:
                whole = whole * self._low_pass(random)
            for index in range(len(STEMS)):
                if random.random() < _EQUALISED:
                    song[index] *= self._equaliser(random, 1.0)
                if index == _BASS:
                    song[index] *= self._bass(random)
                song[index] *= whole
                if random.random() < (_ROOMY if index != _BASS else _ROOMY / 3):
                    room = self._rooms[int(random.integers(_ROOMS))]
                    song[index] *= 1 + float(random.uniform(0.05, 0.5)) * room
        before = stems.square().mean((2, 3), keepdim=True)
        spectrum = torch.fft.rfft(stems, self._length) * response
        stems = torch.fft.irfft(spectrum, self._length)[..., : self.frames]
        after = stems.square().mean((2, 3), keepdim=True)
        gain: torch.Tensor = (before / after.clamp(min=1e-9)).clamp(max=100).sqrt()
        scaled: torch.Tensor = stems * gain
        return scaled

    def _equaliser(self, random: np.random.Generator, amount: float) -> torch.Tensor:
        """A tilt and three smooth bells."""
        curve = float(random.uniform(-1.5, 1.5)) * amount * self._octave
        for _ in range(3):
            centre, width = float(random.uniform(-4, 5)), float(random.uniform(0.4, 2))
            bell = torch.exp(-(((self._octave - centre) / width) ** 2))
            curve = curve + float(random.uniform(-7, 7)) * amount * bell
        response: torch.Tensor = torch.pow(10.0, curve / 20)
        return response

    def _low_pass(self, random: np.random.Generator) -> torch.Tensor:
        cut = float(random.uniform(9000, 17_000))
        return torch.pow(10.0, -2.5 * torch.sigmoid((self._frequency - cut) / 300.0))

    def _bass(self, random: np.random.Generator) -> torch.Tensor:
        """What a bass is filtered by, as one gain or a gain for each frequency: often a Butterworth filter without its
        phase, a low-pass of 2nd to 4th order (50–300 Hz) or a high-pass of 1st or 2nd (100–600 Hz)."""
        kind, where = float(random.random()), 6 ** float(random.random())
        if kind < _SUBBED:
            return (1 + (self._frequency / (50 * where)) ** (2 * int(random.integers(2, 5)))) ** -0.5
        if kind < _SUBBED + _LEAN:
            return (1 + (100 * where / self._frequency) ** (2 * int(random.integers(1, 3)))) ** -0.5
        return torch.ones(())

    def _room(self, random: np.random.Generator) -> torch.Tensor:
        decay = 10 ** (-3 * np.arange(_ROOM_FRAMES) / RATE / random.uniform(0.1, 0.8))
        tail = random.normal(size=(2, _ROOM_FRAMES)) * decay
        width = random.uniform(0.2, 1)
        tail[1] = width * tail[1] + (1 - width) * tail[0]
        tail /= np.sqrt((tail**2).sum(1, keepdims=True))
        room: torch.Tensor = torch.fft.rfft(torch.from_numpy(tail.astype(np.float32)), self._length)
        return room


def _placed(random: np.random.Generator, song: torch.Tensor, index: int) -> None:
    """Drive, width, place and polarity of one stem, in place."""
    stem = song[index]
    if random.random() < _DRIVEN[index]:
        amount = float(random.uniform(2, 12))
        stem.copy_(torch.tanh(stem * amount) / amount)
    if random.random() < _WIDENED:
        middle, apart = stem.mean(0), (stem[0] - stem[1]) / 2 * float(random.uniform(0, 1.3))
        stem.copy_(torch.stack([middle + apart, middle - apart]))
    if random.random() < _PANNED[index]:
        side = float(random.uniform(-0.7, 0.7))
        stem *= torch.tensor([[min(1.0, 1 - side)], [min(1.0, 1 + side)]])
    if random.random() < 0.5:
        stem *= -1


def _pressed(song: torch.Tensor, amount: float) -> torch.Tensor:
    """The gain of a bus compressor over the mixture, for all stems alike."""
    power = song.sum(0).square().mean(0)[None, None]
    slow = torch.nn.functional.avg_pool1d(power, 4096, 1024, padding=2048, count_include_pad=False).sqrt()
    gain = (slow / slow.mean().clamp(min=1e-6) + 0.1) ** -amount
    return torch.nn.functional.interpolate(gain, size=song.shape[-1], mode="linear", align_corners=False)[0]
