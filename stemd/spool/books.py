"""Where stemd keeps what must outlive jobs: the audit trail, the keys to its pseudonyms, who was erased, open orders.

One set of books for all spools of a configuration, in the state folder of the first; needs that spool's lock to write.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stemd.spool import durable

if TYPE_CHECKING:
    from stemd.core.config import Config


@dataclass(frozen=True, slots=True)
class Books:
    """The folder of the books; ``head`` lies apart from it, beside."""

    path: Path

    @classmethod
    def of(cls, config: Config) -> Books:
        """Several daemons may share a state folder: the spool is in the name."""
        root = config.spool[0]
        return cls(config.state_of(root) / f"books-{hashlib.sha256(os.fsencode(root)).hexdigest()[:12]}")

    @property
    def trail(self) -> Path:
        """The audit trail, in files by month."""
        return self.path / "trail"

    @property
    def head(self) -> Path:
        """How far the trail had come: what is missing at its end is missed."""
        return self.path.with_name(f"{self.path.name}.head")

    @property
    def base(self) -> Path:
        """Where the trail begins, once its oldest part has been pruned."""
        return self.path / "base.json"

    @property
    def keys(self) -> Path:
        return self.path / "keys"

    @property
    def told(self) -> Path:
        """What the trail was last told of the configuration, and of people's roles."""
        return self.path / "told.json"

    @property
    def untold(self) -> Path:
        """It is there while the daemon holds records in memory that the disk refuses."""
        return self.path / "untold"

    @property
    def erased(self) -> Path:
        """One empty file for each erased job, called like it."""
        return self.path / "erased"

    @property
    def orders(self) -> Path:
        """Erasures that are not done yet."""
        return self.path / "orders"

    @property
    def receipts(self) -> Path:
        return self.path / "receipts"

    @property
    def clock(self) -> Path:
        """What the clocks said at the last prune."""
        return self.path / "clock.json"

    def open(self) -> Books:
        """Make the folders; returns itself."""
        with durable.io_errors("make the folder of the audit trail"):
            self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            for folder in (self.path, self.trail, self.keys, self.erased, self.orders, self.receipts):
                folder.mkdir(mode=0o700, exist_ok=True)
        for folder in (self.path, self.path.parent):
            durable.fsync(folder)
        return self


def bury(books: Books, jobs: list[str]) -> None:
    """Tombstones: these jobs never come back. On the disk on return."""
    with durable.io_errors("write a tombstone"):
        for job in jobs:
            (books.erased / job).touch(0o600)
    durable.fsync(books.erased)


def is_buried(books: Books, job: str) -> bool:
    """Whether the job was erased; an id that is no name of a file is none that was."""
    return tombstones(books)(job)


def tombstones(books: Books) -> Callable[[str], bool]:
    """``is_buried`` for many jobs."""
    folder = os.fspath(books.erased)
    return lambda job: bool(job) and "/" not in job and job not in {".", ".."} and os.path.lexists(f"{folder}/{job}")
