"""After an erasure: a search of everything that is kept for who was erased. Looks, changes nothing."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from stemd.core.config import Config
from stemd.core.job import printable
from stemd.spool.books import Books
from stemd.spool.ignore import AUDIO_SUFFIXES

#: Of a long recording so much is read from its beginning and from its end, where tags stand; all else is read whole.
_EDGE = 1 << 20
#: Read at once, and kept of what was read before: longer than anything that is sought.
_BLOCK, _OVERLAP = 1 << 20, 4096
#: What may stand beside a user's name without making it another one.
_WORD = rb"[0-9A-Za-z_.@+-]"


@dataclass(frozen=True, slots=True)
class Secrets:
    """What must not be found: a user, names and hashes of recordings. ``jobs`` are those that were erased."""

    user: str | None
    names: frozenset[str]
    hashes: frozenset[str]
    jobs: frozenset[str]


def search(config: Config, books: Books, secrets: Secrets, order: str = "") -> list[str]:
    """Where any of it is found, but in the ``order`` that is being carried out.

    Names of files are sought in the state folders only: others may have the same.
    """
    patterns, of_names = list(_patterns(secrets)), list(_of_names(secrets))
    states = {config.state_of(root) for root in config.spool}
    tops = set(config.spool) | states
    own = {f"users.{secrets.user}", f"inbox/{secrets.user}"} if secrets.user in config.users else set()
    hits: list[str] = []
    for top in sorted(top for top in tops if not any(other in top.parents for other in tops)):
        for path in _everything(top):
            if order and path == books.orders / f"{order}.json":
                continue
            shown = str(path.relative_to(top))
            if shown in own:
                continue  # the door of a user whom the configuration still names
            sought = patterns + of_names * any(state in path.parents for state in states)
            if _holds(path, sought):
                hits.append(printable(shown))
    return hits


def _patterns(secrets: Secrets) -> Iterator[re.Pattern[bytes]]:
    for digest in secrets.hashes:
        yield re.compile(re.escape(digest.encode()))
    if secrets.user is not None:
        user = re.escape(secrets.user.encode())
        yield re.compile(rb"(?<!" + _WORD + rb")" + user + rb"(?!" + _WORD + rb")")


def _of_names(secrets: Secrets) -> Iterator[re.Pattern[bytes]]:
    for name in secrets.names:
        yield re.compile(rb"[\"'/]" + re.escape(os.fsencode(name)) + rb"[\"'/]")


def _everything(top: Path) -> Iterator[Path]:
    """All below it, however deep: ``os.walk`` calls itself for each level."""
    open_ones = [os.fspath(top)]
    while open_ones:
        with suppress(OSError), os.scandir(open_ones.pop()) as entries:
            for entry in entries:
                yield Path(entry.path)
                if entry.is_dir(follow_symlinks=False):
                    open_ones.append(entry.path)


def _holds(path: Path, patterns: list[re.Pattern[bytes]]) -> bool:
    """Whether its name or its content says one of them."""
    if any(pattern.search(os.fsencode(path.name)) for pattern in patterns):
        return True
    if path.is_symlink() or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if path.suffix.lower() not in AUDIO_SUFFIXES or size <= 2 * _EDGE:
                return _says(file, patterns)
            if _says(io.BytesIO(file.read(_EDGE)), patterns):
                return True
            file.seek(size - _EDGE)
            return _says(file, patterns)
    except OSError:
        return False


def _says(file: BinaryIO, patterns: list[re.Pattern[bytes]]) -> bool:
    """Whether one of them stands anywhere in ``file``: block by block, each with the end of the one before it.

    A find at the edge of a window counts only where the file ends there too: what stands beside it is not seen yet, or
    no more, and it lies inside the window before or after.
    """
    window, first = b"", True
    while True:
        block = file.read(_BLOCK)
        first, window = first and not window, window[-_OVERLAP:] + block
        for pattern in patterns:
            for match in pattern.finditer(window):
                if (first or match.start() > 0) and (not block or match.end() < len(window)):
                    return True
        if not block:
            return False
