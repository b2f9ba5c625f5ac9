"""What the level does, one value per ``HOP`` frames, and gains made from it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from stemd.engines.mix.processor import HOP

if TYPE_CHECKING:
    from stemd.engines.base import Frames

_Values = NDArray[np.float64]

AUDIBLE_DB = -60.0
"""Below this level (dB of full scale) a hop counts as a pause."""
_FLOOR = 1e-10
_STILL = 1e-6
"""dB: nearer than that to its aim, a smoothed value has arrived."""
_RISING = {count: np.repeat(np.arange(1, HOP + 1, dtype=np.float32) / HOP, count) for count in (1, 2)}


def hops_of(ms: float, rate: int) -> float:
    return ms * rate / (1000 * HOP)


class PeakLevel:
    """The highest sample of both channels in every hop and ``hold_ms`` before it, in dB of full scale, ≥ −200.

    The hold bridges the zero crossings of low notes: half a period of the lowest.
    """

    def __init__(self, hold_ms: float, rate: int) -> None:
        self._hops = 1 + int(hops_of(hold_ms, rate))
        self._held = np.zeros(self._hops - 1)

    def levels(self, block: Frames) -> _Values:
        """One level per hop of ``block``."""
        hops = block.reshape(-1, 2 * HOP)
        peaks = np.concatenate([self._held, np.maximum(hops.max(axis=1), -hops.min(axis=1))])
        self._held = peaks[len(hops) :]
        return np.asarray(20 * np.log10(np.maximum(sliding_window_view(peaks, self._hops).max(axis=1), _FLOOR)))


class Smooth:
    """A first-order low-pass with one time constant upwards and one downwards (0: at once).

    Giannoulis, Massberg & Reiss 2012, "Digital dynamic range compressor design", equation 16 (smooth, branching).
    """

    def __init__(self, rise_ms: float, fall_ms: float, rate: int, start: float = 0.0) -> None:
        self._rise, self._fall = _share(rise_ms, rate), _share(fall_ms, rate)
        self._value = start

    def smoothed(self, values: _Values) -> _Values:
        """The next ``values``, one per hop."""
        rise, fall, value = self._rise, self._fall, self._value
        out = []
        for aim in values.tolist():
            way = aim - value
            value = aim if -_STILL < way < _STILL else value + way * (rise if way > 0 else fall)
            out.append(value)
        self._value = value
        return np.array(out)


def _share(ms: float, rate: int) -> float:
    return -math.expm1(-1 / hops_of(ms, rate)) if ms > 0 else 1.0


class Ramp:
    """Gains per hop as gains per frame: straight lines from the value before to the hop's, reached at its end."""

    def __init__(self, start: float) -> None:
        self._last = start

    def still(self, values: _Values) -> bool:
        """Whether nothing moves: all of the values are those before."""
        return bool((values == self._last).all())

    def frames(self, values: _Values, channels: int) -> NDArray[np.float32]:
        """hops × (``HOP`` × ``channels``), each value ``channels`` times."""
        before = np.concatenate([[self._last], values[:-1]])
        self._last = float(values[-1])
        out: NDArray[np.float32] = np.multiply.outer((values - before).astype(np.float32), _RISING[channels])
        out += before.astype(np.float32)[:, None]
        return out


class Reductions:
    """How far a signal was lowered: at most, and on the average over what is no pause. For the report."""

    def __init__(self) -> None:
        self._most, self._sum, self._hops = 0.0, 0.0, 0

    def add(self, reductions: _Values, levels: _Values) -> None:
        """dB per hop, positive is lower, and the levels they belong to."""
        self._most = max(self._most, float(reductions.max(initial=0.0)))
        heard = reductions[levels > AUDIBLE_DB]
        self._sum += float(heard.sum())
        self._hops += len(heard)

    def facts(self) -> dict[str, float]:
        return {"max_reduction_db": self._most, "mean_reduction_db": self._sum / max(1, self._hops)}
