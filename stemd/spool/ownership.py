"""Whose a dropped entry is, as its file tells: what the inbox leaves open is decided by the owner of the file.

Nobody but root can give a file away (chown(2)), so an owner is not forged. A second name is no evidence, though: who
may write to a file can link it (``fs.protected_hardlinks``), and its owner has dropped nothing.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from stemd.core.access import owner_by_uid
from stemd.core.job import decode_name
from stemd.core.request import presumed_user
from stemd.spool import durable

if TYPE_CHECKING:
    from stemd.core.config import Config
    from stemd.spool.layout import WorkDir


def dropper(config: Config, path: Path) -> str | None:
    """The configured user who owns a file or folder; ``None``: nobody known, or it cannot be told."""
    try:
        facts = path.lstat()
    except OSError:
        return None
    if stat.S_ISREG(facts.st_mode) and facts.st_nlink > 1:
        return None
    return owner_by_uid(config, facts.st_uid, os.geteuid())


def of_entry(config: Config, inbox: str | None, path: Path) -> str | None:
    """Whose an entry is that lies in ``inbox``; ``None`` where only its own description says so."""
    if config.inbox(inbox).trust == "manifest":
        return None
    return presumed_user(config, inbox, dropper(config, path))


def of_claimed(config: Config, work: WorkDir) -> str:
    """Whose a claimed entry is as long as it has not been sealed."""
    origin = durable.read_json(work.origin) or {}
    if user := origin.get("user_id"):
        return str(user)
    owner = origin.get("dropper")
    if owner is None and "name" in origin:
        owner = dropper(config, work.src / decode_name(origin["name"]))
    return presumed_user(config, origin.get("inbox"), owner)
