"""The control socket: how the command line speaks to the daemon, one JSON line each way.

The socket lies in a folder for the service's group. Who speaks is the kernel's word (``SO_PEERCRED``); what that
person may want is decided where it is done.
"""

from __future__ import annotations

import json
import selectors
import socket
import struct
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from stemd.core.access import Person
from stemd.core.config import Config
from stemd.core.errors import StemdError
from stemd.core.sockets import short
from stemd.ops import logs
from stemd.ops.asking import MAX_MESSAGE, request, socket_path

__all__ = ["ControlServer", "request", "socket_path"]


Answer = Callable[[Mapping[str, Any], Person], Mapping[str, Any]]

#: So long (seconds) a caller has for his line, and again for the answer.
PATIENCE = 5.0
#: So many callers of one user at once: of more, the oldest is ended.
MOST_CALLERS = 8


@dataclass(slots=True, eq=False)
class _Caller:
    """One connection. ``reply`` is what is left to send of it; ``until`` is monotonic seconds."""

    connection: socket.socket
    uid: int
    until: float
    person: Person | None = None
    line: bytearray = field(default_factory=bytearray)
    reply: bytearray | None = None


class ControlServer:
    """Listens at ``socket_path`` and answers through ``answer``, on the selector's thread. Needs the spool's lock.

    ``who`` says who a uid is, or raises for strangers. Nobody is waited for: callers have ``PATIENCE`` seconds to say
    their line and again to take the answer (``trim`` ends it), and each user has room for ``MOST_CALLERS``.
    """

    def __init__(
        self, config: Config, selector: selectors.BaseSelector, answer: Answer, who: Callable[[int], Person]
    ) -> None:
        self._path, self._selector, self._answer, self._who = socket_path(config), selector, answer, who
        self._callers: list[_Caller] = []
        self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        with short(self._path) as path:
            self._socket.bind(path)
        self._path.chmod(0o660)
        self._socket.listen(16)
        self._socket.setblocking(False)
        selector.register(self._socket.fileno(), selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        for caller in list(self._callers):
            self._end(caller)
        self._selector.unregister(self._socket.fileno())
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def trim(self, now: float) -> None:
        """End the connections whose time is over; ``now`` is monotonic seconds."""
        for caller in [caller for caller in self._callers if now > caller.until]:
            self._end(caller, "no line came, or nobody took the answer")

    def _accept(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except BlockingIOError:
            return
        connection.setblocking(False)
        caller = _Caller(connection, _uid_of_peer(connection), time.monotonic() + PATIENCE)
        others = [other for other in self._callers if other.uid == caller.uid]
        if len(others) >= MOST_CALLERS:
            self._end(others[0], "its user has too many connections")
        self._callers.append(caller)
        self._selector.register(connection.fileno(), selectors.EVENT_READ, partial(self._serve, caller))
        if (refusal := self._reply(lambda: self._know(caller))) is not None:
            self._answered(caller, refusal)
        self._serve(caller)  # who has something to say has mostly said it by now

    def _know(self, caller: _Caller) -> None:
        caller.person = self._who(caller.uid)

    def _serve(self, caller: _Caller) -> None:
        """Go on with a caller who can be read from, or written to; one who has been ended is ready for nothing."""
        if caller not in self._callers:
            return
        try:
            if caller.reply is None:
                self._listen(caller)
            if caller.reply is None:
                return
            while caller.reply:
                del caller.reply[: caller.connection.send(caller.reply)]
        except BlockingIOError:
            return
        except OSError as error:
            self._end(caller, str(error))
        else:
            self._end(caller)

    def _listen(self, caller: _Caller) -> None:
        """Take in what has come; what ends the line is answered."""
        piece = caller.connection.recv(65_536)
        caller.line += piece
        if not piece or piece.endswith(b"\n") or len(caller.line) > MAX_MESSAGE:
            person, line = caller.person, bytes(caller.line)
            assert person is not None
            self._answered(caller, self._reply(lambda: {"ok": True, **self._answer(_parse(line), person)}) or {})

    def _answered(self, caller: _Caller, reply: Mapping[str, Any]) -> None:
        caller.reply = bytearray(json.dumps(reply).encode() + b"\n")
        caller.until = time.monotonic() + PATIENCE
        self._selector.modify(caller.connection.fileno(), selectors.EVENT_WRITE, partial(self._serve, caller))

    def _end(self, caller: _Caller, why: str = "") -> None:
        self._callers.remove(caller)
        self._selector.unregister(caller.connection.fileno())
        caller.connection.close()
        if why:
            logs.get().warning("control_connection_failed", error=why)

    @staticmethod
    def _reply(answer: Callable[[], Mapping[str, Any] | None]) -> Mapping[str, Any] | None:
        """What ``answer`` returns, or what went wrong with it."""
        try:
            return answer()
        except StemdError as error:
            return {"ok": False, "error": error.to_dict()}
        except Exception as error:
            logs.get().error("control_crashed", trace="".join(traceback.format_exception(error)))
            bug = StemdError("STEMD-X001", f"{type(error).__name__}: {error}")
            return {"ok": False, "error": bug.to_dict()}


def _parse(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise StemdError("STEMD-X001", f"not a control message: {line[:80]!r}")
    return message


def _uid_of_peer(connection: socket.socket) -> int:
    """The user of the process at the other end, as it was when that process connected."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII"))
    _, uid, _ = struct.unpack("iII", credentials)
    return int(uid)
