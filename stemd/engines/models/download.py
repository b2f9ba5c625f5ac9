"""One file over HTTP(S), whole and checked: resumed where it broke, tried again, fetched anew once if it came wrong."""

from __future__ import annotations

import hashlib
import json
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stemd.core.errors import StemdError
from stemd.engines.models import web

#: Called with a file's name, its bytes so far, and its bytes in all (``None``: not told).
FetchProgress = Callable[[str, int, int | None], None]

_SHA256 = re.compile(r'"?([0-9a-f]{64})"?')
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
#: A try that brought so many bytes was not in vain: the next ones are counted anew.
_WORTHWHILE = 1 << 20


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a failure that may pass is tried again (``tries`` in a row), and how long is waited (seconds).

    The wait is drawn from 0 … min(cap, base · 2^(n − 1)) after the n-th failure, or what the server asks for, up to
    ``longest``.
    """

    tries: int = 5
    base: float = 1.0
    cap: float = 30.0
    longest: float = 120.0
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class Taken:
    """A file that has come: ``checked`` says whose sha256 it was compared with (``none``: nobody stated one)."""

    sha256: str
    size: int
    checked: str


@dataclass(frozen=True, slots=True)
class Download:
    """How files are fetched. ``room`` is told how many bytes will come; ``reject`` gets each file that came wrong."""

    progress: FetchProgress
    room: Callable[[int], None]
    reject: Callable[[Path, str], None]
    patience: Patience = Patience()

    def fetch(self, url: str, target: Path, wanted: str | None) -> Taken:
        """Get ``url`` into ``target``; ``wanted`` is the sha256 it must have, if known.

        What an earlier call left is used: the whole file, or the part that had come, if the server still has the same.

        Raises:
            StemdError: STEMD-M005, it did not come or came wrong twice.
            OSError: ``target`` cannot be written.
        """
        part = _Part(url, target)
        part.remember(checkable=wanted is not None)
        for _ in range(2):
            self._complete(part)
            digest, size = sha256(part.path), part.size
            expected, checked = (wanted, "catalogue") if wanted else (part.promised, "server")
            if expected in {None, digest}:
                part.finish()
                return Taken(digest, size, checked if expected else "none")
            self.reject(part.path, f"sha256 {digest} instead of {expected} ({checked}), from {url}")
            part.drop()
        raise StemdError(
            "STEMD-M005",
            f"{url} is not what it should be, twice: sha256 {digest}, not {expected} (stated by the {checked})",
            remedy="Fetch it from elsewhere (--from URL or DIR), or wait until its server is put right; "
            "what came lies in the store's .quarantine.",
        )

    def _complete(self, part: _Part) -> None:
        failures = 0
        while not part.complete:
            before = part.size
            try:
                self._go_on(part)
            except web.PassingError as error:
                failures = 1 if part.size - before >= _WORTHWHILE else failures + 1
                pause = _pause(self.patience, failures, error)
                if pause is None:
                    tried = f"tried {failures} times" if error.after is None else f"it asks for {error.after:.0f} s"
                    raise StemdError("STEMD-M005", f"{part.url}: {error} ({tried})") from error
                self.patience.sleep(pause)

    def _go_on(self, part: _Part) -> None:
        answer = web.get(part.url, part.conditions())
        try:
            if not part.accept(answer):
                raise web.PassingError("the file changed meanwhile")
            if part.length is not None:
                self.room(part.length - part.size)
            with part.path.open("ab") as file:
                done = file.tell()
                for block in answer.blocks():
                    file.write(block)
                    done += len(block)
                    self.progress(part.target.name, done, part.length)
        finally:
            answer.close()
        if part.length is None:
            part.length = done
            part.note()
        elif done != part.length:
            if done > part.length:
                part.drop()
            raise web.PassingError(f"it ended after {done} of {part.length} bytes")


def _pause(patience: Patience, failures: int, error: web.PassingError) -> float | None:
    if failures >= patience.tries:
        return None
    if error.after is not None:
        return error.after if error.after <= patience.longest else None
    return random.random() * min(patience.cap, patience.base * 2.0 ** (failures - 1))  # noqa: S311


class _Part:
    """``FILE.part`` and what is known of it, ``FILE.part.json``: both survive the process."""

    def __init__(self, url: str, target: Path) -> None:
        self.url, self.target = url, target
        self.path = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.json")
        self.validator: str | None = None
        self.promised: str | None = None
        self.length: int | None = None

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def complete(self) -> bool:
        return self.length is not None and self.path.exists() and self.size == self.length

    def remember(self, *, checkable: bool) -> None:
        """Take up what an earlier process left, unless a power cut could have spoilt it and nothing would show that."""
        if self.target.exists():
            self.target.rename(self.path)
        try:
            noted = json.loads(self._note.read_text())
            if noted["url"] != self.url:
                raise ValueError("of another source")
            if not checkable and noted["promised"] is None:
                raise ValueError("nobody states its sha256")
            self.validator, self.promised, self.length = noted["validator"], noted["promised"], noted["length"]
        except (OSError, ValueError, KeyError, TypeError):
            self.drop()

    def conditions(self) -> dict[str, str]:
        """The headers that ask for the rest, if the server still has the same file."""
        if not self.size or self.validator is None:
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": self.validator}

    def accept(self, answer: web.Answer) -> bool:
        """Make ready for the body of ``answer``; ``False`` when it does not go on where this part ends."""
        if answer.status == 206:
            if (found := _RANGE.fullmatch(answer.headers.get("Content-Range", ""))) is None:
                self.drop()
                return False
            total = None if found[2] == "*" else int(found[2])
            same = int(found[1]) == self.size and total == self.length and _promise(answer) in {None, self.promised}
            if not same:
                self.drop()
            return same
        self.drop()
        if answer.status != 200:
            return False
        length = answer.headers.get("Content-Length")
        self.length = int(length) if length and length.isdigit() else None
        self.validator, self.promised = _validator(answer.headers), _promise(answer)
        self.note()
        return True

    def note(self) -> None:
        facts: dict[str, Any] = {
            "url": self.url,
            "validator": self.validator,
            "promised": self.promised,
            "length": self.length,
        }
        self._note.write_text(json.dumps(facts))

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
        self.validator = self.promised = self.length = None

    def finish(self) -> None:
        self.path.rename(self.target)


def _validator(headers: Any) -> str | None:
    """What ``If-Range`` may carry: a strong ETag, else a date (RFC 9110, 13.1.5)."""
    etag = headers.get("ETag")
    if etag and not etag.startswith("W/"):
        return str(etag)
    date = headers.get("Last-Modified")
    return str(date) if date else None


def _promise(answer: web.Answer) -> str | None:
    """The sha256 that the server states, if it does.

    Hugging Face states that of a large file in ``X-Linked-Etag`` of the redirect to its storage. The storage's own
    ``ETag`` may look alike and be something else, so it counts only where no redirect said anything.
    """
    linked = answer.linked.get_all("X-Linked-Etag") or answer.headers.get_all("X-Linked-Etag")
    told = linked[0] if linked else None if answer.linked.keys() else answer.headers.get("ETag")
    found = _SHA256.fullmatch(told or "")
    return found[1] if found else None


def sha256(path: Path) -> str:
    """The file's SHA-256, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
