"""What the daemon tells the audit trail. A disk that refuses a record must not cost a job: the record is kept in memory
and told later, with the time it is about, and the log says so. What is lost of it leaves a ``gap``: how many did not
find room in memory, and that a daemon ended before it could tell. (What deletes is strict: it does nothing it cannot
tell.)

What becomes of jobs by itself is told in groups, a moment later: six flushes for each would be a tenth of what a short
job costs. What people do is told at once, and what came before it with it, so that the order is that of what happened.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any

from stemd.core.access import Person
from stemd.core.config import Config
from stemd.core.errors import StemdError
from stemd.daemon.live import Live
from stemd.ops import logs
from stemd.ops.jobs import JobView
from stemd.ops.seldom import Seldom
from stemd.spool import durable
from stemd.spool.sidecar import iso
from stemd.spool.trail import Trail

#: So many records are kept while the disk refuses them, and so many are told together at most.
_KEPT, _GROUP = 10_000, 500
#: How long what became of a job waits at most for what becomes of others (seconds).
_MOMENT = 0.5
#: Who is refused the same again is told of so much later (seconds), and so many refusals in that time.
_SELDOM, _REFUSALS = 60.0, 100


class Chronicle:
    """The daemon's way to the trail; safe from any thread."""

    def __init__(self, trail: Trail) -> None:
        self.trail = trail
        self._lock = threading.Lock()
        self._late: deque[tuple[str, dict[str, Any]]] = deque()
        self._due = math.inf
        self._refusals = Seldom(_SELDOM, _REFUSALS)
        #: How many records were dropped, and when the first was.
        self._dropped, self._dropped_at = 0, 0.0
        self._marked = trail.books.untold.exists()
        if self._marked:  # the daemon before this one has not told all
            self.tell("gap", records=None)

    def job(self, event: str, live: Live, **facts: Any) -> None:
        """Something happened to a job by itself; ``tick`` tells it."""
        words = {"at": time.time(), "user": live.user, "job": live.id, "names": facts.pop("names", None), **facts}
        with self._lock:
            if self._takes(event, words):
                self._mark(True)
                self._due = min(self._due, time.monotonic() + _MOMENT)

    def tick(self, now: float, *, idle: bool) -> float:
        """Tell what has waited for its moment, or all where nothing more is to come (``idle``).

        Returns when the next is due (monotonic seconds, as ``now``).
        """
        with self._lock:
            if now >= self._due or (idle and self._due < math.inf):
                self._catch_up()
            return self._due

    def catch_up(self) -> None:
        """Tell what has not been told: what is said next is about what was said before."""
        with self._lock:
            self._catch_up()

    def refused(self, person: Person | None, action: str, **facts: Any) -> None:
        """Somebody wanted what is not theirs to do, or what nobody may; ``None``: somebody unknown.

        Not each time: the trail is flushed record by record, and who is refused may go on asking.
        """
        if self._refusals.passes((person and person.name, action, *sorted(facts.items()))):
            self.tell("refused", actor=person, action=action, **facts)

    def turned_away(self, person: Person | None, action: str, view: JobView | None) -> None:
        """Somebody is refused what a job shows over HTTP, or has no token that anybody has."""
        about = {} if view is None else {"user": view.user_id, "job": view.job_uuid}
        self.refused(person, action, **about)

    def heard(self, person: Person, view: JobView, name: str) -> None:
        """Somebody is given audio over HTTP."""
        self.tell("heard", actor=person, user=view.user_id, job=view.job_uuid, names={"file": name})

    def tell(self, event: str, **words: Any) -> None:
        """One record, and those that the disk refused before it."""
        words = {"at": time.time(), **words}
        with self._lock:
            if self._takes(event, words):
                self._catch_up()

    def _takes(self, event: str, words: dict[str, Any]) -> bool:
        """Take a record into the line, if there is room."""
        if len(self._late) >= _KEPT and not self._catch_up():
            self._dropped_at = self._dropped_at if self._dropped else words["at"]
            self._dropped += 1
            return False
        self._late.append((event, words))
        return True

    def _catch_up(self) -> bool:
        """Tell what has not been told, in order; whether that was all."""
        self._due = math.inf
        while self._late:
            group = list(itertools.islice(self._late, _GROUP))
            try:
                self.trail.record_all([self.trail.entry(event, **words) for event, words in group])
            except (StemdError, OSError) as error:
                self._mark(True)
                logs.get().error("audit_trail_not_written", event_kept=group[0][0], error=str(error))
                return False
            for _ in group:
                self._late.popleft()
            if not self._late and self._dropped:
                self._late.append(("gap", {"records": self._dropped, "since": iso(self._dropped_at)}))
                self._dropped = 0
        self._mark(False)
        return True

    def _mark(self, untold: bool) -> None:
        """Leave word for the next daemon, as well as the disk lets us."""
        if untold == self._marked:
            return
        with suppress(OSError):
            if untold:
                self.trail.books.untold.touch(0o600)
            else:
                self.trail.books.untold.unlink(missing_ok=True)
            self._marked = untold

    def configured(self, config: Config) -> None:
        """What has changed in the configuration, and in people's roles, since the trail was last told of it."""
        from stemd.core.config.dump import dump

        settings = {
            key: hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
            for key, value in dump(config).items()
        }
        keys, file = self.trail.keys, self.trail.books.told
        try:
            with self.trail.telling:
                roles = {str(keys.pseudonym("user", name)): user.role for name, user in config.users.items()}
                before = durable.read_json(file) or {}
                durable.write_json(file, {"settings": settings, "roles": roles})
        except (StemdError, OSError) as error:
            logs.get().error("audit_trail_not_written", event_kept="configured", error=str(error))
            return
        known, had = before.get("settings", {}), before.get("roles", {})
        changed = sorted(key for key in settings if known.get(key) != settings[key])
        if changed:
            self.tell("configured", sections={key: settings[key] for key in changed})
        for who in sorted(roles.keys() | had.keys()):
            if roles.get(who) != had.get(who):
                self.tell("role_changed", user_pseudonym=who, before=had.get(who), after=roles.get(who))
