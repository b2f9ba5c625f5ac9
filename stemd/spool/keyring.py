"""The keys to the audit trail's pseudonyms: one for each user and each job, in a file of its own.

Whoever has the key can tell whom a record is about, and that it is about the same subject as another. Once the key is
deleted nobody can, and not a byte of the trail had to change.

A job's key notes whose job it is (by the name of the user's key, which is a hash): who erases a user erases them all,
also of jobs that are long gone from the spool.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, replace
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
    owner: str = ""


class Keyring:
    """The keys below ``folder``; safe from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._known: OrderedDict[Path, _Key] = OrderedDict()
        #: The folders of keys whose own names this process has flushed.
        self._homes: set[Path] = set()

    def pseudonym(
        self, kind: Kind, subject: str, text: str | None = None, *, owner: str | None = None, make: bool = True
    ) -> str | None:
        """What the trail says in place of ``text`` (or of the subject itself): 32 hexadecimal digits.

        ``owner`` is whose job it is, where that is known; it may become known, or change, later. ``None`` where there
        is no key and none is to be made.

        Raises:
            StemdError: the disk failed.
        """
        key = self._key(kind, subject, owner, make)
        if key is None:
            return None
        content = f"{kind}\0{subject if text is None else text}".encode("utf-8", "surrogateescape")
        return hmac.new(key, content, hashlib.sha256).hexdigest()[:32]

    def erase(self, kind: Kind, subject: str) -> None:
        """Delete a key, of a user also those of his jobs: what was said under them stays, and is about nobody."""
        path = self._path(kind, subject)
        with self._lock:
            for each in [*(self._owned(_name("user", subject)) if kind == "user" else ()), path]:
                self._known.pop(each, None)
                with durable.io_errors("delete a key"):
                    each.unlink(missing_ok=True)
                if each.parent.is_dir() and (each == path or each.parent != path.parent):
                    durable.fsync(each.parent)

    def _owned(self, owner: str) -> list[Path]:
        """The keys of the owner's jobs."""
        return [
            path for path in self._folder.glob("*/*") if (key := self._read(path)) is not None and key.owner == owner
        ]

    def prune(self, before: float) -> int:
        """Delete the keys that nothing was said under since ``before``; returns how many."""
        gone = 0
        for path in self._folder.glob("*/*"):
            with suppress(OSError):
                if path.stat().st_mtime < before:
                    path.unlink()
                    gone += 1
        return gone

    def _key(self, kind: Kind, subject: str, owner: str | None, make: bool) -> bytes | None:
        path, whose = self._path(kind, subject), _name("user", owner) if owner is not None else ""
        with self._lock:
            key = (
                self._known.get(path) or self._read(path) or (self._make(path, os.urandom(32), whose) if make else None)
            )
            if key is None:
                return None
            if whose and whose != key.owner:
                key = self._make(path, key.secret, whose)
            if time.time() - key.touched > _TOUCH:
                with suppress(OSError):
                    os.utime(path)
                key = replace(key, touched=time.time())
            self._known[path] = key
            self._known.move_to_end(path)
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
            return key.secret

    def _read(self, path: Path) -> _Key | None:
        try:
            text, _, owner = path.read_text().partition("\n")
            secret = bytes.fromhex(text)
            return _Key(secret, path.stat().st_mtime, owner) if len(secret) == 32 else None
        except (OSError, ValueError):
            return None

    def _make(self, path: Path, secret: bytes, owner: str) -> _Key:
        with durable.io_errors("make a key"):
            path.parent.mkdir(mode=0o700, exist_ok=True)
        text = f"{secret.hex()}\n{owner}" if owner else secret.hex()
        durable.write(path, text.encode(), ready=lambda temporary: temporary.chmod(0o600))
        if path.parent not in self._homes:  # also an old one: who made it may have been killed before this
            durable.fsync(self._folder)
            self._homes.add(path.parent)
        return _Key(secret, time.time(), owner)

    def _path(self, kind: Kind, subject: str) -> Path:
        name = _name(kind, subject)
        return self._folder / name[:2] / name[2:]


def _name(kind: Kind, subject: str) -> str:
    return hashlib.sha256(f"{kind}\0{subject}".encode("utf-8", "surrogateescape")).hexdigest()[:42]
