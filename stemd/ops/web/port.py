"""A listening socket and the thread that serves it. What connects costs a bounded number of files and threads."""

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
#: A connection without a whole request for so long is closed (seconds).
_PATIENCE = 30.0
#: Requests that look at the disk at the same time.
_THREADS = 4


class Port:
    """Serves ``app`` on ``listening`` from ``start`` to ``stop``."""

    def __init__(self, app: ASGIApp, listening: socket.socket) -> None:
        self._socket = listening
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
        return address(self._socket)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=5)
        self._socket.close()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
        await self._server.serve(sockets=[self._socket])


class _Connection(H11Protocol):
    """One connection. uvicorn waits for ever for a request that never ends, and takes as many as there are files."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._idle_since = time.monotonic()
        if self._crowded():
            transport.abort()
        else:
            self._look_later()

    def _crowded(self) -> bool:
        others: Any = self.connections
        host = self.client[0] if self.client else None
        same = sum(1 for each in others if each.client and each.client[0] == host) if host else 0
        return len(others) > _MOST or (same > _MOST_EACH and not _is_loopback(host))

    def _look_later(self) -> None:
        self.loop.call_later(_PATIENCE / 3, self._look)

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self._idle_since = time.monotonic()
        if time.monotonic() - self._idle_since > _PATIENCE:
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
