"""Words to the service manager (sd_notify), and what it hands over (sd_listen_fds); silent where there is none."""

from __future__ import annotations

import os
import socket
import time

import sdnotify

#: The first descriptor that is handed over (``SD_LISTEN_FDS_START``, sd_listen_fds(3)).
_FIRST_HANDED_OVER = 3


def handed_over() -> list[socket.socket]:
    """The listening sockets that the service manager opened for this process (socket activation), if it did.

    The variables that name them are used up: they must not be taken for those of a process started from here.
    """
    names = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
    process, count, _ = (os.environ.pop(name, "") for name in names)
    if process != str(os.getpid()) or not count.isdigit():
        return []
    sockets = [socket.socket(fileno=_FIRST_HANDED_OVER + number) for number in range(int(count))]
    for listening in sockets:
        listening.set_inheritable(False)
    return sockets


class ServiceManager:
    """Ready, status, reload and watchdog messages."""

    def __init__(self) -> None:
        self._notifier = sdnotify.SystemdNotifier()
        microseconds = int(os.environ.get("WATCHDOG_USEC", "0"))
        self._interval = microseconds / 1e6 / 3 if microseconds else None
        self._next_ping = 0.0

    def ready(self) -> None:
        self._notifier.notify("READY=1")

    def status(self, sentence: str) -> None:
        self._notifier.notify(f"STATUS={sentence}")

    def reloading(self) -> None:
        """``notify-reload`` needs the time as well (sd_notify(3), systemd ≥ 253)."""
        self._notifier.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._notifier.notify("STOPPING=1")

    def extend(self, seconds: float) -> None:
        """Starting or stopping takes longer: ask for ``seconds`` more, from now."""
        self._notifier.notify(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def alive(self) -> None:
        """The loop has turned; pings the watchdog three times per interval."""
        now = time.monotonic()
        if self._interval is not None and now >= self._next_ping:
            self._next_ping = now + self._interval
            self._notifier.notify("WATCHDOG=1")
