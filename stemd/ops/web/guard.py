"""What every request passes before it is answered: from where, how often, and by whom."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from stemd.core.access import Person
from stemd.ops.web.answers import refusal
from stemd.ops.web.bucket import Buckets, Rate, neighbourhood
from stemd.ops.web.door import Door, from_here
from stemd.ops.web.site import Site

#: Somebody known, everybody on this machine together, and each address that has shown nothing (yet).
_KNOWN, _STRANGER = Rate(burst=400, each_second=40), Rate(burst=30, each_second=1)
#: Open to strangers: how the page looks is no secret, and signing in is how they stop being any.
_OPEN = ("/static/", "/sign-in")
_LOCAL = Person(None, "admin")

#: Answers a stranger, where a browser asks.
SignIn = Callable[[Request], Response | None]


class Guard:
    """Puts ``person`` into the request's state, or refuses: 400, 401, 403, 421 or 429.

    A flood of wrong tokens uses up the bucket of its sender's address, never that of somebody who bears a right one.
    """

    def __init__(self, app: ASGIApp, site: Site, door: Door, sign_in: SignIn) -> None:
        self._app, self._site, self._door, self._sign_in = app, site, door, sign_in
        self._known, self._strangers = Buckets(_KNOWN), Buckets(_STRANGER)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        refused = self._refused(request) if scope["type"] == "http" else None
        if refused is not None and refused.status_code == 401 and "authorization" in request.headers:
            await run_in_threadpool(self._site.refused, None, "sign_in", None)
        await (refused or self._app)(scope, receive, send)

    def _refused(self, request: Request) -> Response | None:
        person = self._person(request.headers)
        client = neighbourhood(request.client.host) if request.client else "socket"
        known = f"user {person.name}" if person and person.name else client
        wait = (self._known if person else self._strangers).take(known, time.monotonic())
        if wait:
            return refusal(request, 429, "too many requests", None, {"Retry-After": str(math.ceil(wait))})
        if self._site.local:
            if (doubt := from_here(request.headers)) is not None:
                return refusal(request, 421, doubt)
        elif person is None and not request.url.path.startswith(_OPEN):
            message = "a user's bearer token is needed"
            headers = {"WWW-Authenticate": 'Bearer realm="stemd"'}
            return self._sign_in(request) or refusal(request, 401, message, None, headers)
        request.scope.setdefault("state", {})["person"] = person
        return None

    def _person(self, headers: Headers) -> Person | None:
        return _LOCAL if self._site.local else self._door.person(headers)


def person_of(request: Request) -> Person:
    """Who asks."""
    person: Person = request.state.person
    return person
