"""The application: its routes, and what stands before them."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.types import ASGIApp

from stemd.core.errors import StemdError
from stemd.ops.web import api, assets, entry, files, pages, probes
from stemd.ops.web.answers import Headers, crashed, explained, failed
from stemd.ops.web.door import Door
from stemd.ops.web.guard import Guard
from stemd.ops.web.site import Site


def application(site: Site) -> ASGIApp:
    """The ASGI application."""
    door = Door(site.config)
    inner = Starlette(
        middleware=[Middleware(Guard, site=site, door=door, sign_in=entry.asked)],
        routes=[
            *probes.routes(site),
            *api.routes(site),
            *pages.routes(site),
            *files.routes(site),
            *entry.routes(site, door),
            *assets.routes(),
        ],
        exception_handlers={HTTPException: failed, StemdError: explained, Exception: crashed},
    )
    inner.router.redirect_slashes = False
    return Headers(inner)
