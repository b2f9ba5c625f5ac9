"""What the kernel keeps of a job's limits in the process itself: the size of a file."""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager

from stemd.core.errors import StemdError
from stemd.core.limits import disk_error


@contextmanager
def files_within(limit: int | None) -> Iterator[None]:
    """No file grows beyond ``limit`` bytes in the block (``RLIMIT_FSIZE``); an error for that reason says so.

    Only the soft limit is lowered, so it can be raised again. Python ignores SIGXFSZ: a write that goes beyond ends
    with EFBIG, which to whoever writes looks like a full disk.

    Raises:
        StemdError: STEMD-R007 instead of STEMD-R003.
    """
    if limit is None:
        yield
        return
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    lowered = limit if most == resource.RLIM_INFINITY else min(limit, most)
    resource.setrlimit(resource.RLIMIT_FSIZE, (lowered, most))
    try:
        yield
    except StemdError as error:
        if error.code == "STEMD-R003" and error.detail.get("errno") == errno.EFBIG:
            raise disk_error(limit) from error
        raise
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))
