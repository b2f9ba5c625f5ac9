"""How anything is deleted from the spool: by one rename to where nobody looks, which is flushed, then piece by piece.

No half folder is ever visible, not even after a power cut. What a kill leaves in ``work/.trash`` goes at the next
start.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from stemd.spool import deliver, durable
from stemd.spool.layout import Spool, names
from stemd.spool.steps import step


class Trash:
    """The trash of one spool. What is thrown in is out of sight at once, and gone after ``empty``."""

    def __init__(self, spool: Spool) -> None:
        self._spool, self._folder = spool, spool.trash
        self._parents: set[Path] = set()

    def take(self, path: Path, still: Callable[[Path], bool] = lambda taken: True) -> bool:
        """Throw ``path`` away; ``False`` where it is gone already, or turns out not to be what ``still`` wants.

        ``still`` looks at it once it is out of everybody's reach; otherwise it is put back.

        Raises:
            StemdError: the disk failed, or it may not be moved.
        """
        with durable.io_errors("make the trash"):
            self._folder.mkdir(mode=0o700, exist_ok=True)
        place = self._folder / uuid.uuid4().hex
        try:
            if not still(path):
                return False
            durable.rename(path, place)
        except FileNotFoundError:
            return False
        if not still(place):
            self._put_back(place, path)
            return False
        self._parents.add(path.parent)
        step("D1")
        return True

    def _put_back(self, place: Path, path: Path) -> None:
        """Something else had come there between the look and the rename."""
        try:
            deliver.rename_free(place, path.parent, names(path.name))
        except FileNotFoundError:
            deliver.unknown(self._spool, place, f"it was at {path} for a moment")

    def empty(self) -> None:
        """Delete what is in it, once it is certain that nothing of it is visible any more.

        Raises:
            StemdError: the disk failed; to be called again.
        """
        if not self._folder.is_dir():
            return
        durable.fsync(self._folder)
        for parent in self._parents:
            with suppress(FileNotFoundError):
                durable.fsync(parent)
        self._parents.clear()
        step("D2")
        for path in sorted(self._folder.iterdir()):
            _open_up(path)
            durable.remove_tree(path)
            step("D3")
        with durable.io_errors("flush the trash"):
            durable.fsync(self._folder)


def _open_up(path: Path) -> None:
    """Folders that their owner closed (mode 0500) can be emptied by him all the same."""
    if path.is_symlink() or not path.is_dir():
        return
    for folder, directories, _ in os.walk(path):
        for name in (".", *directories):
            each = Path(folder, name)
            with suppress(OSError):
                if not each.is_symlink() and each.stat().st_mode & 0o700 != 0o700:
                    each.chmod(0o700)


def remove_empty(folder: Path, above: Path) -> None:
    """Remove a folder if it is empty, and those around it that become so, up to but without ``above``."""
    with suppress(OSError):
        while above in folder.parents:
            folder.rmdir()
            folder = folder.parent
