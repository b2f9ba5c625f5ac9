"""The audit trail: who did what, in lines that can be added but not changed.

Each record holds the hash of the one before it, so that an altered, removed or reordered one is found; a *head* apart
from the trail says how far it had come, so that a missing end is found too. Users, jobs, names and hashes are
pseudonyms under keys that are kept apart (``keyring``). The order of writing is record, flush, head, flush: of a crash
in between one record beyond the head is left, or the one batch that was written together, which the next writer takes
over.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from stemd.core.access import Person
from stemd.core.errors import StemdError
from stemd.spool import durable
from stemd.spool.books import Books
from stemd.spool.keyring import Keyring, Kind
from stemd.spool.sidecar import iso
from stemd.spool.steps import step

NOTHING = "0" * 64
_SLOT = 128
#: Of a month's file so much is read from its end; a record is shorter.
_EDGE = 65_536


@dataclass(frozen=True, slots=True)
class Point:
    """A place in the trail: after the record ``seq`` whose hash is ``hash``."""

    seq: int
    hash: str


START = Point(0, NOTHING)


class Trail:
    """Writes to the trail; one at a time for each set of books, under the spool's lock. Safe from any thread."""

    def __init__(self, books: Books) -> None:
        self.books = books.open()
        self.keys = Keyring(books.keys)
        self._lock = threading.Lock()
        #: Held while what was told of the configuration is read and changed.
        self.telling = threading.Lock()
        self._behind = False
        self._unsure: tuple[Path, int] | None = None
        self.end = _repair(books)
        head = read_head(books)
        if head is None or head.seq > self.end.seq or _differs(books, head):
            if head is not None:
                self.record("trail_damaged", expected_seq=head.seq, expected_hash=head.hash)
        elif head != self.end:
            _write_head(books, self.end)

    def record(
        self,
        event: str,
        *,
        actor: Person | None = None,
        user: str | None = None,
        job: str | None = None,
        names: Mapping[str, str] | None = None,
        known_only: bool = False,
        at: float | None = None,
        **facts: Any,
    ) -> Point:
        """Add one record; it is on the disk on return.

        ``actor`` is who did it (``None``: stemd by itself), ``user`` and ``job`` whom it is about. ``names`` are file
        names, hashes and the like: told as pseudonyms of the job, or of the user where there is no job. ``facts`` must
        hold nothing personal. ``known_only``: subjects without a key stay unnamed.

        Raises:
            StemdError: the disk failed.
        """
        return self.record_all(
            [self.entry(event, actor=actor, user=user, job=job, names=names, known_only=known_only, at=at, **facts)]
        )

    def entry(
        self,
        event: str,
        *,
        actor: Person | None = None,
        user: str | None = None,
        job: str | None = None,
        names: Mapping[str, str] | None = None,
        known_only: bool = False,
        at: float | None = None,
        **facts: Any,
    ) -> dict[str, Any]:
        """A record that is not in the trail yet. ``at`` is when it happened, if not now."""
        make = not known_only
        nobody = "stranger" if event == "refused" else "service"  # stemd itself is never refused
        who: dict[str, str] = {"role": actor.role if actor else nobody}
        if actor is not None and actor.name is not None:
            who["user"] = self.keys.pseudonym("user", actor.name, make=make) or "unknown"
        entry: dict[str, Any] = {"at": iso(time.time() if at is None else at), "event": event, "actor": who}
        if user is not None:
            entry["user"] = self.keys.pseudonym("user", user, make=make)
        if job is not None:
            entry["job"] = self.keys.pseudonym("job", job, owner=user, make=make)
        for key, text in (names or {}).items():
            kind: Kind = "job" if job is not None else "user"
            subject, whose = (job, user) if job is not None else (user or "", None)
            entry[key] = self.keys.pseudonym(kind, subject, text, owner=whose, make=make)
        return {**entry, **facts}

    def record_all(self, entries: list[dict[str, Any]]) -> Point:
        """Add several records with one flush; each says with which one they begin.

        What is in the trail counts, though the head may be one call behind.
        """
        with self._lock:
            if not entries:
                return self.end
            if self._behind:
                _write_head(self.books, self.end)
            point, lines = self.end, []
            batch = {"batch": self.end.seq + 1} if len(entries) > 1 else {}
            for entry in entries:
                body = {"seq": point.seq + 1, **entry, **batch, "prev": point.hash}
                point = Point(point.seq + 1, digest(body))
                lines.append(json.dumps({**body, "hash": point.hash}, ensure_ascii=True).encode())
            self._append(b"\n".join(lines))
            self.end = point
            step("T1")
            self._behind = True
            with suppress(StemdError):
                _write_head(self.books, point)
                self._behind = False
            step("T2")
            return point

    def _append(self, lines: bytes) -> None:
        """What failed before is no part of the trail, whatever the disk made of it: it is cut off first."""
        if self._unsure is not None:
            durable.cut(*self._unsure)
        path = _current(self.books, self.end)
        self._unsure = (path, path.stat().st_size if path.exists() else 0)
        durable.append(path, lines)
        self._unsure = None

    def forget(self, user: str | None, jobs: Collection[str]) -> None:
        """Make it be about nobody what was said about these. In what was told of roles the user is not looked for."""
        keyrings = [self.keys, *(Keyring(other.keys) for other in self.books.others)]
        for keys in keyrings:
            for job in sorted(jobs):
                keys.erase("job", job)
        if user is None:
            return
        with self.telling:
            who = self.keys.pseudonym("user", user, make=False)
            told = durable.read_json(self.books.told) or {}
            if who is not None and who in told.get("roles", {}):
                del told["roles"][who]
                durable.write_json(self.books.told, told)
            for keys in keyrings:
                keys.erase("user", user)

    def prune(self, before: float, actor: Person | None = None) -> int:
        """Forget whole months that ended before ``before`` (seconds since 1970); returns how many records that was."""
        gone = 0
        for path, following in zip(files := _files(self.books), files[1:], strict=False):
            last = _last(path)
            if last is None or last.get("at", "9") >= iso(before):
                break
            gone += last["seq"] - _first(path) + 1
            self.record("pruned", actor=actor, area="audit", through=last["seq"], hash_through=last["hash"])
            base = {"seq": last["seq"], "hash": last["hash"], "next": following.name}
            durable.write_json(self.books.base, base)
            step("T3")
            path.unlink()
            durable.fsync(self.books.trail)
            step("T4")
        for books in (self.books, *self.books.others):
            Keyring(books.keys).prune(before)
        return gone


