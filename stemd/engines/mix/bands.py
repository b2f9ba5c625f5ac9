"""Thirds of an octave on the bins of a spectrum: powers of bands, and smooth gains between them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

_THIRD = 2 ** (1 / 3)
_FEWEST_BINS = 2


@dataclass(frozen=True, slots=True)
class Bands:
    """``count`` bands over the ``bins`` of a spectrum; a band is a third of an octave, or two bins where that is less.

    ``members`` (bins × bands) adds up the powers, scaled so that a channel's power is its mean square; ``spread``
    (bands × bins) interpolates what belongs to bands along the logarithm of the frequency, to nothing at the ends.
    """

    count: int
    bins: slice
    members: NDArray[np.float32]
    spread: NDArray[np.float32]

    @classmethod
    def of(cls, low_hz: float, high_hz: float, rate: int, size: int) -> Bands:
        """For spectra of ``size`` frames under a square-root Hann window. No band fits: ``count`` is 0."""
        width = rate / size
        high_hz = min(high_hz, rate / 2)
        edges = [max(low_hz, width)]
        while (following := max(edges[-1] * _THIRD, edges[-1] + _FEWEST_BINS * width)) < high_hz * _THIRD**0.5:
            edges.append(min(following, high_hz))
        count = len(edges) - 1
        first, last = math.ceil(edges[0] / width), min(size // 2, math.ceil(edges[-1] / width))
        frequencies = np.arange(first, last) * width
        index = np.searchsorted(edges[1:-1], frequencies, side="right") if count else np.zeros(0, np.intp)
        members = np.zeros((len(frequencies), count), np.float32)
        members[np.arange(len(index)), index] = 4 / size**2
        return cls(count, slice(first, last), members, _spread(edges, frequencies))

    def powers(self, spectrum: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Channels × windows × bins to windows × bands: the channels' mean squares, added up."""
        squares = np.square(spectrum.real) + np.square(spectrum.imag)
        powers: NDArray[np.float32] = squares.sum(axis=0) @ self.members
        return powers

    def gains(self, reduction: NDArray[np.float32]) -> NDArray[np.float32]:
        """Windows × bands, in dB, to the factors of the bins: windows × bins."""
        gains: NDArray[np.float32] = 10 ** (np.float32(-1 / 20) * (reduction @ self.spread))
        return gains


def _spread(edges: list[float], frequencies: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    centres = [math.log(low * high) / 2 for low, high in pairwise(edges)]
    points = [math.log(edges[0]) - 1e-9, *centres, math.log(edges[-1]) + 1e-9]
    columns = [np.interp(np.log(frequencies), points, row) for row in np.eye(len(points))[1:-1]]
    return np.array(columns, np.float32).reshape(len(centres), len(frequencies))
