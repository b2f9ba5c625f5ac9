"""The files of a finished job: only those its manifest names, only beneath its folder, in parts where asked for."""

from __future__ import annotations

import os
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import PurePath
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from stemd.core.access import Action, Person
from stemd.core.errors import StemdError
from stemd.ops.folder import Folder
from stemd.ops.jobs import JobView
from stemd.ops.web.answers import refusal
from stemd.ops.web.api import job_of
from stemd.ops.web.detail import TYPES
from stemd.ops.web.guard import person_of
from stemd.ops.web.site import Heard, Site

_BLOCK = 256 << 10
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_MOST_LISTENINGS = 1024
#: So many seconds after an access was told of the next request is another.
_LISTENING = 3600.0
#: Who gets so much of a file at once gets it anew.
_NEARLY_ALL = 0.9

#: Called with the part of a file that goes out, and the file's size.
Sends = Callable[[range, int], None]


class Listeners:
    """Who has been told of: a player asks for a file in many parts, and that is one access, for an hour."""

    def __init__(self, heard: Heard) -> None:
        self._heard, self._told = heard, OrderedDict[tuple[str | None, str | None, str], float]()

    def listens(self, person: Person, job: JobView, name: str, part: range, size: int) -> None:
        """Tell of it if ``part`` of a file of ``size`` bytes is an access: the beginning, nearly all, or the first."""
        key, now = (person.name, job.job_uuid, name), time.monotonic()
        told = self._told.get(key)
        if part.start == 0 or len(part) >= _NEARLY_ALL * size or told is None or now - told > _LISTENING:
            self._heard(person, job, name)
            self._told[key] = now
            self._told.move_to_end(key)
        if len(self._told) > _MOST_LISTENINGS:
            self._told.popitem(last=False)


def routes(site: Site) -> list[BaseRoute]:
    listeners = Listeners(site.heard)

    def file(request: Request) -> Response:
        job, person, name = job_of(site, request), person_of(request), str(request.path_params["name"])
        folder = Folder.of(job)
        audio = name in {each["name"] for each in folder.files()}
        if audio:
            if not site.config().http.audio:
                return refusal(request, 403, "listening is off (`http.audio`)")
            if not person.may(Action.HEAR, job.user_id):
                site.refused(person, Action.HEAR, job)
            person.require(Action.HEAR, job.user_id)
        elif name not in folder.documents():
            raise StemdError("STEMD-S015", "there is no such file")
        descriptor = folder.descriptor(name)
        if descriptor is None:
            raise StemdError("STEMD-S015", "there is no such file")
        opened = os.fdopen(descriptor, "rb", buffering=0)
        tell: Sends = partial(listeners.listens, person, job, name) if audio else lambda part, size: None
        return answer(request, opened, name, tell)

    return [Route("/jobs/{job_id}/files/{name}", file)]


def answer(request: Request, opened: BinaryIO, name: str, sends: Sends) -> Response:
    """The open file, or the part of it that is asked for (RFC 9110 §14); closes it. ``sends`` hears of it before."""
    facts = os.fstat(opened.fileno())
    tag = f'"{facts.st_ino:x}-{facts.st_size:x}-{facts.st_mtime_ns:x}"'
    headers = {
        "etag": tag,
        "accept-ranges": "bytes",
        "content-type": TYPES.get(PurePath(name).suffix.lower(), "application/octet-stream"),
        "content-security-policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
    }
    if tag in request.headers.get("if-none-match", ""):
        opened.close()
        return Response(status_code=304, headers=headers)
    wanted = request.headers.get("range") if request.headers.get("if-range", tag) == tag else None
    part = _part(wanted, facts.st_size)
    if part == (0, 0):
        opened.close()
        return Response(status_code=416, headers={**headers, "content-range": f"bytes */{facts.st_size}"})
    begin, end = part or (0, facts.st_size)
    headers |= {"content-length": str(end - begin)}
    headers |= {} if part is None else {"content-range": f"bytes {begin}-{end - 1}/{facts.st_size}"}
    status = 200 if part is None else 206
    if request.method == "HEAD":
        opened.close()
        return Response(status_code=status, headers=headers)
    try:
        sends(range(begin, end), facts.st_size)
    except BaseException:
        opened.close()
        raise
    return StreamingResponse(_blocks(opened, begin, end), status, headers)


def _part(wanted: str | None, size: int) -> tuple[int, int] | None:
    """First byte, and the one after the last; ``(0, 0)``: there is no such part.

    ``None``, the whole file, where several parts or nothing that makes sense is asked for.
    """
    found = _RANGE.fullmatch(wanted or "")
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        begin, end = max(0, size - int(found[2])), size
    elif found[2] and int(found[2]) < int(found[1]):
        return None
    else:
        begin, end = int(found[1]), min(size, int(found[2]) + 1) if found[2] else size
    return (begin, end) if begin < end else (0, 0)


def _blocks(opened: BinaryIO, begin: int, end: int) -> Iterator[bytes]:
    with opened:
        while begin < end and (block := os.pread(opened.fileno(), min(_BLOCK, end - begin), begin)):
            begin += len(block)
            yield block
