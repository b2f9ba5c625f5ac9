"""How anything is deleted from the spool: by one rename to where nobody looks, which is flushed, then piece by piece.

No half folder is ever visible, not even after a power cut. What a kill leaves in ``work/.trash`` goes at the next
start.

Others can write where it is taken from. So the folder around it is opened part by part, no link followed, and held
open: whatever they exchange on the way meanwhile, only what lies in that very folder goes.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from stemd.core.errors import StemdError
from stemd.spool import beneath, deliver, durable, flushes, halt
from stemd.spool.layout import Spool, names
from stemd.spool.steps import step

#: Folders that something was taken from and that are not flushed yet: so many are held open at most.
_MOST_OPEN = 64
#: So many threads delete, where there is more than a handful: each waits for the disk nearly all of its time, most of
#: all where a file system discards what it frees at once.
_AT_ONCE, _HANDFUL = 4, 16


class Trash:
    """The trash of one spool. What is thrown in is out of sight at once, and gone after ``empty``."""

    def __init__(self, spool: Spool) -> None:
        self._spool, self._folder = spool, spool.trash
        self._parents: dict[tuple[int, int], int] = {}

    def take(self, path: Path, still: Callable[[Path], bool] = lambda taken: True) -> bool:
        """Throw ``path``, which lies in one of the spool's areas, away; ``False`` where it is gone already, its folder
        is not to be reached without a link, or it turns out not to be what ``still`` wants.

        ``still`` looks at it once it is out of everybody's reach; otherwise it is put back.

        Raises:
            StemdError: the disk failed, or it may not be moved.
        """
        with durable.io_errors("make the trash"):
            self._folder.mkdir(mode=0o700, exist_ok=True)
        area, *way, name = path.relative_to(self._spool.root).parts
        with beneath.folder(self._spool.root / area, way) as parent:
            return parent is not None and self._take(parent, name, path, still)

    def _take(self, parent: int, name: str, path: Path, still: Callable[[Path], bool]) -> bool:
        home, place = Path(f"/proc/self/fd/{parent}"), self._folder / uuid.uuid4().hex
        try:
            if not still(home / name):
                return False
            durable.rename(home / name, place)
        except FileNotFoundError:
            return False
        if not still(place):
            self._put_back(place, home, path)
            return False
        self._remember(parent)
        step("D1")
        return True

    def _put_back(self, place: Path, home: Path, path: Path) -> None:
        """Something else had come there between the look and the rename."""
        try:
            deliver.rename_free(place, home, names(path.name))
        except (FileNotFoundError, StemdError):
            deliver.unknown(self._spool, place, f"it was at {path} for a moment")

    def _remember(self, parent: int) -> None:
        facts = os.fstat(parent)
        if (facts.st_dev, facts.st_ino) not in self._parents:
            if len(self._parents) >= _MOST_OPEN:
                self._flush()
            self._parents[facts.st_dev, facts.st_ino] = os.dup(parent)

    def _flush(self) -> None:
        """What was taken is in the trash for good, and where it came from no more."""
        try:
            durable.fsync(self._folder)
            with durable.io_errors("flush a folder that something was taken from"):
                for parent in self._parents.values():
                    with flushes.told():
                        os.fsync(parent)
        finally:
            for parent in self._parents.values():
                os.close(parent)
            self._parents.clear()

    def empty(self) -> list[StemdError]:
        """Delete what is in it, once it is certain that nothing of it is visible any more.

        Returns what could not be deleted and why, one error for each: it stays out of sight, and keeps nothing else.

        Raises:
            StemdError: it could not be flushed; to be called again.
        """
        if not self._folder.is_dir():
            return []
        failed: list[StemdError] = []
        self._flush()
        step("D2")
        for error in _removals(sorted(self._folder.iterdir())):
            if error is not None:
                failed.append(error)
            step("D3")
        with durable.io_errors("flush the trash"):
            durable.fsync(self._folder)
        return failed


def _removals(paths: list[Path]) -> Iterator[StemdError | None]:
    """Delete each of ``paths``; for each what kept it, or a part of it."""
    if len(paths) <= _HANDFUL:
        yield from map(_removal, paths)
        return
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="trash") as threads:
        yield from threads.map(_removal, paths)


def _removal(path: Path) -> StemdError | None:
    halt.check()
    try:
        _remove(path)
    except StemdError as error:
        return error
    return None


def _remove(path: Path) -> None:
    """Delete one thing, or as much of it as can be.

    Raises:
        StemdError: what kept the first part that is still there; the others are gone.
    """
    kept: list[BaseException] = []
    with durable.io_errors(f"remove {path.name!r}"), suppress(FileNotFoundError):
        if path.is_symlink() or not path.is_dir():
            path.unlink()
            return
        try:
            _open_up(path)
            shutil.rmtree(path, onerror=lambda _call, _path, info: kept.append(info[1]))
        except RecursionError:
            kept.append(OSError(errno.ENAMETOOLONG, "its folders are nested too deep"))
        for error in kept:
            if not isinstance(error, FileNotFoundError):
                raise error


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
    """Remove a folder if it is empty, and those around it that become so, up to but without ``above``; follows no
    link on the way from there."""
    *way, name = (above.name, *folder.relative_to(above).parts)
    while way:
        with beneath.folder(above.parent, way) as parent:
            if parent is None:
                return
            try:
                os.rmdir(name, dir_fd=parent)
            except OSError:
                return
        *way, name = way
