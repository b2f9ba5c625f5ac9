"""Exported networks on disk: each a folder that appears whole, is checked before use, and all of them bounded in size.

What is there can be deleted at any time: it is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

#: Bytes of all exports together; the one used longest ago goes first. One of htdemucs has 160 MiB.
MOST = 2 << 30
_LIST = "export.json"
_PART = ".part-"
#: Seconds after which what somebody was writing is what he left.
_LEFT = 86_400.0


class Kept:
    """The exports below ``folder``."""

    def __init__(self, folder: Path, most: int = MOST) -> None:
        self._folder, self._most = folder, most

    def get(self, key: Mapping[str, Any], write: Callable[[Path], None]) -> Path:
        """The folder of what ``key`` stands for; if there is none or it is damaged, ``write`` fills a new one.

        Raises:
            OSError: it cannot be kept.
            Exception: what ``write`` raises.
        """
        key = json.loads(json.dumps(dict(key)))
        place = self._folder / hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
        if _is_whole(place, key):
            with suppress(OSError):
                os.utime(place)
            return place
        self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=_PART, dir=self._folder))
        try:
            write(part)
            files = {path.name: _sha256(path) for path in sorted(part.iterdir())}
            (part / _LIST).write_text(json.dumps({"key": key, "files": files}, indent=1) + "\n")
            if not _is_whole(place, key):  # another worker may have been faster
                shutil.rmtree(place, ignore_errors=True)
                part.rename(place)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        self._bound(place)
        return place

    def _bound(self, newest: Path) -> None:
        """Delete what was left half written, and what is too much. Whoever has a file of it open keeps it."""
        now, found = time.time(), []
        for path in self._folder.iterdir():
            with suppress(OSError):
                when = path.stat().st_mtime
                if path.name.startswith(_PART):
                    if now - when > _LEFT:
                        shutil.rmtree(path, ignore_errors=True)
                elif path != newest:
                    found.append((when, _size(path), path))
        room = self._most - _size(newest)
        for _, size, path in sorted(found, reverse=True):
            room -= size
            if room < 0:
                shutil.rmtree(path, ignore_errors=True)


def _is_whole(place: Path, key: Mapping[str, Any]) -> bool:
    try:
        listed = json.loads((place / _LIST).read_text())
        return listed["key"] == key and all(_sha256(place / name) == sha for name, sha in listed["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _size(place: Path) -> int:
    return sum(path.stat().st_size for path in place.iterdir())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