def digest(body: Mapping[str, Any]) -> str:
    """The hash of a record: of all of it but the hash, the previous record's included."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def records(books: Books) -> Iterator[dict[str, Any]]:
    """All records as they stand, oldest first, for whoever may read them."""
    for path in _files(books):
        for line in _lines(path):
            with suppress(ValueError):
                yield json.loads(line)


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as lines:
        yield from lines


def verify(books: Books) -> Iterator[str]:
    """What is wrong with the trail, in words; nothing where nobody has touched it. May run beside the writer."""
    head = read_head(books)
    base = durable.read_json(books.base)
    point = Point(base["seq"], base["hash"]) if base else START
    begun, pruned, seen, batch = point, base is None, False, point.seq
    for path in _files(books):
        for number, line in enumerate(_lines(path), 1):
            where = f"{path.name}:{number}"
            try:
                record = json.loads(line)
                claimed = record.pop("hash")
                seq = record["seq"]
            except (ValueError, KeyError, TypeError, AttributeError):
                yield f"{where}: this is no record"
                continue
            if seq <= begun.seq and not seen and digest(record) == claimed:
                continue  # what a crash kept from being removed
            seen = True
            if seq != point.seq + 1:
                yield f"{where}: record {seq} follows record {point.seq}"
            elif record.get("prev") != point.hash:
                yield f"{where}: record {seq} does not follow from the one before it"
            if digest(record) != claimed:
                yield f"{where}: record {seq} was altered"
            if record.get("event") == "trail_damaged":
                yield f"{where}: the trail had been cut before record {seq}: it was {record['expected_seq']} long"
            pruned = pruned or (record.get("area"), record.get("through"), record.get("hash_through")) == (
                "audit", begun.seq, begun.hash,
            )  # fmt: skip
            if head is not None and seq == head.seq and claimed != head.hash:
                yield f"{where}: record {seq} is not the one that the head names"
            point, batch = Point(seq, claimed), record.get("batch", seq)
    if head is not None and point.seq < head.seq:
        yield f"the end is missing: {head.seq} records were written, {point.seq} are there"
    now = read_head(books)
    if batch > (now.seq if now else 0) + 1:  # the last batch may be beyond it, and nothing else
        yield f"the head is missing or old: it names record {now.seq if now else 0}, {point.seq} are there"
    if not pruned:
        yield f"the beginning is missing: no record says that what is up to record {begun.seq} was pruned"


def read_head(books: Books) -> Point | None:
    """The head: two slots, written in turn, of which the later counts."""
    try:
        content = books.head.read_bytes()
    except FileNotFoundError:
        return None
    found = [START]
    for slot in (content[:_SLOT], content[_SLOT : 2 * _SLOT]):
        with suppress(ValueError):
            seq, text = slot.decode("ascii").split()
            found.append(Point(int(seq), text))
    return max(found, key=lambda point: point.seq)


def _write_head(books: Books, point: Point) -> None:
    line = f"{point.seq} {point.hash}".ljust(_SLOT - 1).encode() + b"\n"
    with durable.io_errors("write the head of the audit trail"):
        fresh = not books.head.exists()
        descriptor = os.open(books.head, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(descriptor, line, point.seq % 2 * _SLOT)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    if fresh:
        durable.fsync(books.head.parent)


def _files(books: Books) -> list[Path]:
    return sorted(books.trail.glob("*.jsonl")) if books.trail.is_dir() else []


def _current(books: Books, end: Point) -> Path:
    """This month's file; its name begins with the number of its first record, so that names sort like records."""
    month = time.strftime("%Y-%m", time.gmtime(time.time()))
    known = _files(books)
    if known and known[-1].stem.endswith(month):
        return known[-1]
    return books.trail / f"{end.seq + 1:012d}-{month}.jsonl"


