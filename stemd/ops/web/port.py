"""Listening sockets and the thread that serves them. What connects costs a bounded number of files and threads."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import threading
import time
from typing import Any

import anyio.to_thread
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from stemd.core.errors import StemdError

#: Open connections in all, and from one address (of those that come over a network).
_MOST, _MOST_EACH = 128, 64
#: Where there are too many, one that has stood still for so long makes room for the next: probes get through (seconds).
_STILL = 1.0
#: A connection without a whole request for so long is closed, and one that reads nothing of its answer (seconds).
_PATIENCE, _UNREAD = 30.0, 60.0
#: Requests that look at the disk at the same time.
_THREADS = 4


class Port:
    """Serves ``app`` on ``listening`` from ``start`` to ``stop``."""

    def __init__(self, app: ASGIApp, *listening: socket.socket) -> None:
        self._sockets = listening
        config = uvicorn.Config(
            app,
            http=_Connection,
            ws="none",
            log_config=None,
            log_level="critical",  # what strangers send is no news; what goes wrong here is logged by the application
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    @property
    def address(self) -> str:
        """That of the first socket."""
        return address(self._sockets[0])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=5)
        for listening in self._sockets:
            listening.close()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
        await self._server.serve(sockets=list(self._sockets))


class _Connection(H11Protocol):
    """One connection. uvicorn waits for ever for a request that never ends and for a reader who does not read, and
    takes as many as there are files."""

    #: When something was last asked or worked at, and when last nothing was unsent or some of it went out.
    _asked_at = _drained_at = 0.0
    _unsent, _last_cycle = 0, None
    _later: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._asked_at = self._drained_at = time.monotonic()
        if self._has_room():
            self._look_later()
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._later is not None:
            self._later.cancel()
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        self._drained_at = time.monotonic()
        super().resume_writing()

    def _has_room(self) -> bool:
        """Whether there is room for one more; where all is taken, by who stands still."""
        all_of_them: Any = self.connections
        host = self.client[0] if self.client else None
        same = sum(1 for each in all_of_them if each.client and each.client[0] == host) if host else 0
        if same > _MOST_EACH and not _is_loopback(host):
            return False
        if len(all_of_them) <= _MOST:
            return True
        now = time.monotonic()
        stillest = max((each for each in all_of_them if each is not self), key=lambda each: each.still(now))
        if stillest.still(now) < _STILL:
            return False
        stillest.transport.abort()
        return True

    def still(self, now: float) -> float:
        """For how long nothing has been asked, worked at or read."""
        self._notice(now)
        return now - min(self._asked_at, self._drained_at)

    def _notice(self, now: float) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent < self._unsent or not unsent:
            self._drained_at = now
        cycle = self.cycle
        if unsent or cycle is not self._last_cycle or (cycle is not None and not cycle.response_complete):
            self._asked_at = now
        self._unsent, self._last_cycle = unsent, cycle

    def _look_later(self) -> None:
        self._later = self.loop.call_later(_PATIENCE / 3, self._look)

    def _look(self) -> None:
        now = time.monotonic()
        self._notice(now)
        if now - self._asked_at > _PATIENCE or now - self._drained_at > _UNREAD:
            self.transport.abort()
        else:
            self._look_later()


def address(listening: socket.socket) -> str:
    """``HOST:PORT`` of a TCP socket; the path of a Unix socket."""
    name = listening.getsockname()
    if listening.family == socket.AF_UNIX:
        return os.fsdecode(name)
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(listen: str) -> bool:
    """Whether ``HOST:PORT``, or the path of a Unix socket, can be reached from this machine only."""
    if listen.startswith("/"):
        return True
    return _is_loopback(listen.rpartition(":")[0].strip("[]"))


def _is_loopback(host: str | None) -> bool:
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"


def bind(listen: str) -> socket.socket:
    """A listening TCP socket for ``HOST:PORT``.

    Raises:
        StemdError: STEMD-C004.
    """
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    try:
        return socket.create_server(
            (host, int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET, reuse_port=False
        )
    except (OSError, ValueError) as error:
        raise StemdError("STEMD-C004", f"http.listen {listen}: {error}") from error
