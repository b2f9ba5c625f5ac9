"""Who wants to know of every flush of this process: how long it took, and whether it failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_listener: Callable[[float, bool], None] | None = None


def listen(listener: Callable[[float, bool], None] | None) -> None:
    """Call ``listener(seconds, failed)`` after every flush from now on, on its thread; ``None`` ends that."""
    global _listener  # noqa: PLW0603  one listener for the whole process, as with the steps
    _listener = listener


@contextmanager
def told() -> Iterator[None]:
    """Around one ``os.fsync``."""
    started, failed = time.monotonic(), True
    try:
        yield
        failed = False
    finally:
        if _listener is not None:
            _listener(time.monotonic() - started, failed)
