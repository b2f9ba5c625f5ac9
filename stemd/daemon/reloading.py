"""What of a configuration that is read again counts at once, and what only after a restart. Pure."""

from __future__ import annotations

from stemd.core.config import Config

#: What was opened by these at the start stays open: locks, the port, cgroups, books, the log.
FIXED = ("spool", "http", "paths", "governor", "log")


def in_force(running: Config, read: Config) -> tuple[Config, list[str]]:
    """``read``, with the fixed sections as they are ``running``; and the names of those that it would change.

    By half they must not count: who is erased in the spools of the file is not in those that the daemon holds.
    """
    changed = [key for key in FIXED if getattr(read, key) != getattr(running, key)]
    return read.model_copy(update={key: getattr(running, key) for key in changed}), changed
