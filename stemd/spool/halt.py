"""The end of this process: what takes minutes on a thread asks between two pieces of its work whether to go on."""

from __future__ import annotations

import threading

_ordered = threading.Event()


class HaltedError(Exception):
    """The process ends. It is nobody's fault; what was being done is done again by the next one."""


def order() -> None:
    """From now on ``check`` raises, on every thread."""
    _ordered.set()


def withdraw() -> None:
    """What follows in this process goes on as ever."""
    _ordered.clear()


def check() -> None:
    """
    Raises:
        HaltedError: the process ends.
    """
    if _ordered.is_set():
        raise HaltedError
