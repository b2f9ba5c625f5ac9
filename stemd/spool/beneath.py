"""Reading where others can write: nothing below a folder leads out of it, whatever they put there and whenever."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def folder(root: Path, parts: Sequence[str]) -> Iterator[int | None]:
    """The folder ``root/PART/PART…`` as a descriptor; ``None`` where it is not there or a part of the way is a link.

    Each part is opened beneath the one before it, so that nothing can be exchanged on the way.
    """
    held = _descend(root, parts)
    try:
        yield held
    finally:
        if held is not None:
            os.close(held)


def _descend(root: Path, parts: Sequence[str]) -> int | None:
    held: int | None = None
    try:
        held = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in parts:
            _check(part)
            outer, held = held, os.open(part, _FOLDER, dir_fd=held)
            os.close(outer)
    except (OSError, ValueError):
        if held is not None:
            os.close(held)
        return None
    return held


def regular(parent: int, name: str) -> int | None:
    """The regular file ``name`` in the open folder ``parent``, as a descriptor to close; ``None``: there is none."""
    try:
        _check(name)
        descriptor = os.open(name, _FILE, dir_fd=parent)
    except (OSError, ValueError):
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def read(parent: int, name: str, most: int, *, tail: bool = False) -> bytes | None:
    """The first (or last, ``tail``) ``most`` bytes of a regular file; ``None``: there is none."""
    descriptor = regular(parent, name)
    if descriptor is None:
        return None
    with os.fdopen(descriptor, "rb") as file:
        if tail:
            file.seek(max(0, os.fstat(descriptor).st_size - most))
        return file.read(most)


def _check(name: str) -> None:
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        raise ValueError(f"{name!r} is no name")
