"""The desk behind the control socket: passes each word on to whom it is for, and tells the audit trail who said it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stemd.core.access import Person
from stemd.core.errors import StemdError
from stemd.daemon.chronicle import Chronicle
from stemd.daemon.deleting import Deleting

Answer = Callable[[Mapping[str, Any], Person], Mapping[str, Any]]

_DELETING = frozenset({"prune", "erase", "deletion"})
#: What changes something; the rest only looks. Of what is deleted the trail is told where it is done.
_TOLD = frozenset({"cancel", "hold", "release", "retry", "drain", "resume", "reload"})


class Desk:
    """Answers control messages."""

    def __init__(self, steering: Answer, deleting: Deleting, chronicle: Chronicle) -> None:
        self._steering, self._deleting, self._chronicle = steering, deleting, chronicle

    def answer(self, message: Mapping[str, Any], person: Person) -> Mapping[str, Any]:
        word = message.get("op")
        try:
            if word in _DELETING:
                return self._deleting.answer(message, person)
            answer = self._steering(message, person)
        except StemdError as error:
            if error.code == "STEMD-P003":
                self._chronicle.refused(person, str(word), job=_text(message.get("job")))
            raise
        if word in _TOLD:
            self._chronicle.tell("steered", actor=person, action=word, job=_text(message.get("job")))
        return answer

    def who(self, known: Callable[[int], Person], uid: int) -> Person:
        """Who a peer is; of a stranger the trail is told, too.

        Raises:
            StemdError: STEMD-P003.
        """
        try:
            return known(uid)
        except StemdError:
            self._chronicle.refused(None, "connect", uid=uid)
            raise


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
