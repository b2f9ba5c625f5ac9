"""When is a file complete? A tracker without clock, files or threads: it is told what was seen, and when.

No event proves completeness (a killed ``rsync --partial`` renames a short file into place) and no time stamp does
(``rsync -a`` delivers files that are years old). What counts is two looks, at least ``settle`` apart by our own
clock, with the same inode, size and times, and nobody holding the file open for writing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

_OPEN = "still open for writing"


class Writers(Enum):
    """Answer of the writer probe."""

    NONE = "none"
    SOME = "some"
    UNKNOWN = "unknown"


class Arrival(Enum):
    """How an entry came: ``MOVED`` in by one rename, first under our ``OWN`` hidden name, or ``GROWN`` in place."""

    GROWN = "grown"
    MOVED = "moved"
    OWN = "own"


@dataclass(frozen=True, slots=True)
class Sighting:
    """One look at one entry. ``fingerprint`` is inode, size, mtime_ns and ctime_ns (of all files, for a folder)."""

    key: str
    fingerprint: Hashable
    arrival: Arrival = Arrival.GROWN
    tree: bool = False


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds an entry must stay unchanged: probed, where no probe is possible, and for folders."""

    settle: float = 2.0
    unprobed: float = 30.0
    tree: float = 10.0


@dataclass(slots=True)
class _Track:
    fingerprint: Hashable
    since: float
    due: float
    why: str = ""


class Tracker:
    """Remembers since when each entry has looked the same."""

    def __init__(self, times: Times) -> None:
        self._times = times
        self._tracks: dict[str, _Track] = {}

    def observe(
        self, now: float, sightings: Iterable[Sighting], probe: Callable[[Sighting], Writers]
    ) -> Iterator[Sighting]:
        """Take in one full look at the inbox and yield what is complete.

        ``now`` is seconds of a monotonic clock. ``probe`` is asked only when everything else is fulfilled. Entries
        that are no longer seen are forgotten, and so is what is yielded, unless it is seen again.
        """
        seen: dict[str, _Track] = {}
        for sighting in sightings:
            track = self._tracks.get(sighting.key)
            if track is None or track.fingerprint != sighting.fingerprint:
                track = _Track(sighting.fingerprint, now, now + self._quiet(sighting))
            seen[sighting.key] = track
            if self._complete(now, sighting, track, probe):
                yield sighting
        self._tracks = seen

    def forget(self, key: str) -> None:
        self._tracks.pop(key, None)

    def why(self, key: str) -> str | None:
        """What an entry waits for, for people; ``None`` when it is not being watched."""
        track = self._tracks.get(key)
        return track.why if track else None

    def next_look(self) -> float | None:
        """When the next entry may be complete; ``None`` when nothing is waiting."""
        return min((track.due for track in self._tracks.values()), default=None)

    def __len__(self) -> int:
        return len(self._tracks)

    def _quiet(self, sighting: Sighting) -> float:
        if sighting.arrival is not Arrival.GROWN:
            return 0.0
        return max(self._times.settle, self._times.tree) if sighting.tree else self._times.settle

    def _complete(self, now: float, sighting: Sighting, track: _Track, probe: Callable[[Sighting], Writers]) -> bool:
        quiet = self._quiet(sighting)
        track.due = track.since + quiet
        if now < track.due:
            if track.why != _OPEN:  # asked too early, that is still all there is to say
                track.why = f"settling: unchanged for {now - track.since:.1f} s of {quiet:g} s"
            return False
        writers = probe(sighting)
        if writers is Writers.SOME:
            track.since, track.why = now, _OPEN
            track.due = now + max(quiet, min(self._times.settle, 1.0))
            return False
        if writers is Writers.UNKNOWN and sighting.arrival is not Arrival.OWN:
            track.due = track.since + max(quiet, self._times.unprobed)
            if now < track.due:
                track.why = f"settling: cannot see whether it is still open, so it must rest {self._times.unprobed:g} s"
                return False
        track.why, track.due = "complete", math.inf  # from here on it is for others to say when to look again
        return True
