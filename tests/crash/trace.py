"""What a program really did to a spool: its system calls under strace, as a list of file operations.

strace prints strings and paths in hexadecimal (``-xx``) and resolves descriptors (``-y``), so that any name can be
read back. A call that changes files and is not understood here is an error, never passed over.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Open:
    """``path`` as it was asked for, ``resolved`` as the kernel found it; other paths than these do not differ."""

    path: str
    resolved: str
    flags: frozenset[str]

    @property
    def writes(self) -> bool:
        return bool(self.flags & {"O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"})


@dataclass(frozen=True, slots=True)
class Write:
    """``offset`` is ``None`` for an append."""

    path: str
    offset: int | None
    data: bytes


@dataclass(frozen=True, slots=True)
class Copy:
    """``size`` bytes moved from file to file by the kernel."""

    path: str
    offset: int | None
    source: str
    source_offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Truncate:
    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Rename:
    source: str
    target: str
    noreplace: bool


@dataclass(frozen=True, slots=True)
class Link:
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Unlink:
    path: str


@dataclass(frozen=True, slots=True)
class Mkdir:
    path: str


@dataclass(frozen=True, slots=True)
class Rmdir:
    path: str


@dataclass(frozen=True, slots=True)
class Fsync:
    path: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A write, flush or close that did not succeed."""

    call: str
    path: str


@dataclass(frozen=True, slots=True)
class Mark:
    """The program said where it is, by asking for a file below ``/step``."""

    name: str


Operation = Open | Write | Copy | Truncate | Rename | Link | Unlink | Mkdir | Rmdir | Fsync | Failed | Mark

