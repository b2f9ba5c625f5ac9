"""Equaliser bands as second-order sections.

All formulas: Robert Bristow-Johnson, "Cookbook formulae for audio equalizer biquad filter coefficients", with the
width of every band, shelves included, given as Q.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.signal import sosfilt

from stemd.engines.mix.gain import Gain
from stemd.engines.mix.parameters import Filter

if TYPE_CHECKING:
    from stemd.engines.base import Frames

_HIGHEST = 0.4899
"""Of the rate; at half the rate the bilinear transform has no room left."""
_TINY = 1e-30
_FLOOR = 1e-20
_CUTS = frozenset({"low_cut", "high_cut", "all_pass"})

_Coefficients = tuple[float, float, float, float, float, float]


def _peak(a: float, cos: float, alpha: float) -> _Coefficients:
    return 1 + alpha * a, -2 * cos, 1 - alpha * a, 1 + alpha / a, -2 * cos, 1 - alpha / a


def _shelf(a: float, cos: float, alpha: float) -> _Coefficients:
    """The low shelf; the high one is its mirror image, cos negated."""
    root = 2 * math.sqrt(a) * alpha
    return (
        a * (a + 1 - (a - 1) * cos + root),
        2 * a * (a - 1 - (a + 1) * cos),
        a * (a + 1 - (a - 1) * cos - root),
        a + 1 + (a - 1) * cos + root,
        -2 * (a - 1 + (a + 1) * cos),
        a + 1 + (a - 1) * cos - root,
    )


def _high_shelf(a: float, cos: float, alpha: float) -> _Coefficients:
    b0, b1, b2, a0, a1, a2 = _shelf(a, -cos, alpha)
    return b0, -b1, b2, a0, -a1, a2


def _low_cut(_: float, cos: float, alpha: float) -> _Coefficients:
    return (1 + cos) / 2, -1 - cos, (1 + cos) / 2, 1 + alpha, -2 * cos, 1 - alpha


def _high_cut(_: float, cos: float, alpha: float) -> _Coefficients:
    return (1 - cos) / 2, 1 - cos, (1 - cos) / 2, 1 + alpha, -2 * cos, 1 - alpha


def _all_pass(_: float, cos: float, alpha: float) -> _Coefficients:
    return 1 - alpha, -2 * cos, 1 + alpha, 1 + alpha, -2 * cos, 1 - alpha


_SHAPES: dict[str, Callable[[float, float, float], _Coefficients]] = {
    "peak": _peak,
    "low_shelf": _shelf,
    "high_shelf": _high_shelf,
    "low_cut": _low_cut,
    "high_cut": _high_cut,
    "all_pass": _all_pass,
}


def sections(filters: Iterable[Filter], rate: int) -> NDArray[np.float64]:
    """The bands as ``scipy`` ``sos``, sections × 6; bands of 0 dB are left out.

    Frequencies are kept below 0.49 × ``rate``. Beside the kinds of ``Filter`` there is ``all_pass``.
    """
    rows = []
    for band in filters:
        if band.db == 0 and band.kind not in _CUTS:
            continue
        angle = 2 * math.pi * min(band.hz / rate, _HIGHEST)
        row = np.array(_SHAPES[band.kind](10 ** (band.db / 40), math.cos(angle), math.sin(angle) / (2 * band.q)))
        rows.append(row / row[3])
    return np.array(rows).reshape(-1, 6)


def response_db(filters: Iterable[Filter], hz: ArrayLike, rate: int) -> NDArray[np.float64]:
    """What all bands together do at the frequencies ``hz`` (up to half the rate), in dB; −200 where nothing passes."""
    delay = np.exp(-2j * np.pi * np.asarray(hz, np.float64) / rate)
    power = np.ones(delay.shape)
    for b0, b1, b2, a0, a1, a2 in sections(filters, rate):
        above = b0 + delay * (b1 + delay * b2)
        below = a0 + delay * (a1 + delay * a2)
        power *= np.abs(above / below) ** 2
    return np.asarray(10 * np.log10(np.maximum(power, _FLOOR)))


class Cascade:
    """Second-order sections over one channel, with the state carried."""

    def __init__(self, sos: NDArray[np.float64]) -> None:
        self._sos = sos
        self._state = np.zeros((len(sos), 2))

    def filtered(self, channel: NDArray[np.float32] | NDArray[np.float64]) -> NDArray[np.float64]:
        """The next frames of the channel, filtered."""
        out, state = sosfilt(self._sos, channel, zi=self._state)
        self._state = np.where(np.abs(state) < _TINY, 0.0, state)
        return np.asarray(out)


class Equaliser:
    """All ``filters`` in turn, and ``gain_db`` on top; without either it gives the block itself."""

    latency = 0

    def __init__(self, filters: Iterable[Filter], rate: int, gain_db: float = 0.0) -> None:
        self._gain = Gain(gain_db)
        sos = sections(filters, rate)
        if len(sos):
            sos[0, :3] *= 10 ** (gain_db / 20)
        self._channels = (Cascade(sos), Cascade(sos)) if len(sos) else ()

    def process(self, block: Frames) -> Frames:
        if not self._channels:
            return self._gain.process(block)
        out = np.empty(block.shape, np.float32)
        for index, channel in enumerate(self._channels):  # one by one: twice as fast as both along an axis
            out[:, index] = channel.filtered(block[:, index])
        return out
