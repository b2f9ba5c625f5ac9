"""What a disk may hold after a power cut: a model of a file system that owes nothing beyond what was flushed; pure.

Each change since the last flush of what it belongs to may be on the disk or not, in any combination, whatever the
order in which the changes were made:

- a file's content is what it was at its last fsync, or the content now, or a part of it, or zeros of its length;
- a change of a directory's entries (create, link, unlink, mkdir, rmdir) is there or not until that directory is
  fsynced; the fsync of a new file does not make its name durable;
- a rename of a file is absent, half there (both names) or done. Its two halves become durable with the two
  directories. The name at neither end exists only where a program asks for it: by flushing the directory it left
  before the one it went to;
- a rename of a directory is absent or done, never half: a folder with two parents is what no file system in use
  makes (the ones with a journal rename in one transaction; a check repairs the others before they are mounted).

POSIX promises little more. Journaling file systems keep the order of such changes, and so hide missing flushes.
"""

from __future__ import annotations

import itertools
import math
import os
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tests.crash.trace import (
    Copy,
    Failed,
    Fsync,
    Link,
    Mark,
    Mkdir,
    Open,
    Operation,
    Rename,
    Rmdir,
    Truncate,
    Unlink,
    Write,
)

#: A state of the disk: path to inode number and content, ``None`` for a folder; in order, the root left out.
Tree = tuple[tuple[str, int, bytes | None], ...]

_ROOT = 0


@dataclass(slots=True)
class File:
    data: bytes = b""
    flushed: bytes = b""


@dataclass(slots=True)
class Folder:
    """Entries (name to inode number) as programs see them, and as they are on the disk for certain."""

    names: dict[str, int] = field(default_factory=dict)
    flushed: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Half:
    """One entry added to a folder, or removed from it."""

    folder: int
    name: str
    inode: int
    added: bool

    def apply(self, names: dict[str, int]) -> None:
        if self.added:
            names[self.name] = self.inode
        elif names.get(self.name) == self.inode:
            del names[self.name]


@dataclass(slots=True)
class Change:
    """One call's halves that may not be on the disk yet. ``certain`` ones are, but come after others that may not."""

    halves: tuple[Half, ...]
    folder: bool = False
    certain: bool = False

    def choices(self) -> list[tuple[Half, ...]]:
        """What may be on the disk: nothing first, everything last."""
        if self.certain:
            return [self.halves]
        if len(self.halves) == 2 and not self.folder:
            return [(), self.halves[:1], self.halves]
        return [(), self.halves]


