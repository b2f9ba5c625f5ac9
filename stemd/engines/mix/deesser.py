"""A de-esser."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.signal import firwin, lfilter

from stemd.engines.mix.envelope import AUDIBLE_DB, Ramp, Reductions, Smooth, hops_of
from stemd.engines.mix.fir import Fir
from stemd.engines.mix.parameters import DeEsser
from stemd.engines.mix.processor import HOP

if TYPE_CHECKING:
    from stemd.engines.base import Frames

_HIGHEST = 0.49
_PERIODS = 5.75
"""Half the filter's length in periods of its frequency: the edge is a third of that wide, 63 dB deep (Kaiser, β 6)."""
_WINDOW_MS = 5.0
_ATTACK_MS, _RELEASE_MS = 1.0, 60.0
_FLOOR = 1e-20
_TINY = 1e-30


class DeEss:
    """What is above ``hz`` (a linear-phase high-pass, so the rest is exactly what it leaves) is turned down.

    By as much as its power, over some 5 ms, is above the rest's plus the threshold, so it does not matter how loud the
    voice is; hiss in pauses is left alone. What does not sibilate comes out as it went in.
    """

    name = "deess"

    def __init__(self, settings: DeEsser, rate: int) -> None:
        self._settings = settings
        hz = min(settings.hz, _HIGHEST * rate)
        self.latency = math.ceil(_PERIODS * rate / hz)
        taps = firwin(2 * self.latency + 1, hz, pass_zero=False, fs=rate, window=("kaiser", 6.0))
        self._band = Fir(taps)
        self._held = np.zeros((2, 2 * self.latency), np.float32)
        self._share = -math.expm1(-1 / hops_of(_WINDOW_MS, rate))
        self._state = np.zeros((2, 1))
        self._smooth = Smooth(_ATTACK_MS, _RELEASE_MS, rate)
        self._ramp = Ramp(0.0)
        self._reductions = Reductions()

    def process(self, block: Frames) -> Frames:
        frames = np.concatenate([self._held, block.T], axis=1)
        self._held = frames[:, len(block) :].copy()
        band, whole = self._band(frames), frames[:, self.latency : self.latency + len(block)]
        reductions = self._follow(band, whole - band)
        removed = 1 - 10 ** (-reductions / 20)
        if self._ramp.still(removed) and removed[-1] == 0:
            return np.ascontiguousarray(whole.T)
        return np.ascontiguousarray((whole - band * self._ramp.frames(removed, 1).reshape(-1)).T)

    def _follow(self, band: NDArray[np.float32], rest: NDArray[np.float32]) -> NDArray[np.float64]:
        """dB to lower ``band`` by, one per hop (both are 2 × frames)."""
        powers, state = lfilter(
            [self._share], [1.0, self._share - 1], [_powers(band), _powers(rest)], axis=1, zi=self._state
        )
        self._state = np.where(np.abs(state) < _TINY, 0.0, state)
        band_db, rest_db = 10 * np.log10(np.maximum(powers, _FLOOR))
        over = band_db - rest_db - self._settings.threshold_db
        wanted = np.where(band_db > AUDIBLE_DB, np.clip(over, 0.0, self._settings.max_db), 0.0)
        reductions = self._smooth.smoothed(wanted)
        self._reductions.add(reductions, np.maximum(band_db, rest_db))
        return reductions

    def facts(self) -> dict[str, float]:
        """``max_reduction_db`` and ``mean_reduction_db`` so far, of what is above ``hz``."""
        return self._reductions.facts()


def _powers(channels: NDArray[np.float32]) -> NDArray[np.float64]:
    """The mean square of each hop, both channels together."""
    hops = channels.reshape(2, -1, HOP)
    return np.asarray(np.einsum("chf,chf->h", hops, hops) / (2 * HOP), np.float64)
