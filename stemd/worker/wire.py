"""The words between daemon and worker: one JSON object a line, in both directions. Standard library only.

Daemon → worker (its standard input)::

    {"op": "run", "job_uuid", "work": PATH, "attempt": 2, "ease": 0, "threads": 1}   the rest is in PATH/job.json
    {"op": "cancel"}
    {"op": "exit"}

Worker → daemon (a pipe of its own, so that nothing a library prints can garble it)::

    {"event": "ready", "engine", "model": {…}, "facts": {…}, "seconds"}
    {"event": "unready", "error": {…}}
    {"event": "progress", "stage": "load", "fraction", "chunks"}   while its model is being fetched
    {"event": "progress", "job_uuid", "stage", "fraction", "chunks"}
    {"event": "staged", "job_uuid", "resources": {…}, "timings": {…}}
    {"event": "failed", "job_uuid", "error": {…}, "trace"}
    {"event": "cancelled", "job_uuid"}

The end of either stream means that the other side is gone. What the daemon says is short whatever a job is like: it
writes without waiting, and a pipe takes so much from it even where nobody reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

#: A longer line is not ours: the stream is broken.
MAX_LINE = 1 << 20


class WireError(Exception):
    """The other side sent something that is no message."""


def encode(message: Mapping[str, Any]) -> bytes:
    """One message as a line of UTF-8 JSON."""
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode() + b"\n"


class Decoder:
    """Turns a stream of bytes, in pieces of any size, back into messages."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """Yield the messages completed by ``data``.

        Raises:
            WireError: a line is no JSON object or longer than ``MAX_LINE`` bytes.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if max(map(len, (*lines, self._rest))) > MAX_LINE:
            raise WireError(f"a line of more than {MAX_LINE} bytes")
        for line in lines:
            try:
                message = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise WireError(f"not JSON: {line[:80]!r}") from error
            if not isinstance(message, dict):
                raise WireError(f"not an object: {line[:80]!r}")
            yield message
