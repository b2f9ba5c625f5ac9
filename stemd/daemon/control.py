"""The control socket: how the command line speaks to the daemon, one JSON line each way.

The socket lies in a private folder; who may speak is decided by the kernel's word about the peer (``SO_PEERCRED``):
root and the daemon's own user.
"""

from __future__ import annotations

import hashlib
import json
import os
import selectors
import socket
import struct
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from stemd.core.config import Config
from stemd.core.errors import StemdError
from stemd.ops import logs

_MAX_MESSAGE = 1 << 20
_TIMEOUT = 30.0

Answer = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class ControlServer:
    """Listens at ``socket_path`` and answers through ``answer``, on the selector's thread. Needs the spool's lock."""

    def __init__(self, config: Config, selector: selectors.BaseSelector, answer: Answer) -> None:
        self._path, self._selector, self._answer = socket_path(config), selector, answer
        self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        with _short(self._path) as path:
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
            _authorise(connection)
            return {"ok": True, **self._answer(_parse(_read_line(connection)))}
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


def _authorise(connection: socket.socket) -> None:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    if uid not in {0, os.getuid()}:
        raise StemdError("STEMD-P003", f"uid {uid} does not steer this daemon")


def _read_line(connection: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        piece = connection.recv(65536)
        if not piece or len(data) > _MAX_MESSAGE:
            break
        data += piece
    return data


def socket_path(config: Config) -> Path:
    """Where the daemon of these spools listens: daemons of one user share the folder, so the spool is in the name."""
    root = config.spool[0]
    return config.run_of(root) / f"control-{hashlib.sha256(os.fsencode(root)).hexdigest()[:12]}.sock"


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name for the socket that fits the 108 bytes of ``sun_path`` however deep its folder is."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)


def request(config: Config, message: Mapping[str, Any]) -> dict[str, Any]:
    """Ask the daemon that owns these spools; returns its answer.

    Raises:
        StemdError: STEMD-S017, no daemon answers; STEMD-P003, it is not yours to steer; or what the daemon raised.
    """
    place = socket_path(config)
    try:
        with _short(place) as path, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_TIMEOUT)
            connection.connect(path)
            with suppress(BrokenPipeError):  # refused before it was heard: the reason is there to read
                connection.sendall(json.dumps(dict(message)).encode() + b"\n")
            reply: dict[str, Any] = json.loads(_read_line(connection))
    except PermissionError as error:
        raise StemdError("STEMD-P003", f"{place} belongs to another user") from error
    except (OSError, ValueError) as error:
        raise StemdError("STEMD-S017", f"no daemon answers at {place}") from error
    if not reply.pop("ok"):
        raise StemdError.from_dict(reply["error"])
    return reply
