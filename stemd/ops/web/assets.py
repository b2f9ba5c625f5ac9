"""Style, scripts and icon: package data, read once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

_TYPES = {
    "stemd.css": "text/css",
    "live.js": "text/javascript",
    "player.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


def routes() -> list[BaseRoute]:
    folder = files("stemd") / "data" / "web"
    return [Route(f"/static/{name}", _asset((folder / name).read_bytes(), kind)) for name, kind in _TYPES.items()]


def _asset(data: bytes, kind: str) -> Callable[[Request], Response]:
    tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'

    def answer(request: Request) -> Response:
        headers = {"etag": tag, "cache-control": "no-cache"}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(data, 200, headers, kind)

    return answer
