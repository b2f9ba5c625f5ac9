"""What a person decided about entries that still lie in an inbox: to hold them back, or to cancel them once complete.

One file in the state folder, replaced atomically; entries are named by their path below ``inbox/``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from stemd.core.job import SCHEMA_VERSION, decode_name, encode_name
from stemd.spool import durable


class Intent(StrEnum):
    HOLD = "hold"
    CANCEL = "cancel"


def place(state: Path, root: Path) -> Path:
    """The file of the spool at ``root`` in the folder ``state``, which several spools may share."""
    return state / f"intents-{hashlib.sha256(os.fsencode(root)).hexdigest()[:12]}.json"


def read(file: Path) -> dict[str, Intent]:
    """The decisions in force; none where there is no file, or one that is not ours."""
    document = durable.read_json(file) or {}
    try:
        return {decode_name(each["name"]): Intent(each["intent"]) for each in document.get("entries", ())}
    except (KeyError, TypeError, ValueError):
        return {}


def write(file: Path, intents: Mapping[str, Intent]) -> None:
    """Replace the decisions; without any the file goes."""
    with durable.io_errors("note what was decided"):
        if not intents:
            file.unlink(missing_ok=True)
            return
        file.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    entries = [{"name": encode_name(name), "intent": intent.value} for name, intent in sorted(intents.items())]
    durable.write_json(file, {"schema_version": SCHEMA_VERSION, "entries": entries})


def decide(file: Path, name: str, intent: Intent | None) -> None:
    """Set or (``None``) withdraw the decision about one entry."""
    intents = read(file)
    if intent is None:
        intents.pop(name, None)
    else:
        intents[name] = intent
    write(file, intents)
