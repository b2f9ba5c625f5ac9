"""What a mix measures: loudness, peaks, dynamics and width of a stereo stream."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from stemd.engines.audio.loudness import Loudness
from stemd.engines.mix.true_peak import TruePeak

if TYPE_CHECKING:
    from stemd.engines.base import Frames

_CHUNK = 16_384


@dataclass(frozen=True, slots=True)
class Measured:
    """One stream's figures; ``None`` where there is none: in silence, or in less than the time that one needs.

    ``integrated_lufs`` (BS.1770-4), ``range_lu`` (EBU Tech 3342), the loudest 400 ms and 3 s (EBU Tech 3341), the
    highest sample and true peak of either channel, ``crest_db`` from the mean power of both channels to that sample,
    ``correlation`` of left and right: 1 is mono, −1 is out of phase.
    """

    seconds: float
    integrated_lufs: float | None
    range_lu: float | None
    momentary_lufs: float | None
    short_term_lufs: float | None
    peak_dbfs: float | None
    true_peak_dbtp: float | None
    crest_db: float | None
    correlation: float | None

    def louder(self, gain_db: float) -> Measured:
        """The figures of the same stream at another level."""
        levels = ("integrated_lufs", "momentary_lufs", "short_term_lufs", "peak_dbfs", "true_peak_dbtp")
        found = {name: getattr(self, name) for name in levels}
        return replace(self, **{name: value + gain_db for name, value in found.items() if value is not None})

    def to_dict(self) -> dict[str, float | None]:
        """For JSON: to a thousandth."""
        return {name: None if value is None else round(value, 3) for name, value in asdict(self).items()}


class ProgramMeter:
    """Feed it blocks (frames × 2, of any size); ask ``measured`` at the end. Memory: 80 bytes per second.

    Where only the loudness is of interest, ``Loudness`` costs half as much.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._frames = 0
        self._loudness = Loudness(rate, 2)
        self._peak = TruePeak()
        self._powers = np.zeros(3)

    def add(self, block: Frames) -> None:
        self._frames += len(block)
        self._loudness.add(block)
        for start in range(0, len(block), _CHUNK):
            chunk = block[start : start + _CHUNK]
            self._peak.add(chunk)
            left, right = np.ascontiguousarray(chunk.T, np.float64)
            self._powers += [np.einsum("i,i->", *pair) for pair in ((left, left), (right, right), (left, right))]

    def integrated(self, gain_db: float = 0.0) -> float | None:
        """The integrated loudness in LUFS that the stream so far would have, ``gain_db`` louder."""
        return self._loudness.integrated(gain_db)

    def measured(self) -> Measured:
        """The figures of the whole stream; nothing may be added any more."""
        peak, true_peak = self._peak.finish()
        left, right, common = self._powers.tolist()
        power = (left + right) / (2 * self._frames) if self._frames else 0.0
        both = math.sqrt(left) * math.sqrt(right)
        return Measured(
            seconds=self._frames / self._rate,
            integrated_lufs=self._loudness.integrated(),
            range_lu=self._loudness.range(),
            momentary_lufs=self._loudness.momentary(),
            short_term_lufs=self._loudness.short_term(),
            peak_dbfs=_decibels(peak),
            true_peak_dbtp=_decibels(true_peak),
            crest_db=20 * math.log10(peak / math.sqrt(power)) if peak > 0 and power > 0 else None,
            correlation=max(-1.0, min(1.0, common / both)) if both > 0 else None,
        )


def _decibels(amplitude: float) -> float | None:
    return 20 * math.log10(amplitude) if amplitude > 0 else None
