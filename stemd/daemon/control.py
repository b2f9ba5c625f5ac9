"""The control socket: how the command line speaks to the daemon, one JSON line each way.

The socket lies in a private folder; who may speak is decided by the kernel's word about the peer (``SO_PEERCRED``):
root and the daemon's own user.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stemd.core.config import Config
from stemd.core.errors import StemdError
from stemd.ops import logs

_NAME = "control.sock"
_MAX_MESSAGE = 1 << 20
_TIMEOUT = 30.0

Answer = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class ControlServer:
    """Listens below ``folder`` and answers through ``answer``, on the selector's thread."""

    def __init__(self, folder: Path, selector: selectors.BaseSelector, answer: Answer) -> None:
        self._folder, self._selector, self._answer = folder, selector, answer
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        (folder / _NAME).unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        with _short(folder) as path:
            self._socket.bind(path)
        (folder / _NAME).chmod(0o660)
        self._socket.listen(16)
        self._socket.setblocking(False)
        selector.register(self._socket.fileno(), selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        self._selector.unregister(self._socket.fileno())
        self._socket.close()
        (self._folder / _NAME).unlink(missing_ok=True)

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
            message = json.loads(_read_line(connection))
            return {"ok": True, **self._answer(message)}
        except StemdError as error:
            return {"ok": False, "error": error.to_dict()}
        except ValueError:
            return {"ok": False, "error": StemdError("STEMD-X001", "not a control message").to_dict()}


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


@contextmanager
def _short(folder: Path) -> Iterator[str]:
    """A name for the socket that fits the 108 bytes of ``sun_path`` however deep the folder is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{_NAME}"
    finally:
        os.close(descriptor)


def request(config: Config, message: Mapping[str, Any]) -> dict[str, Any]:
    """Ask the daemon that owns these spools; returns its answer.

    Raises:
        StemdError: STEMD-S017, no daemon answers; or what the daemon raised.
    """
    folder = config.run_of(config.spool[0])
    try:
        with _short(folder) as path, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_TIMEOUT)
            connection.connect(path)
            connection.sendall(json.dumps(dict(message)).encode() + b"\n")
            reply: dict[str, Any] = json.loads(_read_line(connection))
    except (OSError, ValueError) as error:
        raise StemdError("STEMD-S017", f"no daemon answers at {folder / _NAME}") from error
    if not reply.pop("ok"):
        raise StemdError.from_dict(reply["error"])
    return reply
