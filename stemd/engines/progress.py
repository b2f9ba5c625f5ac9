"""How far a job is: one fraction over all its stages, which never falls."""

from __future__ import annotations

from collections.abc import Mapping

from stemd.engines.base import Progress, ProgressCallback

#: Each stage's share of a separation, by measured time on a CPU.
_SHARES = {"decode": 0.02, "separate": 0.88, "encode": 0.10}


class Meter:
    """Turns "so many of so many in this stage" into calls of ``report``; ``shares`` are the stages in their order."""

    def __init__(self, report: ProgressCallback, shares: Mapping[str, float] = _SHARES) -> None:
        self._report, self._shares = report, shares
        self._highest = 0.0

    def advance(self, stage: str, done: float, of: float) -> None:
        """Report ``done`` of ``of`` in ``stage``; passes on what the callback raises (``CancelledError``)."""
        before = 0.0
        for name, share in self._shares.items():
            if name == stage:
                self._highest = max(self._highest, before + share * min(1.0, done / of if of else 1.0))
            before += share
        self._report(Progress(stage, self._highest))

    def end(self) -> None:
        """Everything is done."""
        self._highest = 1.0
        self._report(Progress(list(self._shares)[-1], 1.0))
