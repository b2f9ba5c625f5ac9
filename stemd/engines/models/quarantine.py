"""Where damaged files go instead of being deleted at once: ``.quarantine/NAME.TIME/`` in the store, the last two."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

FOLDER = ".quarantine"
KEPT = 2
_WHY = "why.json"


def put(damaged: Path, store: Path, name: str, why: str) -> Path:
    """Move a file or a model's folder away, with the reason beside it; returns the folder it is in now."""
    folder = store / FOLDER
    folder.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    place = folder / f"{name}.{now:%Y%m%dT%H%M%S.%fZ}"
    if damaged.is_dir():
        damaged.rename(place)
    else:
        place.mkdir()
        damaged.rename(place / damaged.name.removesuffix(".part"))
    note = {"name": name, "at": now.isoformat(timespec="seconds"), "why": why}
    (place / _WHY).write_text(json.dumps(note, indent=2) + "\n")
    for old in held(store)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return place


def held(store: Path) -> list[Path]:
    """What is in quarantine, the oldest first."""
    folder = store / FOLDER
    found = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return sorted(found, key=lambda path: path.name.rsplit(".", 2)[1:])
