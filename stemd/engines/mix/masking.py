"""Frequency masking: some tracks give way to others, band by band, while those sound and are covered.

A short-time Fourier transform (square-root Hann windows, half overlapped, which add up to one) sees all tracks in
lockstep. In each third of an octave the powers of the protected tracks and of the ducked ones are compared; what is
lowered is subtracted from the track, so that a track nothing is taken from comes out bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.fft import irfft, rfft

from stemd.engines.mix.bands import Bands
from stemd.engines.mix.ducking import Gains, Gate
from stemd.engines.mix.parameters import Masking
from stemd.engines.mix.processor import HOP
from stemd.engines.sliding import SlidingBuffer

if TYPE_CHECKING:
    from stemd.engines.base import Frames

_WINDOW_SECONDS = 2048 / 46_050
"""The window is the power of two next to this: 2048 frames at 44.1 and 48 kHz."""
_BATCH = 32
_MARGIN_DB = 3.0
"""The ducked tracks are lowered until they are this far below the protected ones."""
_MINOR_DB, _NOTHING_DB = 12.0, 18.0
"""A ducked track this far below all of them together is lowered less, or not at all: it hides nothing."""


@dataclass(frozen=True, slots=True)
class Reduction:
    """How much one ducked track was lowered, in dB: the mean over the protected, sounding bands, and the most."""

    mean_db: float
    max_db: float


@dataclass(frozen=True, slots=True)
class Facts:
    """By how many dB the ducked tracks together exceed the protected ones, before and after, and what was done.

    The excess is the mean over all bands and times in which the protected tracks sound, 0 where they are not exceeded.
    """

    excess_before_db: float
    excess_after_db: float
    reductions: Mapping[str, Reduction]


class Resolve:
    """One pass over all tracks. Roles that are not there are left out; ``max_db`` 0 measures and changes nothing.

    ``latency`` in frames is that of every track. Where nothing is protected or nothing ducked it is 0.
    """

    def __init__(self, masking: Masking, roles: Sequence[str], rate: int) -> None:
        self._protect = [role for role in roles if role in masking.protect]
        self._duck = [role for role in roles if role in masking.duck and role not in masking.protect]
        size = max(2 * HOP, 2 ** round(math.log2(_WINDOW_SECONDS * rate)))
        self._bands = Bands.of(masking.low_hz, masking.high_hz, rate, size)
        self._works = bool(self._protect and self._duck and self._bands.count)
        self.latency = size if self._works else 0
        self._size, self._hop = size, size // 2
        self._window = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)
        self._tracks = {role: SlidingBuffer((2,), -size) for role in roles}
        self._changes = {role: SlidingBuffer((2,), -size) for role in self._duck}
        self._received, self._next = 0, -self._hop
        self._gate = Gate(self._bands.count, self._hop / rate)
        self._gains = Gains(masking.max_db, (len(self._duck), self._bands.count), self._hop / rate)
        self._measure = _Measure(len(self._duck))

    def process(self, blocks: Mapping[str, Frames]) -> dict[str, Frames]:
        """The next block of every track (equally many frames × 2, a multiple of ``HOP``): as many frames out as in."""
        if not self._works:
            return dict(blocks)
        for role, block in blocks.items():
            self._tracks[role].write(self._received, block)
        start = self._received - self.latency
        self._received += max(map(len, blocks.values()), default=0)
        stop = self._received - self.latency
        for change in self._changes.values():
            change.span(start, self._received)  # room for all of it at once
        while (count := (self._received - self._size - self._next) // self._hop + 1) > 0:
            self._resolve(min(count, _BATCH))
        out = {role: self._tracks[role].span(start, stop).copy() for role in blocks}
        for role, change in self._changes.items():
            if role in out:
                out[role] += change.span(start, stop)
            change.drop(stop)
        for track in self._tracks.values():
            track.drop(min(stop, self._next))
        return out

    def facts(self) -> Facts:
        """What was found and done so far."""
        return self._measure.facts(self._duck)

    def _resolve(self, count: int) -> None:
        """The next ``count`` windows."""
        protected = np.zeros((count, self._bands.count), np.float32)
        for role in self._protect:
            if (spectrum := self._spectrum(role, count)) is not None:
                protected += self._bands.powers(spectrum)
        levels = _db(protected)
        sounding = self._gate.sounding(levels)
        if sounding.any() or self._gains.open:
            self._lower(levels, sounding, count)
        self._next += count * self._hop

    def _lower(self, levels: NDArray[np.float32], sounding: NDArray[np.bool_], count: int) -> None:
        spectra = [self._spectrum(role, count) for role in self._duck]
        silence = np.zeros((count, self._bands.count), np.float32)
        powers = np.stack([silence if each is None else self._bands.powers(each) for each in spectra])
        together = _db(powers.sum(axis=0))
        excess = together - levels
        share = (_db(powers) - together + _NOTHING_DB) / (_NOTHING_DB - _MINOR_DB)
        wanted = np.where(sounding, excess + _MARGIN_DB, 0) * np.clip(share, 0, 1)
        reductions = self._gains.follow(wanted, [bool(window.any()) for window in sounding])
        left = np.zeros_like(silence)
        for role, spectrum, reduction in zip(self._duck, spectra, reductions, strict=True):
            if spectrum is not None:
                gains = self._bands.gains(reduction)
                left += self._bands.powers(spectrum * gains)
                self._change(role, spectrum, gains, reduction.any(axis=1))
        self._measure.add(excess[sounding], (_db(left) - levels)[sounding], reductions[:, sounding])

    def _spectrum(self, role: str, count: int) -> NDArray[np.complex64] | None:
        """Channels × windows × the bins of the bands; ``None`` for silence."""
        span = self._tracks[role].span(self._next, self._next + (count - 1) * self._hop + self._size)
        if not span.any():
            return None
        windows = sliding_window_view(np.ascontiguousarray(span.T), self._size, axis=1)[:, :: self._hop]
        spectrum: NDArray[np.complex64] = rfft(windows * self._window, overwrite_x=True)[..., self._bands.bins]
        return spectrum

    def _change(
        self, role: str, spectrum: NDArray[np.complex64], gains: NDArray[np.float32], rows: NDArray[np.bool_]
    ) -> None:
        """Add up what is taken from a track, in those windows (``rows``) where something is."""
        if not rows.any():
            return
        taken = np.zeros((2, int(rows.sum()), self._size // 2 + 1), np.complex64)
        taken[..., self._bands.bins] = spectrum[:, rows] * (gains[rows] - 1)
        parts = irfft(taken, self._size, overwrite_x=True) * self._window
        for index, part in zip(np.flatnonzero(rows).tolist(), parts.transpose(1, 2, 0), strict=True):
            at = self._next + index * self._hop
            self._changes[role].span(at, at + self._size)[:] += part


class _Measure:
    """Sums over the sounding bands and windows."""

    def __init__(self, roles: int) -> None:
        self._count, self._before, self._after = 0, 0.0, 0.0
        self._sums, self._most = np.zeros(roles), np.zeros(roles)

    def add(self, before: NDArray[np.float32], after: NDArray[np.float32], reductions: NDArray[np.float32]) -> None:
        self._count += len(before)
        self._before += float(np.maximum(before, 0).sum(dtype=np.float64))
        self._after += float(np.maximum(after, 0).sum(dtype=np.float64))
        self._sums += reductions.sum(axis=1, dtype=np.float64)
        self._most = np.maximum(self._most, reductions.max(axis=1, initial=0))

    def facts(self, roles: Sequence[str]) -> Facts:
        count = max(1, self._count)
        means, most = (self._sums / count).tolist(), self._most.tolist()
        reductions = {role: Reduction(mean, top) for role, mean, top in zip(roles, means, most, strict=True)}
        return Facts(self._before / count, self._after / count, reductions)


def _db(power: NDArray[np.float32]) -> NDArray[np.float32]:
    decibels: NDArray[np.float32] = 10 * np.log10(power + np.float32(1e-20))
    return decibels


def run(resolve: Resolve, blocks: Iterable[Mapping[str, Frames]]) -> Iterator[dict[str, Frames]]:
    """All tracks through ``resolve``, its latency taken out: as many frames of each as go in, in place.

    Each of ``blocks`` has the next frames of every track, equally many, a multiple of ``HOP`` but in the last.
    """
    total, position = 0, -resolve.latency
    for block, frames, length in _fed(blocks, resolve.latency):
        total += frames
        out = resolve.process(block)
        first, end = max(0, -position), min(length, total - position)
        position += length
        if first < end:
            yield {role: track[first:end] for role, track in out.items()}


def _fed(blocks: Iterable[Mapping[str, Frames]], late: int) -> Iterator[tuple[Mapping[str, Frames], int, int]]:
    """The blocks, the last filled up to a multiple of ``HOP``, how many frames are the tracks', and their length."""
    roles: tuple[str, ...] = ()
    for block in blocks:
        roles = tuple(block)
        frames = max(map(len, block.values()), default=0)
        short = -frames % HOP
        filled = {role: np.pad(track, ((0, short), (0, 0))) for role, track in block.items()} if short else block
        yield filled, frames, frames + short
    silence = np.zeros((late, 2), np.float32)
    if late and roles:
        yield dict.fromkeys(roles, silence), 0, late
