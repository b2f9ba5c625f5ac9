"""What is found out about a stem before anything is decided: its level, dynamics, width and spectrum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from stemd.engines.mix.meter import Measured, ProgramMeter
from stemd.engines.mix.spectrum import LongTermSpectrum, third_octaves

if TYPE_CHECKING:
    from stemd.engines.base import Frames


@dataclass(frozen=True, slots=True)
class Analysis:
    """One stream's figures and its level in third octaves (dB; ``None`` where it is silent)."""

    measured: Measured
    bands_db: tuple[float, ...] | None

    def louder(self, gain_db: float) -> Analysis:
        """The same at another level."""
        bands = None if self.bands_db is None else tuple(db + gain_db for db in self.bands_db)
        return Analysis(self.measured.louder(gain_db), bands)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Analysis:
        bands = data["bands_db"]
        return cls(Measured(**data["measured"]), None if bands is None else tuple(bands))

    def spectrum(self, rate: int) -> dict[str, list[float]] | None:
        """For drawing: ``hz`` and ``db``."""
        if self.bands_db is None:
            return None
        centres = third_octaves(rate)
        return {"hz": [round(float(hz), 1) for hz in centres], "db": [round(db, 2) for db in self.bands_db]}


class Analyser:
    """Feed it blocks (frames × 2, of any size); ask ``analysis`` at the end."""

    def __init__(self, rate: int) -> None:
        self._meter, self._spectrum = ProgramMeter(rate), LongTermSpectrum(rate)

    def add(self, block: Frames) -> None:
        self._meter.add(block)
        self._spectrum.add(block)

    def analysis(self) -> Analysis:
        """The figures of the whole stream; nothing may be added any more."""
        bands = self._spectrum.bands_db()
        return Analysis(self._meter.measured(), None if bands is None else tuple(float(db) for db in bands))
