"""The journal's own protocol: one datagram for each event, its fields as fields (systemd's JOURNAL_NATIVE_PROTOCOL).

A field is ``NAME=value`` and a newline; a value with newlines of its own, or bytes, has its length (64 bit, little
endian) before it. What is too large for a datagram goes as a sealed memory file.
"""

from __future__ import annotations

import array
import errno
import fcntl
import json
import os
import re
import socket
import struct
from collections.abc import Mapping
from typing import Any

SOCKET = "/run/systemd/journal/socket"
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_TOO_LARGE = frozenset({errno.EMSGSIZE, errno.ENOBUFS})


def is_ours(environ: Mapping[str, str], descriptor: int) -> bool:
    """Whether ``descriptor`` (standard error) is the stream that systemd connected to the journal."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        facts = os.fstat(descriptor)
    except OSError:
        return False
    return device.isdigit() and inode.isdigit() and (facts.st_dev, facts.st_ino) == (int(device), int(inode))


def fields(event: Mapping[str, Any]) -> dict[str, str]:
    """The journal's fields of one event: MESSAGE for people, PRIORITY, and each of its facts as ``STEMD_NAME``."""
    facts = {key: value for key, value in event.items() if key not in {"level", "timestamp"} and value is not None}
    name = str(facts.pop("event", ""))
    message = " ".join(
        [name, *(f"{key}={_text(value)}" for key, value in facts.items() if key not in {"exception", "trace"})]
    )
    return {
        "MESSAGE": message,
        "PRIORITY": str(_PRIORITIES.get(str(event.get("level")), 6)),
        "SYSLOG_IDENTIFIER": "stemd",
        "STEMD_EVENT": name,
        **{_name(key): _text(value) for key, value in facts.items()},
    }  # fmt: skip


def _name(key: str) -> str:
    return "STEMD_" + re.sub(r"[^A-Z0-9_]", "_", key.upper())[:58]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def encode(found: Mapping[str, str]) -> bytes:
    """The datagram."""
    parts = []
    for name, value in found.items():
        data = value.encode("utf-8", "backslashreplace")
        if b"\n" in data:
            parts.append(name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n")
        else:
            parts.append(name.encode() + b"=" + data + b"\n")
    return b"".join(parts)


class Journal:
    """The connection; an event that cannot be sent is lost, and fails nothing."""

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def send(self, event: Mapping[str, Any]) -> None:
        """Send one event.

        Raises:
            OSError: the journal is not there.
        """
        data = encode(fields(event))
        try:
            self._socket.sendto(data, self._path)
        except OSError as error:
            if error.errno not in _TOO_LARGE:
                raise
            self._send_large(data)

    def _send_large(self, data: bytes) -> None:
        file = os.memfd_create("stemd-journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            with os.fdopen(os.dup(file), "wb") as writer:
                writer.write(data)
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file]))]
            self._socket.sendmsg([b""], rights, 0, self._path)
        finally:
            os.close(file)
