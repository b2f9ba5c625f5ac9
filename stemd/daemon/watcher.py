"""Tells the scanner that something moved behind a door. Events are hints; the rescan is the truth.

The kernel drops events when its queue is full, and network file systems send none at all, so nothing here is relied
on for completeness: a hint only makes a scan happen sooner, and says which entries came by one rename. When events
were lost that is forgotten: such an entry settles like any other.
"""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stemd.core.errors import StemdError
from stemd.daemon import inotify
from stemd.daemon.inotify import Event, Inotify
from stemd.daemon.watches import Watches
from stemd.spool.ignore import OWN_PREFIX
from stemd.spool.lease import REMOTE, filesystem_type
from stemd.spool.settle import Arrival

POLL_INTERVAL = 2.0
RESCAN_INTERVAL = 60.0

#: Whether a probe file makes an event is known after so many seconds.
_PATIENCE = 2.0
#: More renames than this are never half told at the same time.
_MOST_HALVES = 1024
#: The identity of a door that was deleted: a folder made in its place may well have the same inode.
_GONE = (0, 0)
#: What makes a look worthwhile; growth does not, its end does.
_NEWS = (
    inotify.CREATE
    | inotify.MOVED_TO
    | inotify.MOVED_FROM
    | inotify.DELETE
    | inotify.CLOSE_WRITE
    | inotify.ATTRIB
    | inotify.Q_OVERFLOW
)


@dataclass(frozen=True, slots=True)
class Mode:
    """How one inbox is watched: ``events`` or ``poll``, and if not as configured, why."""

    name: str
    why: str = ""


