"""What root does to a spool is done as the service would do it, whose the spool is."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def as_owner(root: Path) -> Iterator[None]:
    """Root is the owner of the folder ``root``, in his groups and the folder's, for the block: what is made there is
    his, what he may not do fails."""
    owner = root.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        yield
        return
    group, groups = os.getegid(), os.getgroups()
    os.setgroups(_groups(owner.st_uid))
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def _groups(uid: int) -> list[int]:
    """The groups of a user; none of one whom the system does not know."""
    try:
        known = pwd.getpwuid(uid)
    except KeyError:
        return []
    return os.getgrouplist(known.pw_name, known.pw_gid)