MARKS = "/step/"
#: These change files in ways the model has no words for.
_REFUSED = (
    "openat2", "pwritev", "pwritev2", "fallocate", "mknod", "mknodat", "splice", "vmsplice", "tee", "sync", "syncfs",
    "sync_file_range", "io_uring_setup", "io_submit", "symlink", "symlinkat", "dup", "dup2", "dup3",
)  # fmt: skip
_LINE = re.compile(r"(?P<pid>\d+) +(?P<call>\w+)\((?P<args>.*)\) += (?P<result>.*)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_HELD = re.compile(r"/proc/self/fd/(\d+)(/.*)?")
_DESCRIPTOR = re.compile(r"(AT_FDCWD|\d+)(?:<((?:\\x[0-9a-f]{2})*)>(\(deleted\))?)?")


class UnknownCallError(Exception):
    """The trace holds a call that this reader does not understand."""


def record(command: Sequence[str], root: Path, log: Path, *, inject: str | None = None) -> list[Operation]:
    """Run a program under strace and return what it did to files below ``root``, paths relative to it.

    ``inject`` is an option of strace (such as ``fsync:error=EIO:when=3``). The program may fail then.

    Raises:
        UnknownCallError: something was done to files that has no ``Operation``.
        subprocess.CalledProcessError: the program failed although nothing was injected.
    """
    calls = ",".join(f"?{name}" for name in (*_READERS, *_REFUSED))
    options = ["-f", "--seccomp-bpf", "-y", "-xx", "-s", "10000000", "-e", f"trace={calls}", "-o", str(log)]
    if inject:
        options += ["-e", f"inject={inject}"]
    subprocess.run(["strace", *options, *command], check=inject is None, timeout=120)
    with log.open() as lines:
        return list(parse(lines, root))


def parse(lines: Iterator[str], root: Path) -> Iterator[Operation]:
    """Read strace's output."""
    reader = _Reader(str(root))
    for line in lines:
        if re.match(r"\d+ +(---|\+\+\+)", line):
            continue
        match = _LINE.match(line)
        if match is None:
            raise UnknownCallError(f"not a whole call (several threads?): {line[:200]}")
        yield from reader.read(match["pid"], match["call"], match["args"].split(", "), match["result"])


class _Reader:
    """Descriptors and their offsets while reading; everything else is in the lines themselves."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._offsets: dict[tuple[str, str], int | None] = {}
        self._opened_as: dict[str, str] = {}

    def read(self, pid: str, call: str, args: list[str], result: str) -> Iterator[Operation]:
        if call in _REFUSED:
            if any(self._root in _decoded(arg) for arg in args) or not any("\\x" in arg for arg in args):
                raise UnknownCallError(f"{call}({', '.join(map(_decoded, args))})")
            return
        if result.startswith("-1 ") and not call.endswith(("access", "accessat", "accessat2")):
            if call in {"fsync", "fdatasync", "close", "write", "pwrite64"} and self._inside(path := self._of(args[0])):
                yield Failed(call, path)
            return
        yield from (operation for operation in _READERS[call](self, pid, args, result) if self._ours(operation))

    def _ours(self, operation: Operation) -> bool:
        match operation:
            case Mark():
                return True
            case Open():
                return self._inside(operation.path) or self._inside(operation.resolved) or operation.writes
            case Link(source, target) if self._inside(source) and not self._inside(target):
                return False  # one more name, which no state of the root has
            case Rename() | Link():
                inside = {self._inside(operation.source), self._inside(operation.target)}
                if inside == {True, False}:
                    raise UnknownCallError(f"in or out of the root: {operation}")
                return inside == {True}
            case _:
                return self._inside(operation.path)

    @staticmethod
    def _inside(path: str) -> bool:
        return not path.startswith("/")

    def _relative(self, path: bytes) -> str:
        """Relative to the root (``.`` is the root itself), or absolute for what is outside it."""
        name = os.path.normpath(os.fsdecode(path))
        if not name.startswith("/"):
            raise UnknownCallError(f"a path relative to an unknown folder: {name}")
        held = _HELD.match(name)
        if held is not None and (place := self._opened_as.get(held[1])) is not None:
            return os.path.normpath(f"{place}{held[2] or ''}")  # in no test does a process use what another one holds
        inside = name == self._root or name.startswith(f"{self._root}/")
        return os.path.relpath(name, self._root) if inside else name

    def _of(self, descriptor: str) -> str:
        """The file behind a descriptor."""
        match = _DESCRIPTOR.match(descriptor)
        if match is None or match[2] is None:
            return "/nothing"
        return f"/deleted{os.fsdecode(_bytes(match[2]))}" if match[3] else self._relative(_bytes(match[2]))

    def _at(self, folder: str, path: str) -> str:
        """A path given together with the descriptor of the folder it starts from."""
        name = _text(path)
        if name.startswith(b"/"):
            return self._relative(name)
        match = _DESCRIPTOR.match(folder)
        if match is None or match[2] is None:
            raise UnknownCallError(f"{folder} {path}")
        return self._relative(_bytes(match[2]) + b"/" + name)

    def _opened(self, pid: str, path: str, flags: str, result: str) -> Iterator[Operation]:
        found = frozenset(flags.split("|"))
        self._offsets[pid, _number(result)] = None if "O_APPEND" in found else 0
        self._opened_as[_number(result)] = self._of(result)
        if "O_TMPFILE" in found:
            raise UnknownCallError("a file without a name")
        yield Open(path, self._of(result), found)

    def open(self, pid: str, args: list[str], result: str) -> Iterator[Operation]:
        yield from self._opened(pid, self._relative(_text(args[0])), args[1], result)

    def openat(self, pid: str, args: list[str], result: str) -> Iterator[Operation]:
        yield from self._opened(pid, self._at(args[0], args[1]), args[2], result)

    def creat(self, pid: str, args: list[str], result: str) -> Iterator[Operation]:
        yield from self._opened(pid, self._relative(_text(args[0])), "O_WRONLY|O_CREAT|O_TRUNC", result)

    def close(self, pid: str, args: list[str], result: str) -> Iterator[Operation]:
        self._offsets.pop((pid, _number(args[0])), None)
        yield from ()

    def lseek(self, pid: str, args: list[str], result: str) -> Iterator[Operation]:
        key = pid, _number(args[0])
        if self._offsets.get(key) is not None:
            self._offsets[key] = int(result)
        yield from ()

    def _advance(self, pid: str, descriptor: str, size: int) -> int | None:
        """Where a write began; the next one begins behind it."""
        key = pid, _number(descriptor)
        if key not in self._offsets:
            raise UnknownCallError(f"a write to a descriptor that nobody opened: {_decoded(descriptor)}")
        offset = self._offsets[key]
        if offset is not None:
            self._offsets[key] = offset + size
        return offset

    def write(self, pid: str, args: list[str], result: str) -> Iterator[Operation]:
        if self._inside(path := self._of(args[0])):
            size = int(result)
            yield Write(path, self._advance(pid, args[0], size), _text(args[1])[:size])

    def writev(self, pid: str, args: list[str], result: str) -> Iterator[Operation]:
        if self._inside(path := self._of(args[0])):
            data = b"".join(_bytes(match[1]) for arg in args for match in [_TEXT.search(arg)] if match)
            yield Write(path, self._advance(pid, args[0], int(result)), data[: int(result)])

    def pwrite64(self, pid: str, args: list[str], result: str) -> Iterator[Operation]:
        yield Write(self._of(args[0]), int(args[3]), _text(args[1])[: int(result)])

    def sendfile(self, pid: str, args: list[str], result: str) -> Iterator[Operation]:
        if self._inside(path := self._of(args[0])):
            start = re.match(r"\[(\d+)\]", args[2])
            if start is None:
                raise UnknownCallError("sendfile without an offset")
            if size := int(result):
                yield Copy(path, self._advance(pid, args[0], size), self._of(args[1]), int(start[1]), size)

    def copy_file_range(self, pid: str, args: list[str], result: str) -> Iterator[Operation]:
        if self._inside(path := self._of(args[2])):
            if args[1] != "NULL" or args[3] != "NULL":
                raise UnknownCallError("copy_file_range with offsets")
            if size := int(result):
                start = self._advance(pid, args[0], size)
                yield Copy(path, self._advance(pid, args[2], size), self._of(args[0]), start or 0, size)

    def truncate(self, pid: str, args: list[str], result: str) -> Iterator[Operation]:
        yield Truncate(self._relative(_text(args[0])), int(args[1]))

    def ftruncate(self, pid: str, args: list[str], result: str) -> Iterator[Operation]:
        yield Truncate(self._of(args[0]), int(args[1]))

    def rename(self, pid: str, args: list[str], result: str) -> Iterator[Operation]:
        yield Rename(self._relative(_text(args[0])), self._relative(_text(args[1])), noreplace=False)

    def renameat(self, pid: str, args: list[str], result: str) -> Iterator[Operation]:
        flags = args[4] if len(args) > 4 else "0"
        if flags not in {"0", "RENAME_NOREPLACE"}:
            raise UnknownCallError(f"a rename with {flags}")
        yield Rename(self._at(args[0], args[1]), self._at(args[2], args[3]), noreplace=flags != "0")

    def link(self, pid: str, args: list[str], result: str) -> Iterator[Operation]:
        yield Link(self._relative(_text(args[0])), self._relative(_text(args[1])))

    def linkat(self, pid: str, args: list[str], result: str) -> Iterator[Operation]:
        yield Link(self._at(args[0], args[1]), self._at(args[2], args[3]))

    def unlink(self, pid: str, args: list[str], result: str) -> Iterator[Operation]:
        yield Unlink(self._relative(_text(args[0])))

    def unlinkat(self, pid: str, args: list[str], result: str) -> Iterator[Operation]:
        path = self._at(args[0], args[1])
        yield Rmdir(path) if args[2] == "AT_REMOVEDIR" else Unlink(path)

    def mkdir(self, pid: str, args: list[str], result: str) -> Iterator[Operation]:
        yield Mkdir(self._relative(_text(args[0])))

    def mkdirat(self, pid: str, args: list[str], result: str) -> Iterator[Operation]:
        yield Mkdir(self._at(args[0], args[1]))

    def rmdir(self, pid: str, args: list[str], result: str) -> Iterator[Operation]:
        yield Rmdir(self._relative(_text(args[0])))

    def fsync(self, pid: str, args: list[str], result: str) -> Iterator[Operation]:
        yield Fsync(self._of(args[0]))

    def access(self, pid: str, args: list[str], result: str) -> Iterator[Operation]:
        """A mark: the only question about a file that says something."""
        path = os.fsdecode(next(_text(arg) for arg in args if arg.startswith('"')))
        if path.startswith(MARKS):
            yield Mark(path.removeprefix(MARKS))

    def mmap(self, pid: str, args: list[str], result: str) -> Iterator[Operation]:
        if "MAP_SHARED" in args[3] and "PROT_WRITE" in args[2] and self._inside(self._of(args[4])):
            raise UnknownCallError("a file is changed through memory")
        yield from ()

    def ioctl(self, pid: str, args: list[str], result: str) -> Iterator[Operation]:
        if args[1].startswith(("FICLONE", "FIDEDUPERANGE", "BTRFS")) and self._inside(self._of(args[0])):
            raise UnknownCallError(f"ioctl {args[1]}")
        yield from ()


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _text(argument: str) -> bytes:
    """A quoted argument."""
    match = _TEXT.search(argument)
    if match is None or match[2]:
        raise UnknownCallError(f"not a whole string: {argument[:200]}")
    return _bytes(match[1])


def _decoded(argument: str) -> str:
    """For messages, and for looking for a path anywhere in an argument."""
    return re.sub(r"(?:\\x[0-9a-f]{2})+", lambda match: os.fsdecode(_bytes(match[0])), argument)


def _number(descriptor: str) -> str:
    return descriptor.split("<", 1)[0]


_READERS: dict[str, Callable[[_Reader, str, list[str], str], Iterator[Operation]]] = {
    name: getattr(_Reader, name)
    for name in (
        "open", "openat", "creat", "close", "lseek", "write", "writev", "pwrite64", "sendfile", "copy_file_range",
        "truncate", "ftruncate", "rename", "renameat", "link", "linkat", "unlink", "unlinkat", "mkdir", "mkdirat",
        "rmdir", "fsync", "access", "mmap", "ioctl",
    )
}  # fmt: skip
_READERS |= {
    "renameat2": _Reader.renameat,
    "fdatasync": _Reader.fsync,
    "faccessat": _Reader.access,
    "faccessat2": _Reader.access,
}
