"""How much memory a worker will need: what its engine said when it was loaded, its highest peak so far, or a guess."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stemd.worker.setup import Setup

#: Before an engine has said anything (bytes): measured with the models most people use, and rounded up.
_GUESSES = {"demucs": 1536 << 20, "spleeter": 1536 << 20, "mix": 256 << 20, "stub": 200 << 20}
_GUESS = 2 << 30


class Forecast:
    """Remembers, for each setup, the engine's own estimate and the highest peak seen."""

    def __init__(self) -> None:
        self._known: dict[Setup, int] = {}

    def of(self, setup: Setup, limit: int | None = None) -> int:
        """Bytes that a worker will need; not more than ``limit``, beyond which its jobs are ended."""
        known = self._known.get(setup) or _GUESSES.get(setup.engine, _GUESS)
        return known if limit is None else min(known, limit)

    def learn(self, setup: Setup, message: Mapping[str, Any]) -> None:
        """From a worker's words: an estimate (``memory``) when it is ready or begins, a peak when it has done a job."""
        said = (message.get("memory"), message.get("resources", {}).get("peak_rss_bytes"))
        self._known[setup] = max([self._known.get(setup, 0), *(int(each) for each in said if each)])