class Disk:
    """The model. Apply operations, then ask for the states a power cut could leave now."""

    def __init__(self) -> None:
        self._inodes: list[File | Folder] = [Folder()]
        self._pending: list[Change] = []

    @classmethod
    def load(cls, root: Path) -> Disk:
        """A disk that holds what is below ``root``, all of it flushed."""
        disk = cls()
        for folder, folders, files in os.walk(root):
            inside = Path(folder).relative_to(root)
            for name in folders:
                disk.apply(Mkdir(str(inside / name)))
            for name in files:
                disk._new(str(inside / name), File(data := Path(folder, name).read_bytes(), data))
        for inode in disk._inodes:
            if isinstance(inode, Folder):
                inode.flushed = dict(inode.names)
        disk._pending.clear()
        return disk

    def _folder(self, path: PurePosixPath) -> tuple[int, Folder]:
        number = _ROOT
        for part in path.parts:
            folder = self._inodes[number]
            assert isinstance(folder, Folder)
            number = folder.names[part]
        found = self._inodes[number]
        assert isinstance(found, Folder), path
        return number, found

    def _entry(self, path: str) -> tuple[int, Folder, str]:
        pure = PurePosixPath(path)
        return *self._folder(pure.parent), pure.name

    def _number(self, path: str) -> int | None:
        if path == ".":
            return _ROOT
        _, folder, name = self._entry(path)
        return folder.names.get(name)

    def _file(self, path: str) -> File:
        number = self._number(path)
        assert number is not None, path
        file = self._inodes[number]
        assert isinstance(file, File), path
        return file

    def _change(self, *halves: Half, folder: bool = False) -> None:
        for half in halves:
            place = self._inodes[half.folder]
            assert isinstance(place, Folder)
            half.apply(place.names)
        self._pending.append(Change(halves, folder))

    def _new(self, path: str, inode: File | Folder) -> None:
        number, _, name = self._entry(path)
        self._inodes.append(inode)
        self._change(Half(number, name, len(self._inodes) - 1, added=True))

    def _removal(self, path: str) -> Half:
        number, folder, name = self._entry(path)
        return Half(number, name, folder.names[name], added=False)

    def _addition(self, path: str, inode: int) -> Half:
        number, _, name = self._entry(path)
        return Half(number, name, inode, added=True)

    def apply(self, operation: Operation) -> bool:
        """Do one operation; whether it changed what may be on the disk."""
        match operation:
            case Mark() | Failed():
                return False
            case Open():
                return self._open(operation)
            case Write(path, offset, data):
                self._write(self._file(path), offset, data)
            case Copy(path, offset, source, start, size):
                self._write(self._file(path), offset, self._file(source).data[start : start + size])
            case Truncate(path, size):
                file = self._file(path)
                file.data = file.data[:size].ljust(size, b"\0")
            case Mkdir(path):
                self._new(path, Folder())
            case Unlink(path) | Rmdir(path):
                self._change(self._removal(path))
            case Link(source, target):
                number = self._number(source)
                assert number is not None
                self._change(self._addition(target, number))
            case Rename(source, target):
                removal = self._removal(source)
                if self._number(target) == removal.inode:  # two names of one file: rename(2) does nothing
                    return False
                folder = isinstance(self._inodes[removal.inode], Folder)
                self._change(self._addition(target, removal.inode), removal, folder=folder)
            case Fsync(path):
                self._fsync(path)
        return True

    def _open(self, operation: Open) -> bool:
        if not operation.writes:
            return False
        number = self._number(operation.path)
        if number is None:
            self._new(operation.path, File())
            return True
        file = self._inodes[number]
        if "O_TRUNC" not in operation.flags or not isinstance(file, File) or not file.data:
            return False
        file.data = b""
        return True

    @staticmethod
    def _write(file: File, offset: int | None, data: bytes) -> None:
        start = len(file.data) if offset is None else offset
        file.data = file.data[:start].ljust(start, b"\0") + data + file.data[start + len(data) :]

    def _fsync(self, path: str) -> None:
        if path.startswith("/"):  # a file that has no name any more
            return
        number = self._number(path)
        assert number is not None, path
        inode = self._inodes[number]
        if isinstance(inode, File):
            inode.flushed = inode.data
            return
        inode.flushed = dict(inode.names)
        for change in self._pending:
            rest = tuple(half for half in change.halves if half.folder != number)
            if change.folder and any(half.added for half in change.halves if half.folder == number):
                change.certain = True
            change.halves = rest
        self._pending = [change for change in self._pending if change.halves]

    def _reachable(self) -> tuple[list[Change], list[int]]:
        """The changes and the files that can make a difference: in no folder that is gone for certain."""
        seen, todo = {_ROOT}, [_ROOT]
        while todo:
            number = todo.pop()
            inode = self._inodes[number]
            if not isinstance(inode, Folder):
                continue
            added = [half.inode for change in self._pending for half in change.halves if half.folder == number]
            for child in {*inode.flushed.values(), *added} - seen:
                seen.add(child)
                todo.append(child)
        changes = [change for change in self._pending if any(half.folder in seen for half in change.halves)]
        return changes, sorted(seen)

    def states(self, most: int, chance: random.Random) -> Iterator[Tree]:
        """What a power cut could leave now; every combination up to ``most``, else the telling ones and a sample.

        The telling ones: everything, nothing, each single change alone, each one missing.
        """
        changes, reachable = self._reachable()
        files = [(number, file) for number in reachable if isinstance(file := self._inodes[number], File)]
        dirty = [(number, _contents(file)) for number, file in files if file.data != file.flushed]
        sizes = [*(len(change.choices()) for change in changes), *(len(contents) for _, contents in dirty)]
        for picks in _combinations(sizes, most, chance):
            halves = [half for change, pick in zip(changes, picks, strict=False) for half in change.choices()[pick]]
            content = {number: file.flushed for number, file in files}
            content |= {
                number: contents[pick] for (number, contents), pick in zip(dirty, picks[len(changes) :], strict=True)
            }
            tree = self._tree(halves, content)
            if tree is not None:
                yield tree

    def now(self) -> Tree:
        """What programs see."""
        content = {number: inode.data for number, inode in enumerate(self._inodes) if isinstance(inode, File)}
        names = {number: inode.names for number, inode in enumerate(self._inodes) if isinstance(inode, Folder)}
        tree = _walk(names, content)
        assert tree is not None
        return tree

    def _tree(self, halves: Iterable[Half], content: dict[int, bytes]) -> Tree | None:
        folders = {
            number: dict(inode.flushed) for number, inode in enumerate(self._inodes) if isinstance(inode, Folder)
        }
        for half in halves:
            half.apply(folders[half.folder])
        return _walk(folders, content)


def _contents(file: File) -> list[bytes]:
    """What may be in a file that was not flushed: as flushed last, a part, zeros, everything."""
    old, new = file.flushed, file.data
    between = []
    if len(new) > len(old) + 1 and new.startswith(old):
        between = [new[: (len(old) + len(new)) // 2], old.ljust(len(new), b"\0")]
    return [old, *between, new]


def _combinations(sizes: list[int], most: int, chance: random.Random) -> Iterator[tuple[int, ...]]:
    if math.prod(sizes) <= most:
        yield from itertools.product(*(range(size) for size in sizes))
        return
    nothing, everything = tuple(0 for _ in sizes), tuple(size - 1 for size in sizes)
    yield from (nothing, everything)
    for index, size in enumerate(sizes):
        for pick in range(size):
            yield (*nothing[:index], pick, *nothing[index + 1 :])
            yield (*everything[:index], pick, *everything[index + 1 :])
    for _ in range(most):
        yield tuple(chance.randrange(size) for size in sizes)


def _walk(folders: dict[int, dict[str, int]], content: dict[int, bytes]) -> Tree | None:
    """The tree below the root; ``None`` where a folder would have two names, which is no state of a disk."""
    found: list[tuple[str, int, bytes | None]] = []
    seen: set[int] = set()
    todo = [(_ROOT, "")]
    while todo:
        number, prefix = todo.pop()
        if number in seen:
            return None
        seen.add(number)
        for name, child in folders[number].items():
            found.append((prefix + name, child, content.get(child)))
            if child in folders:
                todo.append((child, f"{prefix}{name}/"))
    return tuple(sorted(found))


def materialise(tree: Tree, root: Path) -> None:
    """Make the state real below ``root``; two names of one inode become hard links."""
    first: dict[int, Path] = {}
    for path, inode, content in tree:
        place = root / path
        if content is None:
            place.mkdir()
        elif inode in first:
            os.link(first[inode], place)
        else:
            place.write_bytes(content)
            first[inode] = place
