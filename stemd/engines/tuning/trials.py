"""What was tried, and which of it is used. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

#: What counts as float32: the rounding of two correct libraries is apart by −120 to −135 dB.
ACCURATE_DB = -100.0
#: What a smaller number format may cost where the operator asked for one.
REDUCED_DB = -50.0


@dataclass(frozen=True, slots=True)
class Trial:
    """One way to compute: its settings, the ``seconds`` it took, and its error against the plain way.

    ``error_db`` is the energy of the difference by that of the plain answer, in dB; NaN where one was not finite.
    ``worth`` is how many times as long as the way chosen so far it may take and still be preferred to it: below 1 it
    must be faster, above 1 it has other merits.
    """

    way: Mapping[str, str]
    seconds: float
    error_db: float
    gate_db: float = ACCURATE_DB
    worth: float = 0.95

    @property
    def passed(self) -> bool:
        """Whether its error is within its gate; NaN is not."""
        return self.error_db <= self.gate_db

    def to_dict(self) -> dict[str, Any]:
        error = round(max(self.error_db, -999.0), 1) if math.isfinite(self.error_db) or self.error_db < 0 else None
        return {**asdict(self), "seconds": round(self.seconds, 4), "error_db": error, "passed": self.passed}


def choose(trials: Sequence[Trial]) -> Trial:
    """The trial to use. The first is the plain way; each later one takes over if it passed and is worth it.

    One whose only merit is speed must have given other bits: the same come from the same code, and its time is chance.
    """
    chosen, *others = trials
    for trial in others:
        other = trial.error_db > -math.inf or trial.worth > 1
        if other and trial.passed and trial.seconds <= trial.worth * chosen.seconds:
            chosen = trial
    return chosen
