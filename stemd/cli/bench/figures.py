"""What the measurements amount to: spreads, ratios, the table and the sentences under it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isnan
from statistics import median
from typing import Any

_BUSY_SHARE = 0.5
#: Largest difference at which two outputs count as the same: −80 dB, where a 24-bit step is −138.
AGREEMENT = 1e-4
HEADERS = ("WORKLOAD", "AGAINST", "STEMD s", "OTHER s", "RATIO", "STEMD ×", "OTHER ×", "STEMD MiB", "OTHER MiB")


@dataclass(frozen=True, slots=True)
class Run:
    """One timed run: wall-clock seconds, and the peak of the resident memory of all its processes, in bytes."""

    seconds: float
    peak_rss: int


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several numbers, and the range they lie in."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The spread of at least one value."""
        ordered = sorted(values)
        return cls(median(ordered), ordered[0], ordered[-1])

    def __str__(self) -> str:
        middle = _short(self.median)
        return middle if self.least == self.most else f"{middle} ({_short(self.least)}–{_short(self.most)})"

    def to_dict(self) -> dict[str, float]:
        return {"median": round(self.median, 4), "min": round(self.least, 4), "max": round(self.most, 4)}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One workload (``audio_seconds`` of sound in ``files`` files), done by both; run *n* of each is of round *n*.

    ``program`` is the other side: what is typed to run it. ``what`` names the workload for those who look for it.
    """

    what: str
    name: str
    files: int
    audio_seconds: float
    stemd: Sequence[Run]
    other: Sequence[Run]
    program: str = "demucs"

    @property
    def ratios(self) -> list[float]:
        """How many times as long the other took as stemd, round by round."""
        return [theirs.seconds / ours.seconds for ours, theirs in zip(self.stemd, self.other, strict=True)]

    def to_dict(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "name": self.name,
            "program": self.program,
            "files": self.files,
            "audio_seconds": self.audio_seconds,
            "stemd": self._side(self.stemd),
            "other": self._side(self.other),
            "ratio": {**Spread.of(self.ratios).to_dict(), "rounds": [round(each, 4) for each in self.ratios]},
        }

    def _side(self, runs: Sequence[Run]) -> dict[str, Any]:
        seconds = [run.seconds for run in runs]
        return {
            "seconds": {**Spread.of(seconds).to_dict(), "rounds": [round(each, 4) for each in seconds]},
            "realtime": self._realtime(runs).to_dict(),
            "peak_rss_bytes": _peak(runs),
        }

    def _realtime(self, runs: Sequence[Run]) -> Spread:
        return Spread.of(self.audio_seconds / run.seconds for run in runs)


def row(workload: Mapping[str, Any]) -> tuple[str, ...]:
    """The cells below ``HEADERS`` of what ``Comparison.to_dict`` gave."""
    sides = (workload["stemd"], workload["other"])
    return (
        workload["name"],
        workload["program"],
        *(spread(side["seconds"]) for side in sides),
        spread(workload["ratio"]),
        *(_short(side["realtime"]["median"]) for side in sides),
        *(str(round(side["peak_rss_bytes"] / 2**20)) for side in sides),
    )


def spread(of: Mapping[str, Any]) -> str:
    """The cell of what ``Spread.to_dict`` gave."""
    return str(Spread(of["median"], of["min"], of["max"]))


def _peak(runs: Sequence[Run]) -> int:
    return max(run.peak_rss for run in runs)


def _short(number: float) -> str:
    return f"{number:.1f}" if number >= 10 else f"{number:.2f}"


def busy(load: float, cores: int) -> str | None:
    """A sentence about the machine where others used over half of it (``load``: its load average) before the start.

    >>> busy(0.4, 2)
    """
    if load <= _BUSY_SHARE * cores:
        return None
    return (
        f"The machine was busy before this began (load average {load:.1f} on {cores} cores): the seconds are too "
        "high, and the ratios are less certain than on a quiet machine."
    )


def worst(differences: Mapping[str, Mapping[str, float]]) -> float:
    """The largest difference of all stems of all workloads; NaN counts as infinite."""
    values = [value for stems in differences.values() for value in stems.values()]
    return max(inf if isnan(value) else value for value in values)


def agreement(difference: float) -> str:
    """A sentence about how far the two outputs are apart (1.0 is full scale)."""
    if difference <= AGREEMENT:
        return f"Their stems are the same: no sample differs by more than {difference:.1e} of full scale."
    return f"THEIR STEMS DIFFER by up to {difference:.1e} of full scale: the two did not do the same work."
