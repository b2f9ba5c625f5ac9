"""A small server laid out as Hugging Face and as a GitHub release, which fails when it is told to."""

from __future__ import annotations

import hashlib
import http.server
import socket
import struct
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_STORAGE = "/storage"


@dataclass(frozen=True)
class Asked:
    """One GET that arrived: its path and the headers that matter."""

    path: str
    range: str | None
    if_range: str | None


class Hub:
    """Serves ``files``, path → content. ``faults`` of a path are used up one by one, by the request for its content.

    Large files (all but YAML) are on a storage the request is redirected to, as both services do. ``states``: whether
    the redirect states the sha256, as Hugging Face does; ``etags`` overrides the storage's ETag of a path.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[Callable[[Any], None]]] = defaultdict(list)
        self.etags: dict[str, str] = {}
        self.states = True
        self.asked: list[Asked] = []
        hub = self

        class Handler(_Handler):
            owner = hub

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def content_requests(self, end: str) -> list[Asked]:
        """The requests for the content of the file whose path ends so."""
        return [each for each in self.asked if each.path.endswith(end) and self.serves(each.path)]

    def serves(self, path: str) -> bool:
        return path.startswith(_STORAGE) or path.endswith(".yaml")


class _Handler(http.server.BaseHTTPRequestHandler):
    owner: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        hub = self.owner
        hub.asked.append(Asked(self.path, self.headers.get("Range"), self.headers.get("If-Range")))
        path = self.path.removeprefix(_STORAGE)
        if path not in hub.files:
            self.answer(404, b"nothing here")
        elif not hub.serves(self.path):
            self._redirect(path, hub.files[path])
        elif hub.faults[path]:
            hub.faults[path].pop(0)(self)
        else:
            self.serve()

    def _redirect(self, path: str, content: bytes) -> None:
        stated = {"X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"'} if self.owner.states else {}
        self.answer(302, b"", Location=_STORAGE + path, **stated)

    def serve(self, content: bytes | None = None, *, upto: int | None = None) -> None:
        """Serve what was asked for; ``upto`` ends the connection after so many bytes."""
        path = self.path.removeprefix(_STORAGE)
        content = self.owner.files[path] if content is None else content
        etag = self.owner.etags.get(path, f'"{hashlib.md5(content).hexdigest()}"')
        start = self._start(etag, len(content))
        body = content[start:]
        headers = {"ETag": etag, "Content-Length": str(len(body))}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.answer(206 if start else 200, body if upto is None else body[:upto], **headers)
        if upto is not None:
            self.close_connection = True

    def _start(self, etag: str, size: int) -> int:
        asked = self.headers.get("Range")
        if asked is None or self.headers.get("If-Range", etag) != etag:
            return 0
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        return start if start < size else 0

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def reset(self) -> None:
        """End the connection as a lost link does."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):
            return


def drop_after(size: int) -> Callable[[_Handler], None]:
    """Declare all of the file and break off after ``size`` bytes of it."""
    return lambda handler: handler.serve(upto=size)


def reset_after(size: int) -> Callable[[_Handler], None]:
    """As ``drop_after``, but with a reset, which may take bytes with it that had been sent."""
    return lambda handler: (handler.serve(upto=size), handler.reset())


def truncate(size: int) -> Callable[[_Handler], None]:
    """Serve only the first ``size`` bytes, as if that were all."""
    return lambda handler: handler.serve(handler.owner.files[handler.path.removeprefix(_STORAGE)][:size])


def wrong(handler: _Handler) -> None:
    """Serve other bytes of the same number."""
    handler.serve(bytes(len(handler.owner.files[handler.path.removeprefix(_STORAGE)])))


def busy(status: int = 503, after: str | None = None) -> Callable[[_Handler], None]:
    """Refuse for now."""
    headers = {"Retry-After": after} if after is not None else {}
    return lambda handler: handler.answer(status, b"later", **headers)


def unsized(handler: _Handler) -> None:
    """Serve without saying how long it is; the end of the connection is the end of the file."""
    handler.close_connection = True
    content = handler.owner.files[handler.path.removeprefix(_STORAGE)]
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(content)


def redirect_to(address: str) -> Callable[[_Handler], None]:
    return lambda handler: handler.answer(302, b"", Location=address)
