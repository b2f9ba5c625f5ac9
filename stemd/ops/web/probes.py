"""For monitors: is it alive, is it ready, is it well, and the metrics.

All but ``/health`` look at no disk, and are answered on the port's own thread (``async``): the few threads for what
does may all wait for a slow one, and a daemon must not be restarted for that.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from stemd.core.access import Action
from stemd.ops.web.answers import JSON
from stemd.ops.web.guard import person_of
from stemd.ops.web.site import Site

#: A daemon whose loop has not turned for so many seconds is not alive.
STALL_SECONDS = 60.0


def routes(site: Site) -> list[BaseRoute]:
    async def livez(_: Request) -> Response:
        alive = time.monotonic() - site.view().loop_at < STALL_SECONDS
        return PlainTextResponse("ok\n" if alive else "the main loop is stalled\n", 200 if alive else 503)

    async def readyz(request: Request) -> Response:
        now = site.view()
        status = 200 if now.ready and not now.draining else 503
        if "verbose" in request.query_params:
            person_of(request).require(Action.HEALTH)
            return JSON(now.to_dict(), status)
        return PlainTextResponse("ok\n" if status == 200 else f"{now.sentence}\n", status)

    def health(request: Request) -> Response:
        person_of(request).require(Action.HEALTH)
        document = site.health.document(site.view())
        return JSON(document, 200 if document["status"] == "ok" else 503)

    async def metrics(request: Request) -> Response:
        person_of(request).require(Action.HEALTH)
        return Response(site.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    answers: dict[str, Callable[[Request], Response | Awaitable[Response]]] = {
        "/livez": livez, "/readyz": readyz, "/health": health, "/metrics": metrics,
    }  # fmt: skip
    return [Route(path, answer) for path, answer in answers.items()]
