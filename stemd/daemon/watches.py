"""Which folders are watched, by path and by number: inotify watches single folders, an inbox is a tree of them."""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from pathlib import Path

from stemd.daemon.inotify import Inotify
from stemd.spool.survey import walk


class Watches:
    """The watched trees. A path is that of the folder as it was entered; who renames one leaves and enters it."""

    def __init__(self, inotify: Inotify) -> None:
        self._inotify = inotify
        self._paths: dict[int, str] = {}
        self._numbers: dict[str, int] = {}
        self._below: defaultdict[str, set[str]] = defaultdict(set)

    def path(self, number: int) -> str | None:
        """The folder of a watch; ``None`` when it is watched no more."""
        return self._paths.get(number)

    def enter(self, top: str) -> None:
        """Watch a folder and those below it; what cannot be entered there is left out.

        Raises:
            OSError: ``top`` cannot be watched, or (ENOSPC) there are no watches left.
        """
        self._add(top)
        for parent, folders, _ in walk(Path(top)):
            for name in folders:
                try:
                    self._add(os.path.join(parent, name))  # noqa: PTH118  the form of os.DirEntry.path
                except OSError as error:
                    if error.errno == errno.ENOSPC:
                        raise

    def leave(self, top: str) -> None:
        """End the watches of a folder and of those below it, wherever they are by now."""
        pending = [top]
        while pending:
            folder = pending.pop()
            pending += self._below.pop(folder, ())
            number = self._numbers.pop(folder, None)
            if number is not None and self._paths.get(number) == folder:
                self.ended(number)
                self._inotify.remove(number)

    def ended(self, number: int) -> None:
        """A watch is over; that of a deleted folder ends by itself."""
        folder = self._paths.pop(number, None)
        if folder is None:
            return
        self._numbers.pop(folder, None)
        around = os.path.dirname(folder)  # noqa: PTH120  the form of os.DirEntry.path
        if around in self._below:
            self._below[around].discard(folder)

    def _add(self, folder: str) -> None:
        try:
            number = self._inotify.add(folder)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise OSError(errno.ENOSPC, "no watches left (see fs.inotify.max_user_watches)") from error
        before = self._numbers.get(folder)
        if before not in {None, number}:
            self.ended(before)
        if self._paths.get(number, folder) != folder:
            self.ended(number)  # it was renamed, and is entered under its new name before its old one was left
        self._paths[number], self._numbers[folder] = folder, number
        self._below[os.path.dirname(folder)].add(folder)  # noqa: PTH120  the form of os.DirEntry.path
