"""What the daemon's log says in place of users and files: the journal outlives what is erased and cannot be cleaned.

A pseudonym is an HMAC under a key that is made at the start and never leaves this process: within one run the same name
has the same pseudonym, and afterwards nobody can tell, or try out, what it stood for. Jobs are named by their job_uuid;
who and what they are about stands in the job's own log, which is deleted with it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Iterable, MutableMapping
from typing import Any

from stemd.core.job import is_job_id

#: Fields that are a user or a file, as a whole.
_NAMES = frozenset({"user_id", "user", "name", "title", "source", "sha256"})
#: Fields that are a path: the spool's own folders and ids in it stay.
_PATHS = frozenset({"path", "result", "job_log", "folder"})
#: Fields of free text, in which a name may stand in quotes or a path may.
_TEXTS = frozenset({"reason", "message", "remedy", "error", "trace", "exception", "stderr"})
_AREAS = frozenset({"inbox", "work", "outbox", "orphan", "status", "_unknown"})
#: As ``repr`` quotes: it escapes the quote where a name holds both.
_QUOTED = re.compile(r"(?<!\w)(?:'(?:\\.|[^'\\\n]){3,}'|\"(?:\\.|[^\"\\\n]){3,}\")(?!\w)")
#: What is said about the operator's own files, not about recordings.
_OPERATORS = frozenset({"reload_failed", "reload_needs_restart", "http_listening", "limits_not_set", "limits_enforced"})
#: The shortest name that is looked for in free text: a shorter one would be found in every word.
_SHORTEST = 3
#: So many jobs' names are remembered, for what is said later of the job.
_JOBS = 20_000


class Pseudonyms:
    """A structlog processor, the last before the renderer: texts by then. ``people`` are users, and own inboxes."""

    def __init__(self, people: Iterable[str] = ()) -> None:
        self._people = frozenset(people)
        self._key = os.urandom(32)
        self._known: dict[str, dict[str, str]] = {}

    def know(self, people: Iterable[str]) -> None:
        """There are more people; those who have gone may still be told of."""
        self._people |= frozenset(people)

    def of(self, text: str) -> str:
        """The pseudonym of one name: ``~`` and twelve hexadecimal digits."""
        return "~" + hmac.new(self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:12]

    def __call__(self, _: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if event.get("event") in _OPERATORS:
            return event
        known = self._names_of(str(event.get("job_uuid")), event)
        for key, value in list(event.items()):
            event[key] = self._cleaned(key, value, known)
        return event

    def _cleaned(self, key: str, value: Any, known: dict[str, str]) -> Any:
        """A value of any form: what stands in a list or a table is free text."""
        if isinstance(value, str):
            return self._told(key, value, known)
        if isinstance(value, list | tuple):
            return [self._free(each, known) if isinstance(each, str) else each for each in value]
        if isinstance(value, dict):
            return {inner: self._cleaned(str(inner), each, known) for inner, each in value.items()}
        return value

    def _names_of(self, job: str, event: MutableMapping[str, Any]) -> dict[str, str]:
        """The names that this event and earlier ones of its job are about."""
        known = self._known.pop(job, {})
        for key in event.keys() & _NAMES:
            if isinstance(event[key], str) and len(event[key]) >= _SHORTEST:
                known[event[key]] = self.of(event[key])
        if job != "None" and event.get("event") != "job_ended":
            self._known[job] = known
            if len(self._known) > _JOBS:
                del self._known[next(iter(self._known))]
        return known

    def _told(self, key: str, value: str, known: dict[str, str]) -> str:
        if key in _NAMES:
            return self.of(value)
        if key in _PATHS:
            return self._path(value)
        if key == "inbox" and self._is_door(value):
            home, slash, door = value.rpartition("/")
            return home + slash + self.of(door)
        if key not in _TEXTS:
            return self.of(value) if value in known else value
        return self._free(value, known)

    def _free(self, value: str, known: dict[str, str]) -> str:
        for name in sorted(known, key=len, reverse=True):
            value = value.replace(name, known[name])
        return _QUOTED.sub(self._quoted, value)

    def _quoted(self, found: re.Match[str]) -> str:
        """What stood in quotes; a frame of a traceback, our own file, as it is."""
        frame = found.string.startswith(", line ", found.end())
        return found[0] if frame else f"'{self._path(found[0][1:-1])}'"

    def _is_door(self, inbox: object) -> bool:
        """Whether an inbox, its name or its path, is a user's own."""
        return isinstance(inbox, str) and inbox.rpartition("/")[2] in self._people

    def _path(self, value: str) -> str:
        """A path, its parts below the spool's areas as pseudonyms; a name that is no path at all as one."""
        parts = value.split("/")
        area = next((number for number, part in enumerate(parts) if part in _AREAS), None)
        if area is None:
            return self.of(value) if len(parts) == 1 else "/".join([*parts[:-1], self.of(parts[-1])])
        return "/".join([*parts[: area + 1], *map(self._part, parts[area + 1 :])])

    def _part(self, part: str) -> str:
        plain = part in _AREAS or part.startswith("~") or is_job_id(part.removesuffix(".json"))
        return part if plain or not part else self.of(part)
