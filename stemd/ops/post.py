"""One POST to another program: for hand-overs and alerts. Never on the loop's thread."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping

from stemd import __version__

#: Of an answer that is no success, so much is told.
_SHOWN = 200


class NotTakenError(Exception):
    """The receiver did not take it; the message says why."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """What was signed for one address goes to no other."""

    def redirect_request(self, *args: object, **kwargs: object) -> None:
        return None


_opener = urllib.request.build_opener(_NoRedirect)


def post(url: str, body: bytes, headers: Mapping[str, str], timeout: float) -> None:
    """Send ``body`` (JSON); any answer but 2xx means that it was not taken.

    Raises:
        NotTakenError: it was not, as far as can be told.
    """
    all_headers = {"Content-Type": "application/json", "User-Agent": f"stemd/{__version__}", **headers}
    request = urllib.request.Request(url, body, all_headers, method="POST")  # noqa: S310  http(s), checked by the configuration
    try:
        with _opener.open(request, timeout=timeout) as answer:
            answer.read(_SHOWN)
    except urllib.error.HTTPError as error:
        with error:
            raise NotTakenError(f"HTTP {error.code}: {error.read(_SHOWN).decode(errors='replace')}".strip()) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotTakenError(f"{type(error).__name__}: {error}") from None


def signature(key: bytes, at: int, body: bytes) -> str:
    """``Stemd-Signature``: ``t=SECONDS,v1=HEX``, where HEX is the HMAC-SHA256 of ``SECONDS.BODY``."""
    return f"t={at},v1={hmac.new(key, b'%d.' % at + body, hashlib.sha256).hexdigest()}"
