"""Jobs for programs: ``/api/jobs`` and ``/api/jobs/UUID``."""

from __future__ import annotations

import re
from collections import Counter
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from stemd.core.access import Action, Person
from stemd.core.errors import StemdError
from stemd.core.job import SCHEMA_VERSION, JobState, is_job_id
from stemd.ops.folder import Folder
from stemd.ops.jobs import JobView
from stemd.ops.web.answers import JSON
from stemd.ops.web.guard import person_of
from stemd.ops.web.site import Site

_PAGE, _LARGEST_PAGE = 100, 1000


def routes(site: Site) -> list[BaseRoute]:
    def jobs(request: Request) -> Response:
        return JSON(listing(site, request))

    def job(request: Request) -> Response:
        person, found = person_of(request), job_of(site, request)
        folder = Folder.of(found)
        failure = folder.failure()
        return JSON(
            {
                "schema_version": SCHEMA_VERSION,
                **found.to_dict(),
                "timeline": folder.timeline(),
                "error": failure,
                "files": folder.files(),
                "documents": folder.documents(),
                "audio": site.config().http.audio and person.may(Action.HEAR, found.user_id),
            }
        )

    return [Route("/api/jobs", jobs), Route("/api/jobs/{job_id}", job)]


def listing(site: Site, request: Request) -> dict[str, object]:
    """One page of the jobs that the person who asks may see, newest first."""
    query = request.query_params
    limit, offset = number(query.get("limit"), _PAGE, _LARGEST_PAGE), number(query.get("offset"), 0, 1 << 30)
    counts, found = listing_of(site, request)
    rest = [(key, value) for key, value in query.multi_items() if key != "offset"]
    more = limit > 0 and offset + limit < len(found)
    return {
        "schema_version": SCHEMA_VERSION,
        "total": len(found),
        "counts": counts,
        "jobs": [job.to_dict() for job in found[offset : offset + limit]],
        "next": f"/api/jobs?{urlencode([*rest, ('offset', offset + limit)])}" if more else None,
    }


def listing_of(site: Site, request: Request) -> tuple[dict[str, int], list[JobView]]:
    """How many jobs the person who asks may see, by state, and those of them that are asked for, newest first.

    Raises:
        HTTPException: 400.
    """
    query = request.query_params
    if unknown := set(query) - {"state", "user", "limit", "offset"}:
        raise HTTPException(400, f"there is no parameter {min(unknown)!r}; there are state, user, limit, offset")
    states, users = set(query.getlist("state")), set(query.getlist("user"))
    if unknown := states - set(JobState):
        raise HTTPException(400, f"there is no state {min(unknown)!r}; there are {', '.join(JobState)}")
    mine = visible(site, person_of(request))
    found = [job for job in mine if (not states or job.state in states) and (not users or job.user_id in users)]
    return dict(Counter(job.state for job in mine)), found


def visible(site: Site, person: Person) -> list[JobView]:
    """The jobs somebody may see, newest first."""
    seen: dict[str | None, bool] = {}
    jobs = []
    for job in reversed(site.picture.now().jobs):
        if job.user_id not in seen:
            seen[job.user_id] = person.may(Action.SEE, job.user_id)
        if seen[job.user_id]:
            jobs.append(job)
    return jobs


def job_of(site: Site, request: Request) -> JobView:
    """The job in the path, if it is there for the person who asks.

    Raises:
        StemdError: STEMD-S015; also where it is somebody else's, so that nobody learns which jobs there are.
    """
    job_id, person = str(request.path_params["job_id"]).lower(), person_of(request)
    if is_job_id(job_id):
        job = site.picture.job(job_id)
        if job is not None:
            if person.may(Action.SEE, job.user_id):
                return job
            site.refused(person, Action.SEE, job)
    raise StemdError("STEMD-S015", "there is no such job")


def number(text: str | None, default: int, most: int) -> int:
    """A parameter that is a number.

    Raises:
        HTTPException: 400.
    """
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 0 <= int(text) <= most:
        raise HTTPException(400, f"{text!r} is no whole number from 0 to {most}")
    return int(text)
