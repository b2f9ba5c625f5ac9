"""How far a separation is: one fraction over all its stages, which never falls."""

from __future__ import annotations

from stemd.engines.base import Progress, ProgressCallback

#: Each stage's share of the whole, by measured time on a CPU.
_SHARES = {"decode": 0.02, "separate": 0.88, "encode": 0.10}


class Meter:
    """Turns "so many of so many in this stage" into calls of ``report``."""

    def __init__(self, report: ProgressCallback) -> None:
        self._report = report
        self._highest = 0.0

    def advance(self, stage: str, done: float, of: float) -> None:
        """Report ``done`` of ``of`` in ``stage``; passes on what the callback raises (``CancelledError``)."""
        before = 0.0
        for name, share in _SHARES.items():
            if name == stage:
                self._highest = max(self._highest, before + share * min(1.0, done / of if of else 1.0))
            before += share
        self._report(Progress(stage, self._highest))

    def end(self) -> None:
        """Everything is done."""
        self._highest = 1.0
        self._report(Progress("encode", 1.0))