def _first(path: Path) -> int:
    return int(path.name.partition("-")[0])


def _last(path: Path) -> dict[str, Any] | None:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _EDGE))
        for line in reversed(file.read().splitlines()):
            with suppress(ValueError):
                record = json.loads(line)
                if isinstance(record, dict):
                    return record
    return None


def _whole_lines(file: BinaryIO) -> int:
    """How many bytes end with a line; looked for from the end, for a month can be long."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - _EDGE)
        file.seek(start)
        if (found := file.read(end - start).rfind(b"\n")) >= 0:
            return start + found + 1
        end = start
    return 0


def _repair(books: Books) -> Point:
    """Cut a torn last line, which nobody was told was written, and say where the trail ends."""
    for path in reversed(_files(books)):
        with durable.io_errors("mend the audit trail"), path.open("r+b") as file:
            size, whole = file.seek(0, os.SEEK_END), _whole_lines(file)
            if whole < size:
                file.truncate(whole)
                os.fsync(file.fileno())
        last = _last(path)
        if last is not None:
            return Point(int(last["seq"]), str(last["hash"]))
    base = durable.read_json(books.base)
    return Point(base["seq"], base["hash"]) if base else START


def _differs(books: Books, head: Point) -> bool:
    """Whether the record that the head names is not the one it was."""
    for path in reversed(_files(books)):
        if _first(path) <= head.seq:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - _EDGE))
                for line in reversed(file.read().splitlines()):
                    with suppress(ValueError, KeyError, TypeError):
                        record = json.loads(line)
                        if record["seq"] == head.seq:
                            return bool(record["hash"] != head.hash)
            return False
    return False
