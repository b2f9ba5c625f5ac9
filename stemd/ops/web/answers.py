"""The forms of an answer: headers that every one has, and errors as text, JSON or a page, as they are asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stemd.core.errors import StemdError
from stemd.ops import logs
from stemd.ops.web.layout import page
from stemd.ops.web.markup import h

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
#: What every answer says; one that says otherwise itself is left alone.
HEADERS = {
    "content-security-policy": _CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
#: Errors that say "not for you" and "no such thing"; all others mean that the service cannot answer now.
_STATUS = {"STEMD-P003": 403, "STEMD-S015": 404}


class Headers:
    """Puts ``HEADERS`` on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class JSON(Response):
    """A JSON document, one line; names that are not ASCII are escaped, so that no reader trips over them."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def refusal(
    request: Request, status: int, message: str, facts: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:  # fmt: skip
    """An error in the form that was asked for: JSON for programs, a page for browsers, else one line of text."""
    path, accept = request.url.path, request.headers.get("accept", "")
    if path.startswith("/api") or "application/json" in accept:
        return JSON({"error": {"status": status, "message": message, **(facts or {})}}, status, dict(headers or {}))
    if "text/html" in accept:
        parts = [h("h1", None, f"{status}"), h("p", None, message[:1].upper() + message[1:] + ".")]
        if facts and facts.get("remedy"):
            parts += [h("p", None, h("code", None, facts["code"]), " ", facts["remedy"])]
        return Response(page(f"{status} – stemd", None, *parts), status, dict(headers or {}), "text/html")
    return PlainTextResponse(f"{message}\n", status, dict(headers or {}))


def failed(request: Request, error: Exception) -> Response:
    """Starlette's own answers (404, 405, …)."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405 and request.method == "OPTIONS":
        return Response(status_code=204, headers=_allow(error))
    headers = _allow(error) if error.status_code == 405 else error.headers
    messages = {404: "there is nothing here", 405: "this port only answers questions (GET, HEAD)"}
    return refusal(request, error.status_code, messages.get(error.status_code, error.detail), None, headers)


def _allow(error: HTTPException) -> dict[str, str]:
    known = (error.headers or {}).get("Allow", "GET, HEAD")
    return {"Allow": ", ".join(sorted({*known.split(", "), "OPTIONS"}))}


def explained(request: Request, error: Exception) -> Response:
    """An error of stemd's own."""
    assert isinstance(error, StemdError)
    facts = {"code": error.code, "remedy": error.remedy}
    return refusal(request, _STATUS.get(error.code, 503), error.message, facts)


def crashed(request: Request, error: Exception) -> Response:
    """Our bug: logged, and not shown to strangers."""
    logs.get().error("http_crashed", path=request.url.path, error=f"{type(error).__name__}: {error}", exc_info=error)
    return refusal(request, 500, "stemd made a mistake; its log says which")
