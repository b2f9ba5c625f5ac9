"""Where stemd keeps what must outlive jobs: the audit trail, the keys to its pseudonyms, who was erased, open orders.

One set of books for all spools of a configuration, made in the state folder of the first and found again in that of
any, so that their order does not matter; whoever writes needs that spool's lock (the daemon has all).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stemd.spool import durable, moved
from stemd.spool.layout import Spool, key_of

if TYPE_CHECKING:
    from stemd.core.config import Config


@dataclass(frozen=True, slots=True)
class Books:
    """The folder of the books; ``head`` lies apart from it, beside.

    Of ``others`` nothing is lost: who is erased in them is erased, their open orders are taken over, and an erasure
    deletes keys there too. Their trails are written no more, and verified.
    """

    path: Path
    others: tuple[Books, ...] = field(default=(), compare=False)

    @classmethod
    def of(cls, config: Config) -> Books:
        """The books of this configuration, whether they are there yet or not: of the first spool that has any.

        Others that there are, from when a spool was alone (``--spool``, or a daemon of its own), are heeded with them.
        """
        return cls._first([cls._place(config.state_of(root), root) for root in config.spool])

    @classmethod
    def seen(cls, config: Config) -> Books:
        """As ``of``, for who only looks: also those of a spool that was moved, which nothing has followed yet."""
        own = []
        for root in config.spool:
            state = config.state_of(root)
            here, before = cls._place(state, root), cls._place(state, moved.named_after(state, Spool(root)))
            own.append(here if here.path.is_dir() else before)
        return cls._first(own)

    @classmethod
    def _first(cls, own: list[Books]) -> Books:
        there = [books for books in own if books.path.is_dir()] if len(own) > 1 else own
        return replace((there or own)[0], others=tuple(there[1:]))

    @classmethod
    def _place(cls, state: Path, root: Path) -> Books:
        """Several daemons may share a state folder: the spool is in the name."""
        return cls(state / f"books-{key_of(root)}")

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
        for folder in (self.path, self.path.parent, *self._around()):
            durable.fsync(folder)
        for other in self.others:
            self._take_orders(other)
        return self

    def _around(self) -> list[Path]:
        """The folder in which the state folder may have been made: not across a mount, nor where it is not ours to
        read."""
        above = self.path.parent.parent
        same = above.stat().st_dev == self.path.parent.stat().st_dev
        return [above] if same and os.access(above, os.R_OK) else []

    def _take_orders(self, other: Books) -> None:
        """Orders are carried out by one. After a crash in between there are two of one, which does no harm."""
        for path in sorted(other.orders.glob("[!.]*.json")):
            durable.write(self.orders / path.name, path.read_bytes(), ready=lambda copy: copy.chmod(0o600))
            path.unlink(missing_ok=True)
            durable.fsync(other.orders)


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
    folders = [os.fspath(each.erased) for each in (books, *books.others)]
    return lambda job: (
        bool(job)
        and "/" not in job
        and job not in {".", ".."}
        and any(os.path.lexists(f"{folder}/{job}") for folder in folders)
    )
