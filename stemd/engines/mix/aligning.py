"""Which stems are moved against which, and by how much."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from stemd.core.stem_roles import family
from stemd.engines.mix.align import Lag, estimate
from stemd.engines.mix.loading import Stem, name_of
from stemd.engines.mix.settings import Align
from stemd.engines.mix.shelf import Shelf

_AUDIBLE = 10 ** (-60 / 20)
_NOTABLE_MS = 1.0
"""A shorter move is no other place in the music, and needs no word."""


@dataclass(slots=True)
class Alignment:
    """Frames by which each stem is moved (positive: later), the lags found, and what to tell about it."""

    anchor: str | None = None
    lags: dict[str, int] = field(default_factory=dict)
    found: dict[str, dict[str, Any]] = field(default_factory=dict)
    note: str = ""
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def aligned(
    shelf: Shelf, stems: Mapping[str, Stem], settings: Align | None, rate: int, advance: Callable[[float, float], None]
) -> Alignment:
    """Compare every stem with the anchor; what is not certain is not moved, and a warning says so.

    ``advance`` is told the stems done of all.
    """
    result = Alignment()
    sounding = [role for role, stem in stems.items() if stem.analysis.bands_db is not None]
    if settings is None:
        result.note = "off"
    elif settings.enabled == "auto" and _of_one_separation(stems):
        result.note = "the stems of one separation are in place"
    elif len(sounding) < 2:
        result.note = "there is nothing to compare"
    else:
        named = [role for role in sounding if settings.anchor in {role, family(role)}]
        result.anchor = _anchor(stems, named or sounding)
        others, moves = [role for role in sounding if role != result.anchor], []
        for number, role in enumerate(others):
            advance(number, len(others))
            stem, anchor = (partial(shelf.read, name_of(each)) for each in (role, result.anchor))
            lag = estimate(stem, anchor, rate, settings.max_shift_ms, settings.min_confidence)
            moves += _take(result, shelf, role, lag, settings.min_confidence, rate)
        if moves:
            text = f"moved to where they belong against {result.anchor}; `align: null` leaves all in place (alignment)"
            result.warnings.append(f"{', '.join(moves)}: {text}")
        if unsure := [role for role, each in result.found.items() if not each["sure"]]:
            text = "left where they are, because nothing tells for certain where they belong"
            result.warnings.append(f"{', '.join(unsure)}: {text} (alignment)")
    return result


def _of_one_separation(stems: Mapping[str, Stem]) -> bool:
    jobs = {stem.separation for stem in stems.values()}
    return len(jobs) == 1 and None not in jobs


def _anchor(stems: Mapping[str, Stem], sounding: list[str]) -> str:
    """Of the drums where there are any, else of all, the one with the most power over the whole length."""

    def energy_db(role: str) -> float:
        found = stems[role].analysis.measured
        level = (found.peak_dbfs or 0.0) - (found.crest_db or 0.0)
        return level + 10 * math.log10(max(found.seconds, 1e-3))

    return max([role for role in sounding if family(role) == "drums"] or sounding, key=energy_db)


def _take(result: Alignment, shelf: Shelf, role: str, lag: Lag, least: float, rate: int) -> list[str]:
    """Move a stem where it is certain; what to tell of that, if anything."""
    sure = lag.confidence >= least
    milliseconds = round(1000 * lag.frames / rate, 2)
    result.found[role] = {"late_ms": milliseconds, "confidence": round(lag.confidence, 1), "sure": sure}
    if not sure or not lag.frames:
        return []
    result.lags[role] = -lag.frames
    cut = lag.frames > 0 and _loudest(shelf, role, lag.frames) > _AUDIBLE
    if abs(milliseconds) < _NOTABLE_MS and not cut:
        return []
    way = "earlier" if lag.frames > 0 else "later"
    return [f"{role} {abs(milliseconds):g} ms {way}" + " (what it has before that is cut off)" * cut]


def _loudest(shelf: Shelf, role: str, frames: int) -> float:
    return max(float(abs(block).max()) for block in shelf.read(name_of(role), 0, frames))
