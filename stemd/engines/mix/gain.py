"""A change of level."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from stemd.engines.base import Frames


class Gain:
    """Both channels louder by ``db``; 0 dB gives the block itself."""

    latency = 0

    def __init__(self, db: float) -> None:
        self._factor = np.float32(10 ** (db / 20))

    def process(self, block: Frames) -> Frames:
        return block if self._factor == 1 else block * self._factor
