"""Ports for servers that cannot be told to take any that is free."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

#: Below those that the kernel gives to whoever asks for any: only who asks for one of these by its number gets it.
_FIRST, _NUMBER = 20_000, 10_000


@contextmanager
def reserved_port() -> Iterator[int]:
    """A TCP port of loopback that nobody listens on, and that no other test is given during the block.

    The same port of UDP, which none of these servers wants, is held meanwhile: the kernel gives that to one process.
    """
    with ExitStack() as stack:
        for number in range(_NUMBER):
            port = _FIRST + (os.getpid() * 101 + number) % _NUMBER
            try:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
                held = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
                held.bind(("127.0.0.1", port))
            except OSError:
                continue
            yield port
            return
        raise AssertionError("no port is free")
