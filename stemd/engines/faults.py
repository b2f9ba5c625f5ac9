"""What the operating system's errors mean for a separation, and what of an engine's it can live with."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stemd.core.errors import StemdError
from stemd.core.job import printable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class AnewError(StemdError):
    """What a track's numbers depend on has changed while it was separated: it has to be begun again, and may be."""

    def __init__(self, message: str) -> None:
        super().__init__("STEMD-E006", message)


class LostError(StemdError):
    """The engine cannot go on in this process; the job can, in another one."""

    def __init__(self, message: str) -> None:
        super().__init__("STEMD-E006", message)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` while ``path`` is written into STEMD-R003 (no room) or STEMD-S014 (anything else)."""
    try:
        yield
    except OSError as error:
        code = "STEMD-R003" if error.errno in _FULL else "STEMD-S014"
        message = f"{printable(path.name)}: {error.strerror or error}"
        raise StemdError(code, message, detail={"errno": error.errno}) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` while the source is read into STEMD-S008 (gone), STEMD-S006 (not ours) or STEMD-S014."""
    try:
        yield
    except FileNotFoundError as error:
        raise StemdError("STEMD-S008", f"{printable(path.name)} is gone") from error
    except PermissionError as error:
        raise StemdError("STEMD-S006", f"{printable(path.name)}: {error.strerror}") from error
    except OSError as error:
        raise StemdError("STEMD-S014", f"{printable(path.name)}: {error.strerror or error}") from error
