"""The control socket: how the command line speaks to the daemon, one JSON line each way.

The socket lies in a folder for the service's group. Who speaks is the kernel's word (``SO_PEERCRED``); what that
person may want is decided where it is done.
"""

from __future__ import annotations

import json
import selectors
import socket
import struct
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from stemd.core.access import Person
from stemd.core.config import Config
from stemd.core.errors import StemdError
from stemd.ops import logs
from stemd.ops.asking import read_line, request, short, socket_path

__all__ = ["ControlServer", "request", "socket_path"]


Answer = Callable[[Mapping[str, Any], Person], Mapping[str, Any]]


class ControlServer:
    """Listens at ``socket_path`` and answers through ``answer``, on the selector's thread. Needs the spool's lock.

    ``who`` says who a uid is, or raises for strangers.
    """

    def __init__(
        self, config: Config, selector: selectors.BaseSelector, answer: Answer, who: Callable[[int], Person]
    ) -> None:
        self._path, self._selector, self._answer, self._who = socket_path(config), selector, answer, who
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
        self._selector.unregister(self._socket.fileno())
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        connection, _ = self._socket.accept()
        with connection:
            connection.settimeout(1.0)
            try:
                reply = self._reply(connection)
                connection.sendall(json.dumps(reply).encode() + b"\n")
            except OSError as error:
                logs.get().warning("control_connection_failed", error=str(error))

    def _reply(self, connection: socket.socket) -> Mapping[str, Any]:
        try:
            person = self._who(_uid_of_peer(connection))
            return {"ok": True, **self._answer(_parse(read_line(connection)), person)}
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
