"""What the service's own trial is made of, and how its job is told from everybody else's. Pure."""

from __future__ import annotations

import hashlib
import struct

from stemd.core.job import Job

#: The hidden inbox it is dropped into, and whose its job is.
DOOR, USER = ".stemd-canary", "canary"

_RATE = 8000
_DATA = bytes(2 * _RATE)
#: A second of silence as a wav file: mono, 16 bit.
SILENCE = (
    struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(_DATA), b"WAVE", b"fmt ", 16, 1, 1, _RATE, 2 * _RATE, 2, 16,
                b"data", len(_DATA)) + _DATA
)  # fmt: skip
_SHA256 = hashlib.sha256(SILENCE).hexdigest()


def is_canary(job: Job | None) -> bool:
    """Whether it is the service's own: from its inbox, and nothing but its silence. Whatever else is there is kept."""
    return job is not None and job.inbox == DOOR and job.source.sha256 == _SHA256