class Watcher:
    """Watches the inboxes of one spool, with everything below them.

    ``moved`` is called, on the thread that reads, whenever a look is worthwhile. Whoever owns the watcher calls
    ``read`` when ``fileno`` is readable, and ``renew`` about once a second.
    """

    def __init__(self, moved: Callable[[], None]) -> None:
        self._moved = moved
        self._wanted: Mapping[str, str] = {}
        self._identities: dict[str, tuple[int, int] | None] = {}
        self._arrivals: dict[str, Arrival] = {}
        self._halves: dict[int, str] = {}
        self.modes: dict[str, Mode] = {}
        self.overflows = 0
        self._no_inotify = ""
        self._inotify: Inotify | None = None
        try:
            self._inotify = Inotify()
            self._watches = Watches(self._inotify)
        except OSError as error:
            self._no_inotify = f"inotify: {error.strerror} (see fs.inotify.max_user_instances)"

    def fileno(self) -> int | None:
        """The descriptor to wait on; ``None`` where there is no inotify."""
        return self._inotify.fileno() if self._inotify else None

    @property
    def interval(self) -> float:
        """Seconds between two scans when nothing is known to be arriving."""
        polled = any(mode.name == "poll" for mode in self.modes.values())
        return POLL_INTERVAL if polled else RESCAN_INTERVAL

    def watch(self, wanted: Mapping[str, str]) -> None:
        """Watch these folders from now on, each ``auto``, by ``events``, or by ``poll``."""
        if self._inotify is not None:
            for folder in self._wanted:
                self._watches.leave(folder)
        self._wanted, self._identities, self.modes = dict(wanted), {}, {}
        for folder in wanted:
            self._begin(folder)

    def insist(self) -> None:
        """Refuse to poll where that was not asked for.

        Raises:
            StemdError: STEMD-S004, an inbox is to be watched by events, and they do not work.
        """
        for folder, mode in self.modes.items():
            if self._wanted[folder] == "events" and mode.name != "events":
                remedy = "Set `watch: auto` (or poll) for this inbox, or put the spool on a local file system."
                raise StemdError("STEMD-S004", f"{folder}: watch is `events`, but {mode.why}", remedy=remedy)

    def renew(self) -> list[str]:
        """Watch what was put in the place of folders that are watched, by a rename or by a mount; returns which."""
        self.read()
        replaced = [folder for folder in self._wanted if _identity(folder) != self._identities[folder]]
        for folder in replaced:
            self._begin(folder)
        if replaced:
            self._moved()
        return replaced

    def read(self) -> None:
        """Take in the events that are there; never waits."""
        if self._inotify is None:
            return
        news = 0
        for event in self._inotify.read():
            news |= event.mask & _NEWS
            self._note(event)
        if news:
            self._moved()

    def arrivals(self) -> dict[str, Arrival]:
        """How entries came, as far as it was seen; a copy of what is known at this moment."""
        self.read()
        return self._arrivals.copy()

    def forget(self, path: str) -> None:
        self._arrivals.pop(path, None)

    def stop(self) -> None:
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None

    # ---- one folder

    def _begin(self, folder: str) -> None:
        if self._inotify is not None:
            self._watches.leave(folder)
        self._arrivals = {path: how for path, how in self._arrivals.items() if not _inside(path, folder)}
        # asked for before the watch is set: a folder put in its place in between is then noticed by ``renew``
        self._identities[folder] = _identity(folder)
        why = self._obstacle(folder) or self._try(folder)
        self.modes[folder] = Mode("poll", why) if why else Mode("events")

    def _obstacle(self, folder: str) -> str:
        """Why events need not even be tried; empty when they may work."""
        if self._wanted[folder] == "poll":
            return "configured"
        if self._inotify is None:
            return self._no_inotify
        if self._identities[folder] is None:
            return "it is not there"
        if filesystem_type(Path(folder)) in REMOTE:
            return "network or FUSE file system: other machines' changes send no events"
        return ""

    def _try(self, folder: str) -> str:
        """Watch a folder; says why that does not work, nothing when it does."""
        try:
            self._watches.enter(folder)
        except OSError as error:
            return f"inotify: {error.strerror}"
        try:
            return "" if self._hears(folder) else "a probe file made no event"
        except OSError as error:
            return f"no probe file can be made: {error.strerror}"

    def _hears(self, folder: str) -> bool:
        assert self._inotify is not None
        with tempfile.NamedTemporaryFile(prefix=f"{OWN_PREFIX}probe-", dir=folder) as probe:
            name, heard = Path(probe.name).name, False
            deadline = time.monotonic() + _PATIENCE
            while not heard and self._inotify.wait(deadline - time.monotonic()):
                for event in self._inotify.read():  # to its end: what came with the probe's is not to be lost
                    self._note(event)
                    heard |= event.name == name
        return heard

    # ---- events

    def _note(self, event: Event) -> None:
        if event.mask & inotify.Q_OVERFLOW:
            self._start_over()
            return
        folder = self._watches.path(event.watch)
        if folder is None:
            return
        if event.mask & inotify.IGNORED:
            self._watches.ended(event.watch)
            if folder in self._identities:
                self._identities[folder] = _GONE
            return
        path = os.path.join(folder, event.name)  # noqa: PTH118  the form of os.DirEntry.path
        if event.mask & inotify.MOVED_TO:
            self._changed(folder)
            source = self._halves.pop(event.cookie, "")
            self._arrivals[path] = _arrival(source, bool(event.mask & inotify.ISDIR))
        elif not event.mask & inotify.ATTRIB:
            self._changed(path)
        if event.mask & inotify.MOVED_FROM:
            self._left(event.cookie, path)
        if event.mask & inotify.ISDIR:
            self._folder_came_or_went(path, event.mask)

    def _left(self, cookie: int, path: str) -> None:
        """The first half of a rename; the second never comes where it led out of the inbox."""
        self._halves[cookie] = path
        if len(self._halves) > _MOST_HALVES:
            del self._halves[next(iter(self._halves))]

    def _changed(self, path: str) -> None:
        """What is written to after it came is no longer as it came, and so is the folder around it."""
        while len(path) > 1 and path not in self._wanted:
            self._arrivals.pop(path, None)
            path = os.path.dirname(path)  # noqa: PTH120  the form of os.DirEntry.path

    def _folder_came_or_went(self, path: str, mask: int) -> None:
        if mask & inotify.MOVED_FROM:
            self._watches.leave(path)
        elif mask & (inotify.CREATE | inotify.MOVED_TO):
            self._follow(path)

    def _follow(self, path: str) -> None:
        """Watch a folder that came; one that is gone again is no loss."""
        try:
            self._watches.enter(path)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                around = [folder for folder, mode in self.modes.items() if _inside(path, folder)]
                self.modes.update(dict.fromkeys(around, Mode("poll", f"inotify: {error.strerror}")))

    def _start_over(self) -> None:
        """Events were lost: nothing that was believed about arrivals holds, and folders may have come unseen."""
        self.overflows += 1
        self._arrivals.clear()
        self._halves.clear()
        by_events = [folder for folder, mode in self.modes.items() if mode.name == "events"]
        for folder in by_events:
            self._watches.leave(folder)
        for folder in by_events:
            self._identities[folder] = _identity(folder)
            self._follow(folder)


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + os.sep)


def _identity(folder: str) -> tuple[int, int] | None:
    try:
        facts = os.stat(folder)  # noqa: PTH116  once a second for each inbox
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def _arrival(source: str, is_directory: bool) -> Arrival:
    """An entry from outside the inbox came whole; one renamed inside it only if the hidden name was ours.

    Nothing that uploads renames folders as a habit, so a folder renamed into its place is a stager's and complete.
    """
    if not source or is_directory:
        return Arrival.MOVED
    return Arrival.OWN if Path(source).name.startswith(OWN_PREFIX) else Arrival.GROWN
