"""inotify(7) by watchdog's own binding, read without a thread.

watchdog's observers drop the kernel's word that events were lost (``IN_Q_OVERFLOW``), and hold back everything behind a
rename for half a second while they wait for its other half; a claim is such a rename. So the calls and words are
watchdog's, and the reading is done here: nothing is interpreted or held back.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from watchdog.observers.inotify_c import InotifyConstants, inotify_add_watch, inotify_init, inotify_rm_watch

MODIFY = InotifyConstants.IN_MODIFY
ATTRIB = InotifyConstants.IN_ATTRIB
CLOSE_WRITE = InotifyConstants.IN_CLOSE_WRITE
MOVED_FROM = InotifyConstants.IN_MOVED_FROM
MOVED_TO = InotifyConstants.IN_MOVED_TO
CREATE = InotifyConstants.IN_CREATE
DELETE = InotifyConstants.IN_DELETE
Q_OVERFLOW = InotifyConstants.IN_Q_OVERFLOW
IGNORED = InotifyConstants.IN_IGNORED
ISDIR = InotifyConstants.IN_ISDIR
_WANTED = (
    MODIFY | ATTRIB | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE
    | InotifyConstants.IN_ONLYDIR | InotifyConstants.IN_DONT_FOLLOW
)  # fmt: skip

#: ``struct inotify_event`` without its name: watch, mask, cookie, length of the name.
_HEAD = struct.Struct("iIII")
_BUFFER = 1 << 16
#: No more reads at once than empty the longest queue of the default length: who creates without end must not hold us.
_MOST_READS = 64


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to ``name`` in a watched folder, or, without a name, to the folder itself."""

    watch: int
    mask: int
    cookie: int
    name: str


class Inotify:
    """One inotify instance.

    Raises:
        OSError: EMFILE, ``fs.inotify.max_user_instances`` are in use.
    """

    def __init__(self) -> None:
        self._descriptor = _checked(inotify_init())
        os.set_inheritable(self._descriptor, False)
        os.set_blocking(self._descriptor, False)

    def fileno(self) -> int:
        return self._descriptor

    def add(self, folder: str) -> int:
        """Watch a folder, without what is below it; returns the watch's number. A link is not followed.

        Raises:
            OSError: ENOSPC, ``fs.inotify.max_user_watches`` are in use; or the folder is gone, no folder, not ours.
        """
        return _checked(inotify_add_watch(self._descriptor, os.fsencode(folder), _WANTED))

    def remove(self, watch: int) -> None:
        """End a watch; one whose folder is gone has ended by itself."""
        inotify_rm_watch(self._descriptor, watch)  # type: ignore[arg-type]  # from watchdog 7 on numbers have a name

    def read(self) -> Iterator[Event]:
        """The events that are there now; never waits."""
        with suppress(BlockingIOError):
            for _ in range(_MOST_READS):
                yield from _events(os.read(self._descriptor, _BUFFER))

    def wait(self, seconds: float) -> bool:
        """Whether there is something to read within ``seconds``."""
        poller = select.poll()
        poller.register(self._descriptor, select.POLLIN)
        return bool(poller.poll(max(0.0, seconds) * 1000))

    def close(self) -> None:
        os.close(self._descriptor)


def _checked(answer: int) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer


def _events(data: bytes) -> Iterator[Event]:
    offset = 0
    while offset < len(data):
        watch, mask, cookie, length = _HEAD.unpack_from(data, offset)
        offset += _HEAD.size + length
        yield Event(watch, mask, cookie, os.fsdecode(data[offset - length : offset].rstrip(b"\0")))
