"""When a model that is not here is fetched for a job: at once, and after a failure not soon again."""

from __future__ import annotations

import time
from collections.abc import Callable

from stemd.core.config import Config
from stemd.core.errors import StemdError
from stemd.daemon import placement

#: After a failure the next job that needs the model tries again so much later, twice as long each time (seconds).
_FIRST, _LONGEST = 60.0, 3600.0


class Fetching:
    """Remembers which models could not be fetched. The fetching itself is a worker's work."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: dict[str, int] = {}
        self._not_before: dict[str, float] = {}

    def allows(self, missing: StemdError, model: str, config: Config) -> bool:
        """Whether a job may start although its model is ``missing``: its worker fetches it."""
        if missing.code != "STEMD-M001" or self.rests(model):
            return False
        return placement.supply_of(config).can(model)

    def rests(self, model: str) -> bool:
        """Whether the last worker that wanted ``model`` failed a short while ago."""
        return self._clock() < self._not_before.get(model, 0.0)

    def failed(self, model: str) -> None:
        """A worker could not fetch ``model``."""
        self._failures[model] = failures = self._failures.get(model, 0) + 1
        self._not_before[model] = self._clock() + min(_LONGEST, _FIRST * 2.0 ** min(failures - 1, 30))

    def came(self, model: str) -> None:
        """A worker has loaded ``model``."""
        self._failures.pop(model, None)
        self._not_before.pop(model, None)
