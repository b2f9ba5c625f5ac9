"""A spool that was moved: what is kept for it in its state folder is named after its root, and follows it.

A state folder may be that of several spools, so their roots are in the names (``books-KEY``). Beside it stands where
each of them was last: ``spool-KEY.json``. A root of another name with the same marker is the same spool, unless the one
it was at is still there: then it is a copy, and begins anew.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from stemd.core.job import SCHEMA_VERSION
from stemd.spool import durable
from stemd.spool.layout import Spool, key_of


def follow(state: Path, spool: Spool) -> Path | None:
    """Give what was kept for the spool its new name, and note where it is now; where it was, if that is elsewhere.

    For who has its lock, before anything there is read. May be interrupted and repeated.

    Raises:
        StemdError: the disk failed.
    """
    marker = (durable.read_json(spool.marker) or {}).get("id")
    if not isinstance(marker, str):
        return None
    with durable.io_errors("make the state folder"):
        state.mkdir(mode=0o750, parents=True, exist_ok=True)
    own = _note(state, spool.root)
    before = None
    if not own.exists():
        before = _before(state, spool, marker)
        if before is not None:
            _rename(state, key_of(before), key_of(spool.root))
    if (durable.read_json(own) or {}).get("id") != marker:
        durable.write_json(own, {"schema_version": SCHEMA_VERSION, "id": marker, "root": os.fspath(spool.root)})
    if before is not None:
        _note(state, before).unlink(missing_ok=True)
        durable.fsync(state)
    return before


def named_after(state: Path, spool: Spool) -> Path:
    """The root that what is kept for the spool is named after: where it was last, until ``follow``. Changes nothing."""
    marker = (durable.read_json(spool.marker) or {}).get("id")
    if not isinstance(marker, str) or _note(state, spool.root).exists():
        return spool.root
    return _before(state, spool, marker) or spool.root


def _note(state: Path, root: Path) -> Path:
    return state / f"spool-{key_of(root)}.json"


def _before(state: Path, spool: Spool, marker: str) -> Path | None:
    """The root that the spool had when it was last here."""
    for path in sorted(state.glob("spool-*.json")):
        note = durable.read_json(path) or {}
        if note.get("id") == marker and isinstance(note.get("root"), str):
            root = Path(note["root"])
            if _is_here(root, spool) or (durable.read_json(Spool(root).marker) or {}).get("id") != marker:
                return root
    return None


def _is_here(root: Path, spool: Spool) -> bool:
    """Whether it is the same folder by another name."""
    try:
        return root.samefile(spool.root)
    except OSError:
        return False


def _rename(state: Path, before: str, now: str) -> None:
    """All that has the one key in its name gets the other; what is there by the new name already stays."""
    for path in sorted(state.iterdir()):
        if re.fullmatch(rf"(books|intents|usage)-{before}(\..+)?", path.name):
            try:
                durable.rename(path, path.with_name(path.name.replace(before, now, 1)))
            except FileExistsError:
                continue
    durable.fsync(state)
