"""After an erasure: a search of everything that is kept for who was erased. Looks, changes nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stemd.core.config import Config
from stemd.core.job import printable
from stemd.spool import halt, tag_places
from stemd.spool.books import Books
from stemd.spool.ignore import AUDIO_SUFFIXES
from stemd.spool.tag_places import Range

#: Read at once, and kept of what was read before: longer than anything that is sought.
_BLOCK, _OVERLAP = 1 << 20, 4096
#: What may stand beside a user's name without making it another one.
_WORD = rb"[0-9A-Za-z_.@+-]"
#: As what it may be written, and what it may stand beside then; ID3 is often in UTF-16.
_ENCODINGS = {"utf-8": _WORD, "utf-16-le": _WORD + rb"\0", "utf-16-be": rb"\0" + _WORD}
_DIGEST = 64
#: Hexadecimal digits, and all else.
_HEX = bytes(ord("x") if each in b"0123456789abcdef" else ord(" ") for each in range(256))


@dataclass(frozen=True, slots=True)
class Secrets:
    """What must not be found: a user, names and hashes of recordings. ``jobs`` are those that were erased."""

    user: str | None
    names: frozenset[str]
    hashes: frozenset[str]
    jobs: frozenset[str]


class _Sought:
    """The secrets as they are looked for in bytes: however many there are, by few looks."""

    def __init__(self, secrets: Secrets, *, names: bool) -> None:
        self._digests = frozenset(each.encode() for each in secrets.hashes)
        self._patterns: list[tuple[bytes, re.Pattern[bytes]]] = []
        if secrets.user is not None:
            for encoding, word in _ENCODINGS.items():
                user = secrets.user.encode(encoding)
                whole = rb"(?<!" + word + rb")" + re.escape(user) + rb"(?!" + word + rb")"
                self._patterns.append((user, re.compile(whole, re.DOTALL)))
        if names and secrets.names:
            any_name = b"|".join(re.escape(os.fsencode(name)) for name in sorted(secrets.names))
            self._patterns.append((b"", re.compile(rb"[\"'/](?:" + any_name + rb")[\"'/]")))

    def stands_in(self, window: bytes, *, first: bool, last: bool) -> bool:
        """A find at the edge of a window counts only where the text ends there too: what stands beside it is not seen
        yet, or no more, and it lies inside the window before or after."""
        if self._digests and self._digest_in(window):
            return True
        return any(
            (first or match.start() > 0) and (last or match.end() < len(window))
            for needle, pattern in self._patterns
            if needle in window  # much sooner said than where
            for match in pattern.finditer(window)
        )

    def _digest_in(self, window: bytes) -> bool:
        digits = window.translate(_HEX)
        at = digits.find(b"x" * _DIGEST)
        while at >= 0:
            if window[at : at + _DIGEST] in self._digests:
                return True
            at = digits.find(b"x" * _DIGEST, at + 1)
        return False


def search(config: Config, books: Books, secrets: Secrets, order: str = "") -> list[str]:
    """Where any of it is found, but in the ``order`` that is being carried out.

    Names of files are sought in the state folders only: others may have the same.
    """
    anywhere, in_state = _Sought(secrets, names=False), _Sought(secrets, names=True)
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
            if _holds(path, in_state if any(state in path.parents for state in states) else anywhere):
                hits.append(printable(shown))
    return hits


def _everything(top: Path) -> Iterator[Path]:
    """All below it, however deep: ``os.walk`` calls itself for each level."""
    open_ones = [os.fspath(top)]
    while open_ones:
        with suppress(OSError), os.scandir(open_ones.pop()) as entries:
            for entry in entries:
                yield Path(entry.path)
                if entry.is_dir(follow_symlinks=False):
                    open_ones.append(entry.path)


def _holds(path: Path, sought: _Sought) -> bool:
    """Whether its name or its content says one of them."""
    if sought.stands_in(os.fsencode(path.name), first=True, last=True):
        return True
    if path.is_symlink() or not path.is_file() or _is_samples(path):
        return False
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            audio = path.suffix.lower() in AUDIO_SUFFIXES
            passages = tag_places.passages(file.fileno(), size) if audio else None
            if passages is None:
                passages = [[(0, size)]]
            return any(_says(_blocks(file.fileno(), ranges), sought) for ranges in passages)
    except OSError:
        return False


def _is_samples(path: Path) -> bool:
    """What engines keep of unfinished stems: in sound a short name is found by chance."""
    return path.suffix == ".f32" and path.parent.name == "chunks"


def _blocks(file: int, ranges: Iterable[Range]) -> Iterator[bytes]:
    """What stands in the ranges, one after the other, in blocks."""
    for begin, end in ranges:
        for at in range(begin, end, _BLOCK):
            halt.check()
            yield os.pread(file, min(_BLOCK, end - at), at)


def _says(blocks: Iterator[bytes], sought: _Sought) -> bool:
    """Whether one of them stands anywhere in the text: block by block, each with the end of the one before it."""
    window, first, block = b"", True, next(blocks, b"")
    while block:
        window, following = window[-_OVERLAP:] + block, next(blocks, b"")
        if sought.stands_in(window, first=first, last=not following):
            return True
        first, block = first and len(window) <= _OVERLAP, following
    return False
