"""One spool's inboxes: looks at them when something moved or time is up, and says what is complete.

The tracker decides; this is the thin shell that lists directories and probes files for it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from stemd.core.config import Config
from stemd.core.errors import StemdError
from stemd.daemon.watcher import Watcher
from stemd.spool import ignore, intake, lease
from stemd.spool.intake import Candidate, Door, Refusal
from stemd.spool.layout import Spool
from stemd.spool.settle import Sighting, Times, Tracker

#: However many events arrive, looking takes at most this share of the daemon's time.
_SCAN_SHARE = 0.2


class Scanner:
    """Watches, looks, and remembers why entries are still there."""

    def __init__(self, spool: Spool, config: Config, wake: Callable[[], None]) -> None:
        self.spool = spool
        self._dirty = True
        self.blocked = False
        self._wake = wake
        self._next_scan = 0.0
        self._not_before = 0.0
        self._refused: dict[str, Refusal] = {}
        self.configure(config)
        wanted = {config.inbox(door.name).watch or config.defaults.watch for door in self._doors}
        self.watcher = Watcher(spool.inbox, "poll" if "poll" in wanted else "auto", self._moved)

    def configure(self, config: Config) -> None:
        """Take over (changed) inboxes and settle times; what was settling starts anew."""
        self._doors = intake.doors(self.spool, door_names(config))
        self._tracker = Tracker(Times(config.defaults.settle, config.defaults.settle_unprobed))
        self._dirty = True

    def stop(self) -> None:
        self.watcher.stop()

    def due(self) -> float:
        """When (monotonic seconds) the next look should happen; in the past: now."""
        settled = self._tracker.next_look()
        times = [self._next_scan] if settled is None else [self._next_scan, settled]
        return max(self._not_before, 0.0 if self._dirty else min(times))

    def scan(self) -> Iterator[Candidate | Refusal]:
        """One full look at every inbox: what is complete now, and what is newly refused."""
        self._dirty = self.blocked = False
        started = time.monotonic()
        seen: list[Sighting] = []
        doors: dict[str, Door] = {}
        refused: dict[str, Refusal] = {}
        arrivals = self.watcher.arrivals()
        for door in self._doors:
            for entry in intake.entries(door, self._doors):
                found = intake.look(entry, arrivals)
                if isinstance(found, Sighting):
                    seen.append(found)
                    doors[found.key] = door
                elif found is not None:
                    refused[str(found.path)] = found
        complete = list(self._tracker.observe(started, seen, lambda sighting: lease.writers(Path(sighting.key))))
        looked = time.monotonic()
        for sighting in complete:
            result = _classify(sighting, doors[sighting.key])
            if isinstance(result, Candidate):
                self.watcher.forget(sighting.key)
                yield result
            elif result is not None:
                refused[str(result.path)] = result
        yield from (refusal for key, refusal in refused.items() if key not in self._refused)
        self._refused = refused
        self._forget_gone({sighting.key for sighting in seen})
        if not self.blocked:
            self._next_scan = looked + self.watcher.interval
        self._not_before = max(self._not_before, looked + (looked - started) * (1 / _SCAN_SHARE - 1))

    def postpone(self, seconds: float) -> None:
        """Do not look again for so long: what was complete could not be taken."""
        self._next_scan = self._not_before = time.monotonic() + seconds
        self.blocked = True

    @property
    def idle(self) -> bool:
        """Whether nothing in the inboxes is on its way to completeness."""
        return not self._dirty and (self.blocked or len(self._tracker) == len(self._refused_but_tracked()))

    @property
    def counts(self) -> dict[str, int]:
        """Entries that settle, and entries that are refused."""
        settling = len(self._tracker) - len(self._refused_but_tracked())
        return {"settling": settling, "refused": len(self._refused)}

    def why(self, path: Path) -> str:
        """Why an entry of these inboxes has not been taken, for people.

        Raises:
            StemdError: the reason, where it is one of the error table.
        """
        top = self._top_entry(path)
        refusal = self._refused.get(str(top))
        if refusal is not None:
            raise refusal.error
        reason = ignore.ignored(top.name)
        if reason is not None:
            raise StemdError("STEMD-S009", f"{reason}: left alone on purpose")
        if ignore.is_sidecar(top.name):
            return "waits for the recording it belongs to"
        if not os.path.lexists(top):
            raise StemdError("STEMD-S018", f"{top} is not in the inbox (any more)")
        return self._tracker.why(str(top)) or "not looked at yet"

    def _top_entry(self, path: Path) -> Path:
        """The entry directly behind a door that ``path`` is or lies in."""
        behind = {door.path for door in self._doors}
        for candidate in (path, *path.parents):
            if candidate.parent in behind and candidate not in behind:
                return candidate
        raise StemdError("STEMD-S018", f"{path} is in no inbox of {self.spool.root}")

    def _refused_but_tracked(self) -> list[str]:
        return [key for key in self._refused if self._tracker.why(key) is not None]

    def _forget_gone(self, present: set[str]) -> None:
        for key in [key for key in self.watcher.arrivals() if key not in present and not os.path.lexists(key)]:
            self.watcher.forget(key)

    def _moved(self) -> None:
        self._dirty = True
        self._wake()


def door_names(config: Config) -> frozenset[str]:
    """The inbox's subfolders with a meaning: configured inboxes, and users."""
    return frozenset(config.inboxes) | frozenset(config.users)


def _classify(sighting: Sighting, door: Door) -> Candidate | Refusal | None:
    try:
        return intake.classify(sighting, door)
    except FileNotFoundError:
        return None
