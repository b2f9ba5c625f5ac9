"""``python -m stemd.worker.probe``: says how long recordings are, in a process that hostile files may take down.

One JSON line in, ``{"path": …}``, one out: ``{"length": {"seconds", "sample_rate", "channels"}}``, or
``{"length": null}`` for what cannot be told. It never writes, has little memory, and a file that takes too long ends it
(the daemon's prober starts a new one).
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from stemd.core.errors import StemdError
from stemd.core.job import Length
from stemd.engines.audio import decode

#: Address space and seconds for one file.
_MEMORY = 2 << 30
_SECONDS = 20
#: A header that promises more than even silence can be packed into is not believed.
_MOST_FRAMES_PER_BYTE = 1000


def main() -> None:
    """Answer until the input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    for line in sys.stdin.buffer:
        signal.alarm(_SECONDS)
        length = look(Path(json.loads(line)["path"]))
        signal.alarm(0)
        sys.stdout.write(json.dumps({"length": asdict(length) if length else None}) + "\n")
        sys.stdout.flush()


def look(path: Path) -> Length | None:
    """What the recording at ``path`` declares to hold; ``None`` where nothing can be told."""
    try:
        source = decode.open_source(path)
    except (StemdError, OSError, MemoryError):
        return None
    declared = source.probe.declared
    if not declared or declared > _MOST_FRAMES_PER_BYTE * path.stat().st_size:
        return None
    return Length(declared / source.rate, source.rate, source.channels)


if __name__ == "__main__":
    main()
