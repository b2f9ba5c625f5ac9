"""The words all of the training shares."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RATE = 44_100
#: The order of stems in every array of this package.
STEMS = ("drums", "bass", "other", "vocals")
#: Two channels × frames, float32; stems are four of them.
Sound = NDArray[np.float32]
#: A stem below this RMS (−60 dB of full scale) is absent.
SILENT = 1e-3
#: The level at which parts meet before they are mixed.
LEVEL = 0.1


def rms(sound: Sound) -> float:
    """The root mean square over everything, as float64 computes it."""
    return float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))) if sound.size else 0.0


def levelled(sound: Sound, level: float = LEVEL) -> Sound:
    """``sound`` at ``level`` RMS; silence stays silence."""
    found = rms(sound)
    return sound * np.float32(level / found) if found > 1e-5 else sound
