"""What a person decided about entries that still lie in an inbox: to hold them back, or to cancel them once complete.

One file in the state folder, replaced atomically; entries are named by their path below ``inbox/``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from stemd.core.job import SCHEMA_VERSION, decode_name, encode_name
from stemd.spool import durable
from stemd.spool.layout import key_of

if TYPE_CHECKING:
    from stemd.core.config import Config

#: Held while they are changed: the daemon's loop decides, its thread that deletes forgets.
_changing = threading.Lock()


class Intent(StrEnum):
    HOLD = "hold"
    CANCEL = "cancel"


def place(state: Path, root: Path) -> Path:
    """The file of the spool at ``root`` in the folder ``state``, which several spools may share."""
    return state / f"intents-{key_of(root)}.json"


def read(file: Path) -> dict[str, Intent]:
    """The decisions in force; none where there is no file, or one that is not ours."""
    document = durable.read_json(file) or {}
    try:
        return {decode_name(each["name"]): Intent(each["intent"]) for each in document.get("entries", ())}
    except (KeyError, TypeError, ValueError):
        return {}


def write(file: Path, intents: Mapping[str, Intent]) -> None:
    """Replace the decisions; without any the file goes."""
    with _changing:
        _write(file, intents)


def _write(file: Path, intents: Mapping[str, Intent]) -> None:
    with durable.io_errors("note what was decided"):
        if not intents:
            file.unlink(missing_ok=True)
            return
        file.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    entries = [{"name": encode_name(name), "intent": intent.value} for name, intent in sorted(intents.items())]
    durable.write_json(file, {"schema_version": SCHEMA_VERSION, "entries": entries})


def decide(file: Path, name: str, intent: Intent | None) -> None:
    """Set or (``None``) withdraw the decision about one entry."""
    with _changing:
        intents = read(file)
        if intent is None:
            intents.pop(name, None)
        else:
            intents[name] = intent
        _write(file, intents)


def erase(config: Config, user: str | None, jobs: frozenset[str]) -> int:
    """Forget what was decided about entries that are not there any more, whoever's they were; says how many."""
    gone = 0
    for root in config.spool:
        file = place(config.state_of(root), root)
        with _changing:
            known = read(file)
            kept = {name: intent for name, intent in known.items() if os.path.lexists(root / "inbox" / name)}
            if len(kept) < len(known):
                _write(file, kept)
                gone += len(known) - len(kept)
    return gone
