"""How many workers each engine has and should have, and why: asked of the running daemon."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stemd.core.errors import StemdError
from stemd.ops import asking

#: A daemon that does not answer within so long is busy; the rest of what was asked for is shown without it (seconds).
_PATIENCE = 2.0
_REASONS = {
    "queue": "as many as its jobs need",
    "maximum": "workers.max; more jobs wait",
    "cores": "all cores are in use",
    "memory": "there is no memory for more",
    "pressure": "the machine is under pressure",
    "disk": "its jobs wait for room on the disk",
    "minimum": "workers.min",
    "warm": "kept loaded for the next job",
    "idle": "it has no jobs",
}


def ask(home: asking.Home) -> dict[str, Any] | None:
    """What the daemon says of its workers; ``None`` where it does not answer, or not to us."""
    try:
        found = asking.request(home, {"op": "state"}, _PATIENCE).get("scaling")
    except StemdError:
        return None
    return found if isinstance(found, dict) and found.get("engines") else None


def lines(shared: Mapping[str, Any] | None) -> Iterator[str]:
    """A line for each engine that has workers or jobs."""
    for engine in shared["engines"] if shared else ():
        if engine["workers"] or engine["desired"] or engine["jobs"]:
            yield f"{engine['engine']}: {sentence(engine)}"


def sentence(engine: Mapping[str, Any]) -> str:
    """One engine: ``2 workers (1 busy), 2 wanted: as many as its jobs need``."""
    count = f"{engine['workers']} worker{'' if engine['workers'] == 1 else 's'}"
    reason = _REASONS.get(engine["reason"], engine["reason"])
    return f"{count} ({engine['busy']} busy), {engine['desired']} wanted: {reason}"
