"""Signing in with a browser: the token goes in once, by a form, and a cookie stands for it afterwards."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from stemd.ops.web.answers import refusal
from stemd.ops.web.door import COOKIE, SESSION, Door
from stemd.ops.web.layout import page
from stemd.ops.web.markup import Attributes, Markup, h
from stemd.ops.web.site import Site

_MOST, _PATIENCE = 4096, 10.0


def routes(site: Site, door: Door) -> list[BaseRoute]:
    async def sign_in(request: Request) -> Response:
        if site.local:
            return RedirectResponse("/", 303)
        if request.method in {"GET", "HEAD"}:
            return form(request, "/", 200)
        if (given := await _given(request)) is None:
            return refusal(request, 400, "this is no form of stemd's")
        target, person = _inside(given.get("next", "/")), door.bearer(given.get("token", "").strip())
        if person is None:
            await run_in_threadpool(site.refused, None, "sign_in", None)
            return form(request, target, 401, "No user has this token.")
        answer = RedirectResponse(target, 303)
        secure = request.headers.get("x-forwarded-proto", "") == "https"
        answer.set_cookie(
            COOKIE, door.session(person), max_age=SESSION, httponly=True, samesite="strict", secure=secure
        )
        return answer

    async def sign_out(_: Request) -> Response:
        answer = RedirectResponse("/", 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    return [Route("/sign-in", sign_in, methods=["GET", "POST"]), Route("/sign-out", sign_out, methods=["POST"])]


def asked(request: Request) -> Response | None:
    """The form, where a browser asks for a page and has shown nothing (any more)."""
    wants_page = request.method in {"GET", "HEAD"} and "text/html" in request.headers.get("accept", "")
    if not wants_page or request.url.path.startswith("/api"):
        return None
    query = f"?{request.url.query}" if request.url.query else ""
    return form(request, _inside(request.url.path + query), 401)


def form(request: Request, target: str, status: int, problem: str = "") -> Response:
    """The page with the form."""
    described = "problem" if problem else None
    field: Attributes = {"type": "password", "name": "token", "id": "token", "required": True, "autofocus": True,
             "autocomplete": "current-password", "aria-describedby": described}  # fmt: skip
    parts: list[Markup | None] = [
        h("h1", None, "Sign in"),
        h("p", {"id": "problem", "role": "alert"}, "✕ ", problem) if problem else None,
        h(
            "form",
            {"method": "post", "action": "/sign-in", "class": "sign-in"},
            h("input", {"type": "hidden", "name": "next", "value": target}),
            h("label", {"for": "token"}, "Your token"),
            h("input", field),
            h("button", {"type": "submit"}, "Sign in"),
        ),
        h("p", None, "The operator of this stemd gives out tokens. You stay signed in for twelve hours."),
    ]
    headers = {"www-authenticate": 'Bearer realm="stemd"'} if status == 401 else {}
    return Response(page("Sign in – stemd", None, *parts), status, headers, "text/html")


async def _given(request: Request) -> dict[str, str] | None:
    """The fields of the form; ``None``: it is none, is too long or too slow, or another site sent it."""
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return None
    data = b""
    try:
        async with asyncio.timeout(_PATIENCE):
            async for block in request.stream():
                data += block
                if len(data) > _MOST:
                    return None
        fields = parse_qs(data.decode("ascii"), max_num_fields=4, strict_parsing=True)
    except (ValueError, TimeoutError, ClientDisconnect):
        return None
    return {key: values[0] for key, values in fields.items()}


def _inside(target: str) -> str:
    """A place on this port, whatever was asked for."""
    plain = (
        target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable() and target.isascii()
    )
    return target if plain else "/"
