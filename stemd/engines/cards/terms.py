"""What worker and card say to each other: a line of JSON each way over a Unix socket, the sound in shared memory.

Worker → card::

    {"op": "hello", "sha256"}                                     → {"ready": {…}} or {"none": WHY} or an error
    {"op": "memory", "bytes"} with a descriptor                   → {}
    {"op": "answer", "member", "segments", "frames", "channels"}  → {"together"} or an error

An error is ``{"code", "message"}``, or ``{"anew": MESSAGE, "together"}`` where the number of segments that are computed
together has changed, on which numbers depend: the track has to be begun again. The shared memory begins with the
segments (segments × channels × frames, float32); after them the card puts its answer (segments × stems × channels ×
frames). Its size is sealed.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import resource
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LINE = 1 << 16
Values = NDArray[np.float32]


class GoneError(Exception):
    """The other side has closed the line, or says what is no message."""


class Line:
    """One end of the socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket, self._rest = connection, b""

    def say(self, message: Mapping[str, Any], descriptor: int | None = None) -> None:
        """Send one message, with a descriptor if there is one.

        Raises:
            GoneError: nobody is there.
        """
        data = json.dumps(message).encode() + b"\n"
        try:
            if descriptor is None:
                self._socket.sendall(data)
            else:
                socket.send_fds(self._socket, [data], [descriptor])
        except OSError as error:
            raise GoneError(str(error)) from error

    def hear(self) -> tuple[dict[str, Any], int | None]:
        """The next message, and the descriptor that came with it.

        Raises:
            GoneError: the line has been closed, or what came is no message.
        """
        descriptor: int | None = None
        while b"\n" not in self._rest:
            try:
                data, descriptors, *_ = socket.recv_fds(self._socket, _LINE, 1)
            except OSError as error:
                raise GoneError(str(error)) from error
            descriptor = descriptors[0] if descriptors else descriptor
            if not data or len(self._rest) > _LINE:
                raise GoneError("closed" if not data else "a line without an end")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        try:
            message = json.loads(line)
        except ValueError as error:
            raise GoneError(f"not JSON: {line[:80]!r}") from error
        if not isinstance(message, dict):
            raise GoneError(f"no message: {line[:80]!r}")
        return message, descriptor

    def close(self) -> None:
        self._socket.close()


class Shared:
    """A piece of memory that both sides have: made by the worker, opened by the card."""

    def __init__(self, descriptor: int) -> None:
        self.size = os.fstat(descriptor).st_size
        if not fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK:
            raise ValueError("shared memory that can be taken away while it is read")
        self._memory = mmap.mmap(descriptor, self.size)

    @classmethod
    @contextmanager
    def made(cls, size: int) -> Iterator[tuple[Shared, int]]:
        """A new one of ``size`` bytes, and its descriptor as long as it takes to send it.

        Raises:
            OSError: there is no room for it.
        """
        descriptor = os.memfd_create("stemd-card", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            with _any_size():
                os.truncate(descriptor, size)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            yield cls(descriptor), descriptor
        finally:
            os.close(descriptor)

    def values(self, offset: int, *shape: int) -> Values:
        """The float32 numbers from byte ``offset`` on; a view, which keeps the memory as long as it is there.

        Raises:
            ValueError: there are not so many.
        """
        return np.frombuffer(self._memory, np.float32, int(np.prod(shape)), offset).reshape(shape)


@contextmanager
def _any_size() -> Iterator[None]:
    """A job's limit of the size of its files is not meant for memory."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def sizes(segments: int, stems: int, channels: int, frames: int) -> tuple[int, int]:
    """Bytes of the question and of its answer."""
    question = 4 * segments * channels * frames
    return question, question * stems
