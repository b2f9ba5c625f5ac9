"""What the daemon tells the audit trail. A disk that refuses a record must not cost a job: the record is kept in memory
and told later, and the log says so. (What deletes is strict: it does nothing it cannot tell.)"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from typing import Any

from stemd.core.access import Person
from stemd.core.config import Config
from stemd.core.errors import StemdError
from stemd.daemon.live import Live
from stemd.ops import logs
from stemd.ops.jobs import JobView
from stemd.spool import durable
from stemd.spool.trail import Trail

#: So many records are kept while the disk refuses them.
_KEPT = 10_000


class Chronicle:
    """The daemon's way to the trail; safe from any thread."""

    def __init__(self, trail: Trail) -> None:
        self.trail = trail
        self._late: deque[tuple[str, dict[str, Any]]] = deque(maxlen=_KEPT)

    def job(self, event: str, live: Live, **facts: Any) -> None:
        """Something happened to a job by itself."""
        names = facts.pop("names", None)
        self.tell(event, user=live.user, job=live.id, names=names, **facts)

    def refused(self, person: Person | None, action: str, **facts: Any) -> None:
        """Somebody wanted what is not theirs to do."""
        self.tell("refused", actor=person, action=action, **facts)

    def heard(self, person: Person, view: JobView, name: str) -> None:
        """Somebody is given audio over HTTP."""
        self.tell("heard", actor=person, user=view.user_id, job=view.job_uuid, names={"file": name})

    def tell(self, event: str, **words: Any) -> None:
        """One record, and those that the disk refused before it."""
        self._late.append((event, words))
        while self._late:
            event, words = self._late.popleft()
            try:
                self.trail.record(event, **words)
            except (StemdError, OSError) as error:
                self._late.appendleft((event, words))
                logs.get().error("audit_trail_not_written", event_kept=event, error=str(error))
                return

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
