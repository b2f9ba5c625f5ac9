"""The options a job may give to Demucs, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from stemd.engines.options import check_names, number, whole


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


LEAST_SEGMENT = 0.1
_MOST_SEGMENT = 600.0
"""The longest segment of models that have no limit of their own: what is longer takes tens of GiB."""
_DEFAULT_BATCH = {"cuda": 4}


def parse_options(
    options: Mapping[str, Any], longest: float, device: str, together: int | None = None
) -> DemucsOptions:
    """Check ``options``; ``longest`` is the longest segment of the model in seconds (may be infinite), ``together`` how
    many segments are computed at once whatever a job wants.

    Raises:
        StemdError: STEMD-E004, naming the option.
    """
    check_names("demucs", options, DemucsOptions)
    segment = options.get("segment")
    return DemucsOptions(
        overlap=number(options, "overlap", 0.25, 0, 0.9),
        shifts=whole(options, "shifts", 0, 0, 20),
        segment=None if segment is None else number(options, "segment", 0, LEAST_SEGMENT, min(longest, _MOST_SEGMENT)),
        seed=whole(options, "seed", 0, 0, 2**32),
        batch=whole(options, "batch", together or _DEFAULT_BATCH.get(device, 1), 1, 64),
    )
