"""Hands ended jobs over, on threads of its own: the queue is on the disk, this only goes through it.

What is not taken, whatever the reason, is tried again with backoff, at a restart at once, and given up after
`handoff.keep`. Who has waited longest is next, so what fails again and again keeps nothing else waiting.
"""

from __future__ import annotations

import heapq
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from stemd.core.config import Config
from stemd.core.errors import StemdError
from stemd.daemon import retry
from stemd.ops import logs
from stemd.ops.metrics import Metrics
from stemd.ops.post import NotTakenError
from stemd.ops.receivers import receivers
from stemd.spool import durable, handover
from stemd.spool.books import Books, is_buried
from stemd.spool.handover import ForgottenError
from stemd.spool.layout import Spool

#: How long between two looks at the queue where nobody wakes us (seconds).
_INTERVAL = 5.0
#: The waits between tries (seconds): full jitter, doubled each time up to the cap.
_BASE, _CAP = 2.0, 600.0
#: Receivers that are spoken to at a time.
_AT_ONCE = 4


@dataclass(slots=True, order=True)
class _Item:
    """One hand-over, when it is to be tried (monotonic), and when its job ended, once that has been read.

    ``unsaved`` is what its file should say, where the disk has refused it: who has taken it is not told again for that.
    """

    due: float
    path: Path
    spool: Spool = field(compare=False)
    tries: int = field(default=0, compare=False)
    unsaved: dict[str, Any] | None = field(default=None, compare=False)
    ended: float | None = field(default=None, compare=False)


