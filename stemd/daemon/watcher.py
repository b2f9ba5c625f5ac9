"""Tells the dispatcher that something moved in an inbox. Events are hints; the rescan is the truth.

watchdog's inotify observer drops overflows silently and network file systems send no events at all, so nothing here
is relied on for completeness: a hint only makes a scan happen sooner, and says which entries came by one rename.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyObserver

from stemd.spool.ignore import OWN_PREFIX
from stemd.spool.lease import REMOTE, filesystem_type
from stemd.spool.settle import Arrival

POLL_INTERVAL = 2.0
RESCAN_INTERVAL = 60.0

_WRITES = frozenset({"modified", "closed", "created"})


class Watcher(FileSystemEventHandler):
    """Watches one inbox with everything below it. ``mode`` says how: ``inotify`` or ``poll``."""

    def __init__(self, inbox: Path, watch: str, wake: Callable[[], None]) -> None:
        self._inbox, self._wake = inbox, wake
        self._observer: BaseObserver | None = None
        self._arrivals: dict[str, Arrival] = {}
        self._events = 0
        self.mode = "poll"
        self.why = "configured"
        if watch != "poll":
            self._try_inotify()

    @property
    def interval(self) -> float:
        """Seconds between two scans when nothing is known to be arriving."""
        return RESCAN_INTERVAL if self.mode == "inotify" else POLL_INTERVAL

    def arrivals(self) -> dict[str, Arrival]:
        """How entries came, as far as it was seen; a copy, because events arrive on another thread."""
        return self._arrivals.copy()

    def forget(self, path: str) -> None:
        self._arrivals.pop(path, None)

    def stop(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(timeout=5)
            self._observer = None

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._events += 1
        self._note(event)
        self._wake()

    def _note(self, event: FileSystemEvent) -> None:
        if event.event_type == "moved" and event.dest_path:
            self._arrivals[os.fsdecode(event.dest_path)] = _arrival(os.fsdecode(event.src_path), event.is_directory)
        elif (event.event_type in _WRITES and not event.is_directory) or event.event_type == "deleted":
            self._arrivals.pop(os.fsdecode(event.src_path), None)

    def _try_inotify(self) -> None:
        if filesystem_type(self._inbox) in REMOTE:
            self.why = "network or FUSE file system: other machines' changes send no events"
            return
        observer = InotifyObserver(generate_full_events=True)
        try:
            observer.schedule(self, str(self._inbox), recursive=True)
            observer.start()
        except OSError as error:
            self.why = f"inotify: {error.strerror} (see fs.inotify.max_user_watches)"
            return
        self._observer = observer
        if self._hears():
            self.mode, self.why = "inotify", ""
        else:
            self.stop()
            self.why = "a probe file made no event"

    def _hears(self) -> bool:
        before = self._events
        with tempfile.NamedTemporaryFile(prefix=f"{OWN_PREFIX}probe-", dir=self._inbox):
            pass
        deadline = time.monotonic() + 2.0
        while time.monotonic() < deadline:
            if self._events > before:
                return True
            time.sleep(0.01)
        return False


def _arrival(source: str, is_directory: bool) -> Arrival:
    """An entry from outside the inbox came whole; one renamed inside it only if the hidden name was ours.

    Nothing that uploads renames folders as a habit, so a folder renamed into its place is a stager's and complete.
    """
    if not source or is_directory:
        return Arrival.MOVED
    return Arrival.OWN if Path(source).name.startswith(OWN_PREFIX) else Arrival.GROWN
