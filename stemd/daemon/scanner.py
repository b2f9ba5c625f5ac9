"""One spool's inboxes: looks at them when something moved or time is up, and says what is complete.

The tracker decides; this is the thin shell that lists directories and probes files for it.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stemd.core.config import Config
from stemd.core.errors import StemdError
from stemd.core.job import SCHEMA_VERSION, JobState, encode_name
from stemd.core.request import takes_several
from stemd.daemon.watcher import Watcher
from stemd.spool import durable, ignore, intake, intents, lease
from stemd.spool.ignore import Ignored
from stemd.spool.intake import Candidate, Door, Refusal
from stemd.spool.intents import Intent
from stemd.spool.layout import Spool
from stemd.spool.settle import Sighting, Times, Tracker, Writers

#: How often what is complete but not taken, for what may pass by itself, is looked at again (seconds).
_KEPT_INTERVAL = 5.0
#: However many events arrive, looking takes at most this share of the daemon's time.
_SCAN_SHARE = 0.2
#: Taking what one look found may keep the daemon from everything else for so long at a time (seconds).
_TURN = 2.0


@dataclass(slots=True)
class _Look:
    """One full look at every inbox, and what is left to do about it. Times are monotonic seconds."""

    started: float
    looked: float
    complete: deque[tuple[Sighting, Door]]
    refused: dict[str, Refusal]
    present: set[str]


class Scanner:
    """Watches, looks, and remembers why entries are still there."""

    def __init__(self, spool: Spool, config: Config, wake: Callable[[], None]) -> None:
        self.spool = spool
        self._dirty = True
        self._blocked = False
        self._wake = wake
        self._next_scan = 0.0
        self._not_before = 0.0
        self._look: _Look | None = None
        self._refused: dict[str, Refusal] = {}
        self._kept: dict[str, StemdError | str] = {}
        self._kept_before: frozenset[str] = frozenset()
        self._waiting: list[dict[str, Any]] | None = None
        self._since: dict[str, float] = {}
        self._left_alone: set[tuple[str, int, Ignored]] = set()
        self.newly_ignored: list[Ignored] = []
        self._intents_file = intents.place(config.state_of(spool.root), spool.root)
        self._intents = intents.read(self._intents_file)
        self._intents_changed = False
        self.watcher = Watcher(self._moved)
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Take over (changed) inboxes and settle times; what was settling starts anew."""
        self._doors = intake.doors(self.spool, door_names(config), whole_doors(config))
        self._trackers = {door: Tracker(_times(config, door)) for door in self._doors}
        self._look = None
        self.watcher.watch(
            {str(door.path): config.inbox(door.name).watch or config.defaults.watch for door in self._doors}
        )
        self._dirty = True

    def stop(self) -> None:
        self.watcher.stop()

    def due(self) -> float:
        """When (monotonic seconds) the next look should happen; in the past: now."""
        if self._look is not None and not self._blocked:
            return 0.0
        settled = (tracker.next_look() for tracker in self._trackers.values())
        times = [self._next_scan, *(each for each in settled if each is not None)]
        return max(self._not_before, 0.0 if self._dirty else min(times))

    def scan(self) -> Iterator[Candidate | Refusal]:
        """What is complete now, and what is newly refused; what a turn has no time for comes with the next call."""
        if self._look is None:
            self._look = self._look_around()
        look, until = self._look, time.monotonic() + _TURN
        while look.complete:
            sighting, door = look.complete.popleft()
            result = _classify(sighting, door)
            if isinstance(result, Candidate):
                yield result
            elif result is not None:
                look.refused[str(result.path)] = result
            else:
                self._dirty = True  # it is gone, or changed since the look
            if time.monotonic() > until:
                return
        self._look = None
        yield from (refusal for key, refusal in look.refused.items() if key not in self._refused)
        self._refused = look.refused
        self._forget_gone(look.present)
        self._write_waiting()
        if not self._blocked:
            interval = self.watcher.interval
            self._next_scan = look.looked + (min(_KEPT_INTERVAL, interval) if self.kept_for else interval)
        self._not_before = max(self._not_before, look.looked + (look.looked - look.started) * (1 / _SCAN_SHARE - 1))

    def _look_around(self) -> _Look:
        arrivals = self.watcher.arrivals()
        self._dirty = self._blocked = False
        self._kept_before = frozenset(path for path, reason in self._kept.items() if isinstance(reason, StemdError))
        self._kept = {}
        started = time.monotonic()
        refused: dict[str, Refusal] = {}
        complete: deque[tuple[Sighting, Door]] = deque()
        present: set[str] = set()
        left_alone: set[tuple[str, int, Ignored]] = set()
        for door, tracker in self._trackers.items():
            seen: list[Sighting] = []
            for entry in intake.entries(door, self._doors):
                if (reason := ignore.ignored(entry.name)) is not None:
                    left_alone.add((entry.path, entry.inode(), reason))
                found = intake.look(entry, arrivals)
                if isinstance(found, Sighting):
                    seen.append(found)
                elif found is not None:
                    refused[str(found.path)] = found
            complete += [(sighting, door) for sighting in tracker.observe(started, seen, _writers)]
            present.update(sighting.key for sighting in seen)
        self.newly_ignored += [reason for *_, reason in left_alone - self._left_alone]
        self._left_alone = left_alone
        clock = time.time()
        self._since = {key: self._since.get(key, clock) for key in present}
        return _Look(started, time.monotonic(), complete, refused, present)

    def keep(self, path: Path, reason: StemdError | str) -> None:
        """A complete entry is not taken now, for ``reason``; it is looked at again soon. One that a person keeps, for
        words only, is so when that person has said that it is over (``look_again``)."""
        self._kept[str(path)] = reason

    def is_news(self, path: Path) -> bool:
        """Whether the entry was not kept for an error at the last look: what only a person kept was not told of."""
        return str(path) not in self._kept_before

    def intent(self, path: Path) -> Intent | None:
        """What a person decided about an entry."""
        return self._intents.get(self._name(path))

    def decide(self, path: Path, intent: Intent | None) -> None:
        """Hold an entry back or cancel it once it is complete, durably; ``None`` withdraws either.

        Raises:
            StemdError: STEMD-S018, there is no such entry; STEMD-R003 or STEMD-S014.
        """
        top = self._top_entry(path)
        if intent is not None and not os.path.lexists(top):
            raise StemdError("STEMD-S018", f"{top} is not in the inbox (any more)")
        if intent is not None and (refusal := self._refused.get(str(top))) is not None:
            raise refusal.error
        self._write_intents()
        intents.decide(self._intents_file, self._name(top), intent)
        self._intents = intents.read(self._intents_file)
        self.look_again()

    def followed(self, path: Path) -> None:
        """What was decided about an entry is done: another may come under its name. The disk may hear of it later."""
        self._intents_changed |= self._intents.pop(self._name(path), None) is not None
        self._write_intents()

    def _write_intents(self) -> None:
        if self._intents_changed:
            with suppress(StemdError):
                intents.write(self._intents_file, self._intents)
                self._intents_changed = False

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self.spool.inbox))

    def postpone(self, seconds: float) -> None:
        """Do not look again for so long: what was complete could not be taken."""
        self._next_scan = self._not_before = time.monotonic() + seconds
        self._blocked = True

    def look_again(self) -> None:
        """Something changed that the next look depends on; safe from any thread."""
        self._moved()
        self._wake()

    def _moved(self) -> None:
        self._dirty = True

    @property
    def blocked(self) -> bool:
        """Whether something complete lies there that could not be taken."""
        return self._blocked or bool(self._kept)

    @property
    def kept_for(self) -> frozenset[str]:
        """The codes for which something complete still lies there."""
        return frozenset(reason.code for reason in self._kept.values() if isinstance(reason, StemdError))

    @property
    def oldest(self) -> float | None:
        """Since when (seconds since 1970) the oldest entry lies there that is not refused."""
        return min((since for key, since in self._since.items() if key not in self._refused), default=None)

    @property
    def idle(self) -> bool:
        """Whether nothing in the inboxes is on its way to completeness."""
        return self._look is None and not self._dirty and not self._settling

    @property
    def counts(self) -> dict[str, int]:
        """Entries that settle, and entries that are refused."""
        return {"settling": self._settling, "refused": len(self._refused), "kept": len(self._kept)}

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
            raise StemdError("STEMD-S009", f"{reason.sentence}: left alone on purpose")
        if ignore.is_sidecar(top.name):
            return "waits for the recording it belongs to"
        if not os.path.lexists(top):
            raise StemdError("STEMD-S018", f"{top} is not in the inbox (any more)")
        if (kept := self._kept.get(str(top))) is not None:
            if isinstance(kept, str):
                return kept
            raise kept
        known = (tracker.why(str(top)) for tracker in self._trackers.values())
        return next((reason for reason in known if reason), "not looked at yet")

    def locate(self, path: Path) -> tuple[str | None, Path]:
        """The name of the door, and the entry directly behind it, that ``path`` is or lies in.

        Raises:
            StemdError: STEMD-S018, it is behind none.
        """
        behind = {door.path: door.name for door in self._doors}
        for candidate in (path, *path.parents) if ".." not in path.parts else ():
            if candidate.parent in behind and candidate not in behind:
                return behind[candidate.parent], candidate
        raise StemdError("STEMD-S018", f"{path} is in no inbox of {self.spool.root}")

    def _top_entry(self, path: Path) -> Path:
        return self.locate(path)[1]

    @property
    def _settling(self) -> int:
        """How many entries are on their way to completeness."""
        trackers = self._trackers.values()
        held_up = {key for key in (*self._refused, *self._kept) if any(each.why(key) is not None for each in trackers)}
        return sum(map(len, trackers)) - len(held_up)

    def _forget_gone(self, present: set[str]) -> None:
        for key in [key for key in self.watcher.arrivals() if key not in present and not os.path.lexists(key)]:
            self.watcher.forget(key)
        if any(not os.path.lexists(self.spool.inbox / name) for name in self._intents):
            self._intents = {n: i for n, i in self._intents.items() if os.path.lexists(self.spool.inbox / n)}
            self._intents_changed = True
        self._write_intents()

    def _write_waiting(self) -> None:
        """Say in ``status/`` why what is complete still lies there, where that changed."""
        entries = [
            {
                "name": encode_name(self._name(Path(path))),
                "state": (JobState.HELD if self.intent(Path(path)) is Intent.HOLD else JobState.WAITING).value,
                "reason": reason.to_dict() if isinstance(reason, StemdError) else None,
            }
            for path, reason in self._kept.items()
        ]
        if entries == self._waiting:
            return
        self._waiting = entries
        with suppress(StemdError):  # a cache for people: a full disk must not hinder the look
            durable.write_json(
                self.spool.waiting, {"schema_version": SCHEMA_VERSION, "entries": entries}, durable=False
            )


def door_names(config: Config) -> frozenset[str]:
    """The inbox's subfolders with a meaning: configured inboxes, and users."""
    return frozenset(config.inboxes) | frozenset(config.users)


def whole_doors(config: Config) -> frozenset[str | None]:
    """The inboxes whose engine takes several recordings: a folder dropped there is one job."""
    names: tuple[str | None, ...] = (None, *door_names(config))
    return frozenset(name for name in names if takes_several(config.inbox(name).engine or config.defaults.engine))


def _times(config: Config, door: Door) -> Times:
    box, defaults = config.inbox(door.name), config.defaults
    settle = defaults.settle if box.settle is None else box.settle
    return Times(settle, defaults.settle_unprobed if box.settle_unprobed is None else box.settle_unprobed)


def _writers(sighting: Sighting) -> Writers:
    return lease.writers(*intake.belonging(sighting))


def _classify(sighting: Sighting, door: Door) -> Candidate | Refusal | None:
    try:
        return intake.classify(sighting, door) if intake.unchanged(sighting) else None
    except FileNotFoundError:
        return None
