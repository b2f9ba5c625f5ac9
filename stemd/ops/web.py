"""The HTTP port: liveness, readiness, health and metrics. Read-only, on a thread of its own."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import os
import socket
import threading
import time
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from stemd.core.errors import StemdError
from stemd.ops.health import Health
from stemd.ops.metrics import Metrics
from stemd.ops.view import DaemonView

#: A daemon whose loop has not turned for so many seconds is not alive.
STALL_SECONDS = 60.0


class TokenGuard:
    """Lets only requests through that bear a user's token; compares SHA-256 digests in constant time."""

    def __init__(self, app: ASGIApp, tokens: frozenset[str]) -> None:
        self._app, self._tokens = app, tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._known(Headers(scope=scope).get("authorization", "")):
            refused = PlainTextResponse("a user's bearer token is needed\n", 401, {"WWW-Authenticate": "Bearer"})
            await refused(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _known(self, header: str) -> bool:
        scheme, _, token = header.partition(" ")
        digest = hashlib.sha256(token.strip().encode()).hexdigest()
        return scheme.lower() == "bearer" and any(hmac.compare_digest(digest, known) for known in self._tokens)


def application(
    view: Callable[[], DaemonView], health: Health, metrics: Metrics, *, loopback: bool, tokens: frozenset[str]
) -> Starlette:
    """The ASGI application; ``view`` returns the daemon's latest picture of itself.

    Where the port is not on a ``loopback`` address, every request needs one of ``tokens`` (their SHA-256, hex).
    """

    def livez(_: Request) -> Response:
        alive = time.monotonic() - view().loop_at < STALL_SECONDS
        return PlainTextResponse("ok\n" if alive else "the main loop is stalled\n", 200 if alive else 503)

    def readyz(request: Request) -> Response:
        now = view()
        status = 200 if now.ready and not now.draining else 503
        if "verbose" in request.query_params:
            return JSONResponse(now.to_dict(), status)
        return PlainTextResponse("ok\n" if status == 200 else f"{now.sentence}\n", status)

    def healthz(_: Request) -> Response:
        document = health.document(view())
        return JSONResponse(document, 200 if document["status"] == "ok" else 503)

    def exposition(_: Request) -> Response:
        return Response(metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    guard = [] if loopback else [Middleware(TokenGuard, tokens=tokens)]
    return Starlette(
        middleware=guard,
        routes=[
            Route("/livez", livez),
            Route("/readyz", readyz),
            Route("/health", healthz),
            Route("/metrics", exposition),
        ],
    )


class Port:
    """A listening socket and the thread that serves it."""

    def __init__(self, app: Starlette, listening: socket.socket) -> None:
        self._socket = listening
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", server_header=False)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)

    @property
    def address(self) -> str:
        return address(self._socket)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=5)
        self._socket.close()

    def _serve(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))


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
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
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
