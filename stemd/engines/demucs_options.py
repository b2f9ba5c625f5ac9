"""The options a job may give to Demucs, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from typing import Any

from stemd.core.errors import StemdError


@dataclass(frozen=True, slots=True)
class DemucsOptions:
    """``overlap``: shared part of neighbouring segments. ``shifts``: passes at shifted times, averaged. ``segment``:
    its length in seconds (``None``: the model's own). ``seed``: of the shifts. ``batch``: segments at once."""

    overlap: float = 0.25
    shifts: int = 0
    segment: float | None = None
    seed: int = 0
    batch: int = 1

    def facts(self) -> dict[str, Any]:
        return asdict(self)


_LEAST_SEGMENT = 0.1
_DEFAULT_BATCH = {"cuda": 4}


def parse_options(options: Mapping[str, Any], longest: float, device: str) -> DemucsOptions:
    """Check ``options``; ``longest`` is the longest segment of the model in seconds (may be infinite).

    Raises:
        StemdError: STEMD-E004, naming the option.
    """
    known = [field.name for field in fields(DemucsOptions)]
    for name in options:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}, residual"
            raise StemdError("STEMD-E004", f"demucs has no option {name!r}; {hint}")
    segment = options.get("segment")
    return DemucsOptions(
        overlap=float(_within(options, "overlap", 0.25, 0, 0.9)),
        shifts=_whole(options, "shifts", 0, 0, 20),
        segment=None if segment is None else float(_within(options, "segment", 0, _LEAST_SEGMENT, longest)),
        seed=_whole(options, "seed", 0, 0, 2**32),
        batch=_whole(options, "batch", _DEFAULT_BATCH.get(device, 1), 1, 64),
    )


def _within(options: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise StemdError("STEMD-E004", f"{name} is {value!r}; it must be a number from {low:g} to {high:g}")
    return value


def _whole(options: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    value = _within(options, name, default, low, high)
    if not isinstance(value, int):
        raise StemdError("STEMD-E004", f"{name} is {value!r}; it must be a whole number")
    return value
