"""The application: its routes, and what stands before them."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from stemd.core.errors import StemdError
from stemd.ops.web import api, probes
from stemd.ops.web.answers import Headers, crashed, explained, failed
from stemd.ops.web.door import Door
from stemd.ops.web.guard import Guard
from stemd.ops.web.site import Site


def application(site: Site) -> ASGIApp:
    """The ASGI application."""
    door = Door(site.config)

    def sign_in(request: Request) -> Response | None:
        return None

    inner = Starlette(
        middleware=[Middleware(Guard, door=door, sign_in=sign_in, local=site.local)],
        routes=[*probes.routes(site), *api.routes(site)],
        exception_handlers={HTTPException: failed, StemdError: explained, Exception: crashed},
    )
    inner.router.redirect_slashes = False
    return Headers(inner)
