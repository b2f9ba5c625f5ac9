"""What of a configuration that is read again counts at once, and what only after a restart."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from stemd.core.config import Config, Loaded
from stemd.core.errors import StemdError
from stemd.daemon.canary import with_canary
from stemd.daemon.scanner import door_names
from stemd.spool import probes
from stemd.spool.layout import Spool

#: What was opened by these at the start stays open: locks, the port, cgroups, books, the log.
FIXED = ("spool", "http", "paths", "governor", "log")


def in_force(running: Config, read: Config) -> tuple[Config, list[str]]:
    """``read``, with the fixed sections as they are ``running``; and the names of those that it would change.

    By half they must not count: who is erased in the spools of the file is not in those that the daemon holds.
    """
    changed = [key for key in FIXED if getattr(read, key) != getattr(running, key)]
    return read.model_copy(update={key: getattr(running, key) for key in changed}), changed


def read_again(running: Config, load: Callable[[], Loaded], spools: Iterable[Spool]) -> tuple[Config, list[str]]:
    """``in_force`` of what ``load`` gives, with its inboxes made; whatever goes wrong with it ends nothing that runs.

    Raises:
        StemdError: what is wrong with it, why a spool is not ready for it, or STEMD-X001: a bug.
    """
    try:
        config, changed = in_force(running, with_canary(load().config))
        for spool in spools:
            probes.prepare(spool, door_names(config))
    except StemdError:
        raise
    except Exception as error:
        raise StemdError("STEMD-X001", f"{type(error).__name__}: {error}") from error
    return config, changed
