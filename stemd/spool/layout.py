"""Names and places: the five folders of a spool, what stands inside a job's folder, and safe names for people."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stemd.core.job import JobId

#: The folders of a spool, in the order a recording passes them.
AREAS = ("inbox", "work", "outbox", "orphan", "status")

#: Names in an album's folder that are stemd's own (the first one is written under the second).
RESERVED = frozenset({"album.json", ".album.json.tmp", "manifest.json"})

_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_MAX_TITLE_BYTES = 200


@dataclass(frozen=True, slots=True)
class WorkDir:
    """``work/JOB_UUID``: everything stemd knows about one unfinished job."""

    path: Path

    @property
    def job_id(self) -> JobId:
        return JobId(self.path.name)

    @property
    def src(self) -> Path:
        """The claimed file, or the claimed folder, as it was dropped."""
        return self.path / "src"

    @property
    def origin(self) -> Path:
        """Where it came from: written before the claim, so that a crash right after it forgets nothing."""
        return self.path / "origin.json"

    @property
    def job(self) -> Path:
        return self.path / "job.json"

    @property
    def attempts(self) -> Path:
        return self.path / "attempts"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def chunks(self) -> Path:
        return self.path / "chunks"

    @property
    def partial(self) -> Path:
        return self.path / "out.partial"

    @property
    def kept_source(self) -> Path:
        return self.partial / "source"

    @property
    def manifest(self) -> Path:
        return self.partial / "manifest.json"

    @property
    def next(self) -> Path:
        """The job that follows this one, until it is let out."""
        return self.path / "next"

    @property
    def log(self) -> Path:
        return self.path / "job.log.jsonl"

    @property
    def target(self) -> Path:
        """The name in the outbox that was chosen for the result."""
        return self.path / "target.json"

    @property
    def published(self) -> Path:
        """From the moment this exists the result belongs to its consumers."""
        return self.path / "published"

    @property
    def error(self) -> Path:
        return self.path / "error.json"

    @property
    def not_before(self) -> Path:
        """Why the job waits, and until when."""
        return self.path / "wait.json"

    @property
    def album(self) -> Path:
        """Of an album only: the jobs it is split into."""
        return self.path / "album.json"

    @property
    def skeleton(self) -> Path:
        """Of an album only: its folders and the files that are no recordings, until they are in the outbox."""
        return self.path / "album"

    @property
    def building(self) -> Path:
        """Of an album only: where its jobs are made, before each is moved into work/."""
        return self.path / "jobs"

    @property
    def place(self) -> Path:
        """Of an album only: the name in the outbox that was chosen for it."""
        return self.path / "place.json"

    @property
    def summary(self) -> Path:
        """Of an album only: the ``album.json`` for the outbox, until it is there."""
        return self.path / "summary.json"

    @property
    def ended(self) -> Path:
        """Of an album only: how its jobs ended, one line each."""
        return self.path / "ended"


@dataclass(frozen=True, slots=True)
class Spool:
    """One root with its areas."""

    root: Path

    @property
    def inbox(self) -> Path:
        return self.root / "inbox"

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def outbox(self) -> Path:
        return self.root / "outbox"

    @property
    def orphan(self) -> Path:
        return self.root / "orphan"

    @property
    def status(self) -> Path:
        return self.root / "status"

    @property
    def lock(self) -> Path:
        return self.root / ".lock"

    @property
    def trash(self) -> Path:
        """What is being deleted: out of sight, on the same mount."""
        return self.work / ".trash"

    @property
    def marker(self) -> Path:
        """Says that this is a spool: a root without it may be the empty folder below a mount that is missing."""
        return self.root / ".stemd-spool"

    @property
    def waiting(self) -> Path:
        """Why entries that are complete still lie in the inboxes: a cache for people, written by the daemon."""
        return self.status / ".inbox.json"

    def job(self, job_id: str) -> WorkDir:
        return WorkDir(self.work / job_id)

    def status_file(self, job_id: str) -> Path:
        return self.status / f"{job_id}.json"

    def jobs(self) -> Iterator[WorkDir]:
        """The folders in work/, in the order of their ids (which is that of their arrival)."""
        for path in sorted(self.work.iterdir()):
            if path.is_dir() and not path.is_symlink() and not path.name.startswith("."):
                yield WorkDir(path)


def key_of(root: Path) -> str:
    """What of its root is in the names of what is kept for a spool elsewhere."""
    return hashlib.sha256(os.fsencode(root)).hexdigest()[:12]


def safe_title(name: str) -> str:
    """A folder name for a result: Unicode kept (NFC), whatever SMB clients cannot open replaced, ≤ 200 bytes.

    >>> safe_title('12:51?')
    '12_51_'
    """
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\ufffd", "_")
    text = _UNSAFE.sub("_", unicodedata.normalize("NFC", text))
    text = "".join("_" if unicodedata.category(ch) in {"Cc", "Cs"} else ch for ch in text)
    text = text.encode()[:_MAX_TITLE_BYTES].decode(errors="ignore")
    text = text.rstrip(". ")
    if text.startswith("."):
        text = "_" + text[1:]
    return text or "untitled"


def numbered(title: str, number: int) -> str:
    """``TITLE``, ``TITLE (2)``, ``TITLE (3)`` …"""
    return title if number == 1 else f"{title} ({number})"


def names(title: str) -> Iterator[str]:
    """The names to try until one is free: ``title``, if it may stand in an album's folder, then the numbered ones."""
    return (numbered(title, number) for number in itertools.count(2 if title.lower() in RESERVED else 1))


def orphan_name(title: str, job_id: JobId) -> str:
    """``TITLE.ID8``: the last eight digits, because the first ones of a version-7 UUID are the time."""
    return f"{title}.{job_id[-8:]}"
