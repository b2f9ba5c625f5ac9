"""Spectra to aim at, as levels in third octaves (dB, any offset)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

#: Corner points (Hz, dB); straight lines over the logarithm of the frequency between them. ``pop`` falls like the
#: average of commercial recordings: Pestana, Ma, Reiss, Barbosa and Black, AES 135 (2013): about 5 dB an octave in
#: power density from 100 Hz to 4 kHz (2 dB in bands of constant ratio), steeper above.
_CORNERS: Mapping[str, tuple[tuple[float, float], ...]] = {
    "pop": ((25, -12), (50, -1), (100, 0), (4000, -10.6), (8000, -14), (16_000, -21)),
    "bright": ((25, -12), (50, -1), (100, 0), (4000, -8.5), (8000, -10.5), (16_000, -16)),
    "warm": ((25, -10), (50, 0), (120, 1), (4000, -13), (8000, -18), (16_000, -26)),
    "speech": ((25, -40), (80, -12), (150, 0), (500, 0), (4000, -9), (8000, -15), (16_000, -24)),
    "pink": ((25, 0), (16_000, 0)),
}


def curve(name: str, centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """The curve called ``name`` at the frequencies ``centres``."""
    hz, db = zip(*_CORNERS[name], strict=True)
    found: NDArray[np.float64] = np.interp(np.log(centres), np.log(hz), db)
    return found