class Handing:
    """Goes through what is to be handed over. ``pending`` is how much there is, as of the last look."""

    def __init__(self, spools: tuple[Spool, ...], config: Callable[[], Config], metrics: Metrics) -> None:
        self._spools, self._config, self._metrics = spools, config, metrics
        #: All that are known of; those that nobody is at just now are in line, the one due first in front.
        self._known: dict[Path, _Item] = {}
        self._line: list[_Item] = []
        self._look_at = 0.0
        self._lock = threading.Lock()
        self._wake, self._stopping = threading.Event(), False
        self.pending = 0
        self._threads = [
            threading.Thread(target=self._run, name=f"handoff-{number}", daemon=True) for number in range(_AT_ONCE)
        ]

    def prepare(self) -> None:
        """Make the queue's folder where a hand-over is configured, and let go of an empty one where none is."""
        wanted = bool(receivers(self._config().handoff))
        for spool in self._spools:
            folder = handover.folder(spool)
            if wanted and not folder.is_dir():
                folder.mkdir(mode=0o700)
                durable.fsync(spool.root)
            elif not wanted and folder.is_dir():
                with suppress(OSError):
                    folder.rmdir()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """A job has ended. Where nobody is to be told there is no folder, and nobody to wake."""
        if not any(handover.folder(spool).is_dir() for spool in self._spools):
            return
        self._look_at = 0.0
        self._wake.set()

    def stop(self) -> None:
        """End soon; what a receiver is told at this moment is told again by the next daemon if it does not take it."""
        self._stopping = True
        self._wake.set()
        deadline = time.monotonic() + 5
        for thread in self._threads:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))

    def settled(self, soon: float) -> bool:
        """Whether nothing is under way or will be tried within ``soon`` seconds."""
        limit = time.monotonic() + soon
        with self._lock:
            waiting = self._count()
            return len(self._line) == len(self._known) and all(
                path in self._known and self._known[path].due > limit for _, path in waiting
            )

    def _run(self) -> None:
        while not self._stopping:
            try:
                if not self._one():
                    self._wake.wait(self._pause())
                    self._wake.clear()
            except Exception:
                logs.get().error("handoff_failed", exc_info=True)
                time.sleep(1)

    # ---- the line

    def _pause(self) -> float:
        with self._lock:
            next_time = min([self._look_at, *(item.due for item in self._line[:1])])
        return min(_INTERVAL, max(0.0, next_time - time.monotonic()))

    def _take(self) -> _Item | None:
        """The one that is due for the longest, out of the line."""
        with self._lock:
            now = time.monotonic()
            if now >= self._look_at:
                self._look(now)
            return heapq.heappop(self._line) if self._line and self._line[0].due <= now else None

    def _look(self, now: float) -> None:
        """Let in line what is new on the disk."""
        self._look_at = now + _INTERVAL  # before: who wakes us meanwhile means what this may not see any more
        for spool, path in self._count():
            if path not in self._known:
                self._known[path] = item = _Item(now, path, spool)
                heapq.heappush(self._line, item)

    def _count(self) -> list[tuple[Spool, Path]]:
        waiting = [(spool, path) for spool in self._spools for path in handover.waiting(spool)]
        self.pending = len(waiting)
        self._metrics.handoffs_pending.set(len(waiting))
        known = (self._known.get(path) for _, path in waiting)
        ended = (item.ended for item in known if item is not None and item.ended is not None)
        self._metrics.handoff_oldest.set(min(ended, default=0.0))
        return waiting

    def _one(self) -> bool:
        """Try one, if one is due; whatever comes of it, it is not tried again at once."""
        item = self._take()
        if item is None:
            return False
        item.tries += 1
        delay = retry.backoff(item.tries, _BASE, _CAP, random.random())  # noqa: S311
        again = True
        try:
            again = self._attend(item, delay)
        finally:
            with self._lock:
                if again:
                    item.due = time.monotonic() + delay
                    heapq.heappush(self._line, item)
                else:
                    del self._known[item.path]
            self._wake.set()  # who pauses knows nothing of the new time
        return True

    # ---- one

    def _attend(self, item: _Item, delay: float) -> bool:
        """Hand ``item`` over; whether it is to be tried again, in ``delay`` seconds."""
        document = item.unsaved or durable.read_json(item.path)
        if document is None or not handover.due(item.spool, document):
            return False  # it is gone, or its job's end is not certain yet: then the next look finds it once more
        settings = self._config().handoff
        item.ended = datetime.fromisoformat(document["ended_at"]).timestamp()
        facts = {"job_uuid": document["job_uuid"], "user_id": document["user_id"]}
        try:
            self._hand_over(item, document, facts)
        except ForgottenError:
            return False
        except Exception as error:
            if not isinstance(error, NotTakenError | StemdError | OSError):
                logs.get().error("handoff_failed", **facts, exc_info=True)
            return self._not_taken(item, facts | {"reason": str(error)}, time.time() - item.ended, settings.keep, delay)
        with self._lock:
            self.pending = max(0, self.pending - 1)
            self._metrics.handoffs_pending.set(self.pending)
        return False

    def _hand_over(self, item: _Item, document: dict[str, Any], facts: dict[str, Any]) -> None:
        """Tell all receivers that have not taken it. An erasure may come at any time: none that comes after is told.

        Raises:
            ForgottenError: it was forgotten.
            NotTakenError: a receiver, of the name in ``facts``, did not take it.
        """
        spool, path = item.spool, item.path
        for name, receiver in receivers(self._config().handoff).items():
            if name in document.get("_taken", ()):
                continue
            self._require(item, document)
            started, facts["receiver"] = time.monotonic(), name
            receiver(spool, path, document)
            document["_taken"] = [*document.get("_taken", ()), name]
            self._metrics.handoffs.labels("taken").inc()
            logs.get().info("handed_over", **facts, seconds=round(time.monotonic() - started, 3))
            item.unsaved = document
            handover.rewrite(path, document)
            item.unsaved = None
        self._require(item, document)
        if document.get("_moved") and document["result"] == document["_moved"]:
            handover.moved(spool, path, document)
        path.unlink(missing_ok=True)
        durable.fsync(path.parent)

    def _require(self, item: _Item, document: dict[str, Any]) -> None:
        if not item.path.exists() or is_buried(Books.of(self._config()), document["job_uuid"]):
            raise ForgottenError

    def _not_taken(self, item: _Item, facts: dict[str, Any], age: float, keep: float, delay: float) -> bool:
        self._metrics.handoffs.labels("not_taken").inc()
        if age > keep:
            self._metrics.handoffs.labels("given_up").inc()
            logs.get().error("handoff_given_up", **facts, hours=round(age / 3600, 1))
            item.path.unlink(missing_ok=True)
            return False
        logs.get().warning("not_handed_over", **facts, tries=item.tries, again_in=round(delay, 1))
        return True
