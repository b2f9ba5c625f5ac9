"""The keys to the audit trail's pseudonyms: one for each user and each job, in a file of its own.

Whoever has the key can tell whom a record is about, and that it is about the same subject as another. Once the key is
deleted nobody can, and not a byte of the trail had to change.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stemd.spool import durable

Kind = Literal["user", "job"]
#: Keys in memory.
_KEPT = 4096
#: A key's file shows by its time when it was last needed, to the day (seconds).
_TOUCH = 86_400.0


@dataclass(frozen=True, slots=True)
class _Key:
    secret: bytes
    touched: float


class Keyring:
    """The keys below ``folder``; safe from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._known: OrderedDict[Path, _Key] = OrderedDict()

    def pseudonym(self, kind: Kind, subject: str, text: str | None = None, *, make: bool = True) -> str | None:
        """What the trail says in place of ``text`` (or of the subject itself): 32 hexadecimal digits.

        ``None`` where there is no key and none is to be made.

        Raises:
            StemdError: the disk failed.
        """
        key = self._key(kind, subject, make)
        if key is None:
            return None
        content = f"{kind}\0{subject if text is None else text}".encode("utf-8", "surrogateescape")
        return hmac.new(key, content, hashlib.sha256).hexdigest()[:32]

    def erase(self, kind: Kind, subject: str) -> None:
        """Delete a key: what was said under it stays, and is about nobody."""
        path = self._path(kind, subject)
        with self._lock:
            self._known.pop(path, None)
            with durable.io_errors("delete a key"):
                path.unlink(missing_ok=True)
            if path.parent.is_dir():
                durable.fsync(path.parent)

    def prune(self, before: float) -> int:
        """Delete the keys that nothing was said under since ``before``; returns how many."""
        gone = 0
        for path in self._folder.glob("*/*"):
            with suppress(OSError):
                if path.stat().st_mtime < before:
                    path.unlink()
                    gone += 1
        return gone

    def _key(self, kind: Kind, subject: str, make: bool) -> bytes | None:
        path = self._path(kind, subject)
        with self._lock:
            key = self._known.get(path) or self._read(path) or (self._make(path) if make else None)
            if key is None:
                return None
            if time.time() - key.touched > _TOUCH:
                with suppress(OSError):
                    os.utime(path)
                key = _Key(key.secret, time.time())
            self._known[path] = key
            self._known.move_to_end(path)
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
            return key.secret

    def _read(self, path: Path) -> _Key | None:
        try:
            secret = bytes.fromhex(path.read_text())
            return _Key(secret, path.stat().st_mtime) if len(secret) == 32 else None
        except (OSError, ValueError):
            return None

    def _make(self, path: Path) -> _Key:
        with durable.io_errors("make a key"):
            path.parent.mkdir(mode=0o700, exist_ok=True)
        durable.write(path, os.urandom(32).hex().encode(), ready=lambda temporary: temporary.chmod(0o600))
        durable.fsync(self._folder)
        return _Key(bytes.fromhex(path.read_text()), time.time())

    def _path(self, kind: Kind, subject: str) -> Path:
        name = hashlib.sha256(f"{kind}\0{subject}".encode("utf-8", "surrogateescape")).hexdigest()
        return self._folder / name[:2] / name[2:42]
