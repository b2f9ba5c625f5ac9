"""Who asks: a bearer token, or the cookie that a browser got for one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import re
import secrets
import time
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers

from stemd.core.access import Person, by_token
from stemd.core.config import Config

COOKIE = "stemd"
#: A browser stays signed in for so long (seconds).
SESSION = 12 * 3600
#: Headers that a proxy adds: whoever sends them asks for somebody else.
_PROXIED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_TOKEN = re.compile(r"[\x21-\x7e]{1,512}")


class Door:
    """Knows people. The cookie holds no token: it is a name and a time, sealed with a key that ends with the daemon.

    So what another service on this host sees of the cookie (browsers send it to every port) is worth nothing tomorrow,
    and nothing at all once the user's token has changed.
    """

    def __init__(self, config: Callable[[], Config], clock: Callable[[], float] = time.time) -> None:
        self._config, self._clock = config, clock
        self._key = secrets.token_bytes(32)

    def person(self, headers: Headers) -> Person | None:
        """Who sends these headers; ``None``: nobody known."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme:
            return self.bearer(token.strip()) if scheme.lower() == "bearer" else None
        return self._signed_in(headers.get("cookie", ""))

    def bearer(self, token: str) -> Person | None:
        """Who bears ``token``."""
        return by_token(self._config(), token) if _TOKEN.fullmatch(token) else None

    def session(self, person: Person) -> str:
        """The value of the cookie for somebody who has shown his token."""
        assert person.name is not None
        head = f"{base64.urlsafe_b64encode(person.name.encode()).decode()}.{int(self._clock()) + SESSION}"
        return f"{head}.{self._seal(head, person.name)}"

    def _signed_in(self, header: str) -> Person | None:
        try:
            cookie = SimpleCookie(header).get(COOKIE)
            head, _, seal = (cookie.value if cookie else "").rpartition(".")
            encoded, _, expires = head.partition(".")
            name = base64.urlsafe_b64decode(encoded.encode()).decode()
            fresh = int(expires) > self._clock()
        except (CookieError, ValueError):
            return None
        user = self._config().users.get(name)
        if user is None or not fresh or not hmac.compare_digest(seal.encode(), self._seal(head, name).encode()):
            return None
        return Person(name, user.role)

    def _seal(self, head: str, name: str) -> str:
        user = self._config().users.get(name)
        text = f"{head}.{user.token_sha256 if user else ''}"
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


def from_here(headers: Headers) -> str | None:
    """Why a request is not believed to come from this machine, though it arrives on loopback; ``None``: it is.

    A page of anybody's can have a name of its own point to 127.0.0.1 and then read what is there (DNS rebinding): the
    browser tells by what name it came. And what a proxy passes on may come from anywhere.
    """
    if any(name in headers for name in _PROXIED):
        return "it came through a proxy: set `http.tokens: always`, so that everybody shows a token"
    host = headers.get("host", "")
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name.lower().rstrip(".") == "localhost":
        return None
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "without tokens this port answers to localhost and to addresses, not to other names"
    return None
