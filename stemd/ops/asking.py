"""The asking end of the control socket: one JSON line each way. Light: ``stemd status`` asks too."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from stemd.core.errors import StemdError
from stemd.core.sockets import short
from stemd.spool.layout import key_of

#: More than so many bytes are no message, and no answer.
MAX_MESSAGE, _MAX_ANSWER = 1 << 20, 1 << 25
_TIMEOUT = 30.0


class Home(Protocol):
    """The part of the configuration that says where the socket is."""

    @property
    def spool(self) -> tuple[Path, ...]: ...

    def run_of(self, root: Path) -> Path: ...


def read_line(connection: socket.socket) -> bytes:
    """One answer, or what there is of it."""
    data = bytearray()
    while not data.endswith(b"\n"):
        piece = connection.recv(65536)
        if not piece or len(data) > _MAX_ANSWER:
            break
        data += piece
    return bytes(data)


def socket_path(home: Home) -> Path:
    """Where the daemon of these spools listens: daemons of one user share the folder, so the spool is in the name."""
    root = home.spool[0]
    return home.run_of(root) / f"control-{key_of(root)}.sock"


def request(home: Home, message: Mapping[str, Any], patience: float = _TIMEOUT) -> dict[str, Any]:
    """Ask the daemon that owns these spools; returns its answer, within ``patience`` seconds.

    Raises:
        StemdError: STEMD-S017, no daemon answers; STEMD-P003, it is not yours to steer; or what the daemon raised.
    """
    place = socket_path(home)
    try:
        with short(place) as path, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(patience)
            connection.connect(path)
            with suppress(BrokenPipeError):  # refused before it was heard: the reason is there to read
                connection.sendall(json.dumps(dict(message)).encode() + b"\n")
            reply: dict[str, Any] = json.loads(read_line(connection))
    except PermissionError as error:
        raise StemdError("STEMD-P003", f"{place} belongs to another user") from error
    except (OSError, ValueError) as error:
        raise StemdError("STEMD-S017", f"no daemon answers at {place}") from error
    if not reply.pop("ok"):
        raise StemdError.from_dict(reply["error"])
    return reply
