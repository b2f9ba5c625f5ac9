"""The pages and what they are made of."""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from stemd.core.access import Action
from stemd.core.job import JobState
from stemd.ops.web import words
from stemd.ops.web.api import job_of, listing_of, number
from stemd.ops.web.api import visible as visible_to
from stemd.ops.web.detail import detail
from stemd.ops.web.front import front, link, reason
from stemd.ops.web.guard import person_of
from stemd.ops.web.layout import name, page, section, state, table
from stemd.ops.web.markup import Markup, h
from stemd.ops.web.site import Site

_PER_PAGE = 50


def routes(site: Site) -> list[BaseRoute]:
    def home(request: Request) -> Response:
        person, view = person_of(request), site.view()
        health = site.health.document(view) if person.may(Action.HEALTH) else None
        parts = front(view, visible_to(site, person), health)
        return html(page("stemd", person, *parts, live=True))

    def job(request: Request) -> Response:
        person, found = person_of(request), job_of(site, request)
        audio = site.config().http.audio and person.may(Action.HEAR, found.user_id)
        return html(page(f"{found.title} – stemd", person, *detail(found, audio=audio), live=True))

    def jobs(request: Request) -> Response:
        person = person_of(request)
        return html(page("All jobs – stemd", person, *_all(site, request), live=True))

    return [Route("/", home), Route("/jobs", jobs), Route("/jobs/{job_id}", job)]


def html(data: bytes, status: int = 200) -> Response:
    return Response(data, status, media_type="text/html")


def _all(site: Site, request: Request) -> list[Markup | None]:
    offset = number(request.query_params.get("offset"), 0, 1 << 30)
    counts, found = listing_of(site, request)
    rows = [
        (
            link(job),
            name(job.user_id or "–"),
            state(job.state),
            f"{job.engine or '–'} {job.model or ''}",
            reason(job),
            words.ago(job.updated_at or job.claimed_at),
        )
        for job in found[offset : offset + _PER_PAGE]
    ]
    columns = ("Recording", "User", "State", "Engine", "Reason and remedy", "When")
    shown = f"{offset + 1} to {offset + len(rows)} of {len(found)}" if rows else "none"
    body = (
        table(f"Jobs, the newest first: {shown}", columns, rows)
        if rows
        else h("p", {"class": "none"}, "There is none.")
    )
    return [
        h("h1", None, "All jobs"),
        _choices(request, counts),
        section("jobs", "Jobs", body, _turn(request, offset, len(found))),
    ]


def _choices(request: Request, counts: dict[str, int]) -> Markup:
    chosen = request.query_params.getlist("state")
    links = [h("a", {"href": "/jobs", "aria-current": "page" if not chosen else None}, f"all ({sum(counts.values())})")]
    links += [
        h(
            "a",
            {"href": f"/jobs?state={each}", "aria-current": "page" if chosen == [each] else None},
            each.value.replace("_", " "),
            f" ({counts[each]})",
        )
        for each in JobState
        if counts.get(each)
    ]
    return h("nav", {"aria-label": "States", "class": "choices"}, *links)


def _turn(request: Request, offset: int, total: int) -> Markup | None:
    rest = [(key, value) for key, value in request.query_params.multi_items() if key != "offset"]

    def to(where: int, text: str) -> Markup:
        return h("a", {"href": f"/jobs?{urlencode([*rest, ('offset', where)])}"}, text)

    newer = to(max(0, offset - _PER_PAGE), "Newer") if offset else None
    older = to(offset + _PER_PAGE, "Older") if offset + _PER_PAGE < total else None
    return h("nav", {"aria-label": "More", "class": "choices"}, newer, older) if newer or older else None
