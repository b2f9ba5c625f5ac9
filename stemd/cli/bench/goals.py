"""What was to be reached (ratios on one machine, in one run), and whether it was. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_MIB = 2**20
HEADERS = ("GOAL", "MUST", "AIM", "FOUND", "")


@dataclass(frozen=True, slots=True)
class Goal:
    """``find`` takes the figure out of a run's document and raises where it was not measured (LookupError).

    ``at_least``: whether more is better; ``unit`` is written after each figure.
    """

    name: str
    must: float
    aim: float
    unit: str
    at_least: bool
    find: Callable[[Mapping[str, Any]], float]

    def row(self, document: Mapping[str, Any]) -> tuple[str, ...]:
        """The cells below ``HEADERS``."""
        sign = "≥ " if self.at_least else "≤ "
        wanted = [f"{sign}{each:g}{self.unit}" for each in (self.must, self.aim)]
        try:
            found = self.find(document)
        except LookupError:
            return (self.name, *wanted, "not measured", "")
        return (self.name, *wanted, f"{found:.3g}{self.unit}" if found < 100 else f"{found:.0f}{self.unit}",
                self.verdict(found))  # fmt: skip

    def verdict(self, found: float) -> str:
        for word, bound in (("aim", self.aim), ("must", self.must)):
            if found >= bound if self.at_least else found <= bound:
                return word
        return "MISSED"


def _ratio(what: str, least: float) -> Callable[[Mapping[str, Any]], float]:
    """The ratio of a workload; one of less than ``least`` seconds of audio says nothing about the goal."""

    def find(document: Mapping[str, Any]) -> float:
        workload = _workload(document, what)
        if workload["audio_seconds"] < least:
            raise LookupError
        return float(workload["ratio"]["median"])

    return find


def _workload(document: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next((each for each in document["workloads"] if each["what"] == what), {})
    return found


def _tracks(document: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The tracks of all lengths; what a smaller model took for them says nothing about the goals."""
    lengths = document["lengths"]
    return lengths["tracks"] if lengths["model"] == document["settings"]["model"] else ()


def _longest(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The longest track measured, where it is an hour."""
    rows = [each for each in _tracks(document) if each["minutes"] >= 60]
    found: Mapping[str, Any] = rows[0] if rows else {}
    return found


def _growth(document: Mapping[str, Any]) -> float:
    rows = [each["peak_rss"] for each in _tracks(document) if each["minutes"] >= 5]
    if len(rows) < 2:
        raise LookupError
    return float(rows[-1] - rows[0]) / _MIB


GOALS: Sequence[Goal] = (
    Goal("one track of 5 min against the demucs command, float32", 1.6, 2.2, " ×", True, _ratio("one", 300)),
    Goal("ten files of 20 s against a loop of the command, float32", 1.8, 2.3, " ×", True, _ratio("many", 200)),
    Goal("the same in fast mode against the command", 2.3, 3.5, " ×", True, _ratio("fast", 300)),
    Goal("share of the machine's float32 peak", 45, 55, " %", True, lambda d: 100 * d["tuning"]["share_of_peak"]),
    Goal("peak memory, one hour", 1536, 1126, " MiB", False, lambda d: _longest(d)["peak_rss"] / _MIB),
    Goal("and above that of 5 or 6 minutes", 20, 0, " MiB", False, _growth),
    Goal("first finished block of one hour", 15, 8, " s", False, lambda d: _longest(d)["first_block"]),
    Goal("Spleeter, 20 s file, worker loaded, against its command", 8, 12, " ×", True, _ratio("spleeter 20", 20)),
    Goal("Spleeter, 5 min, against its command", 2, 3, " ×", True, _ratio("spleeter 300", 300)),
    Goal("Spleeter, 5 min, memory", 1229, 922, " MiB", False,
         lambda d: _workload(d, "spleeter 300")["stemd"]["peak_rss_bytes"] / _MIB),
    Goal("worker ready, libraries and model loaded", 4, 2.5, " s", False, lambda d: d["worker_ready_seconds"]),
    Goal("daemon's memory at rest", 60, 40, " MiB", False, lambda d: d["service"]["idle"]["rss_bytes"] / _MIB),
    Goal("drop → claim, p99", 100, 20, " ms", False, lambda d: d["service"]["claim_ms"]["p99"]),
    Goal("10,000 files in the inbox seen and ordered", 2, 0.5, " s", False, lambda d: _inbox(d)["seconds"]),
    Goal("jobs with an engine that computes nothing", 50, 50, " /s", True,
         lambda d: d["service"]["jobs"]["per_second"]),
)  # fmt: skip


def _inbox(document: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = document["service"]["inbox"]
    return found if found["files"] >= 10_000 else {}


def rows(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Each goal with what was found, below ``HEADERS``."""
    return [goal.row(document) for goal in GOALS]
