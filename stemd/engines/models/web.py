"""HTTP(S) as the store needs it: one GET, its redirects, and which failures may pass. Standard library only."""

from __future__ import annotations

import http.client
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import IO, Any
from urllib.parse import urlsplit

from stemd.core.errors import StemdError

_PATIENCE = 60.0
_BLOCK = 1 << 18
_PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


class PassingError(Exception):
    """A failure that may pass: a dropped connection, a busy server. ``after`` is the wait it asked for, in seconds."""

    def __init__(self, why: str, after: float | None = None) -> None:
        self.after = after
        super().__init__(why)


class Answer:
    """An answer's status, headers and body; ``linked`` are the headers of the redirects that led to it."""

    def __init__(self, response: Any, linked: Message) -> None:
        self._response = response
        self.status: int = response.status
        self.headers: Message = response.headers
        self.linked = linked

    def blocks(self) -> Iterator[bytes]:
        """The body, in pieces.

        Raises:
            PassingError: the connection broke.
        """
        while True:
            try:
                block = self._response.read(_BLOCK)
            except (OSError, http.client.HTTPException) as error:
                raise PassingError(f"the connection broke: {error or type(error).__name__}") from error
            if not block:
                return
            yield block

    def close(self) -> None:
        self._response.close()


def get(url: str, headers: Mapping[str, str]) -> Answer:
    """The answer to one GET: 200, 206 or 416.

    Raises:
        PassingError: it is worth another try.
        StemdError: STEMD-M005, it is not.
    """
    redirects = _Redirects()
    opener = urllib.request.build_opener(redirects)
    request = urllib.request.Request(  # noqa: S310 - http(s), by the caller and by _Redirects
        url, headers={"User-Agent": "stemd", "Accept-Encoding": "identity", **headers}
    )
    try:
        return Answer(opener.open(request, timeout=_PATIENCE), redirects.linked)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            return Answer(error, redirects.linked)
        with error:
            raise _refusal(url, error.code, str(error.reason), error.headers) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise StemdError("STEMD-M005", f"{url}: {error.reason}") from error
        raise PassingError(f"no connection: {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise PassingError(f"no answer: {error or type(error).__name__}") from error


def _refusal(url: str, status: int, reason: str, headers: Message) -> Exception:
    if status in _PASSING_STATUS:
        return PassingError(f"{url} answers {status} {reason}", _seconds(headers.get("Retry-After")))
    if status in {404, 410}:
        return StemdError("STEMD-M005", f"there is no {url} ({status})")
    return StemdError("STEMD-M005", f"{url} answers {status} {reason}")


def _seconds(text: str | None) -> float | None:
    """``Retry-After``: seconds or a date (RFC 9110, 10.2.3), as seconds from now."""
    try:
        if text is None:
            return None
        return float(text) if text.isdigit() else max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to anything else, and keeps what they said."""

    def __init__(self) -> None:
        self.linked = Message()

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        here, there = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if there not in {"http", "https"} or (here, there) == ("https", "http"):
            raise StemdError("STEMD-M005", f"{req.full_url} leads to {newurl}, which is not safe")
        for name, value in headers.items():
            self.linked[name] = value
        return super().redirect_request(req, fp, code, msg, headers, newurl)
