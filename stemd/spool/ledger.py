"""An album's book in ``work/A``: which jobs it is split into (written once) and how each ended (appended to).

A job's end is noted before its own folder is moved or removed, so that a crash in between only repeats the line; of
several lines about one job the last one counts.
"""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Container, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from stemd.core.errors import StemdError
from stemd.core.job import SCHEMA_VERSION, JobId, JobState, decode_name, encode_name
from stemd.spool import durable, sidecar
from stemd.spool.intake import Kind
from stemd.spool.layout import Spool, WorkDir
from stemd.spool.steps import step

#: The state of a recording whose job_uuid was known already, with the same content: the existing job stands.
DUPLICATE = "duplicate"
_ENDED = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.ERASED, DUPLICATE})
#: An erasure may write an album's book anew while another thread adds to it.
_WRITING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Member:
    """One job of an album. ``path`` is that of its file or folder below the album's; ``place`` the result's folder."""

    job_uuid: JobId
    kind: Kind
    path: str
    place: str


@dataclass(frozen=True, slots=True)
class Album:
    """``work/A/album.json``. ``folders`` maps the folders of the album that are kept to their names in the outbox."""

    job_uuid: JobId
    user_id: str
    title: str
    source: str
    mode: int
    group: str | None
    folders: Mapping[str, str]
    members: tuple[Member, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "job_uuid": self.job_uuid,
            "user_id": self.user_id,
            "title": self.title,
            "source": encode_name(self.source),
            "mode": self.mode,
            "group": self.group,
            "folders": [{"path": encode_name(path), "place": place} for path, place in self.folders.items()],
            "jobs": [
                {
                    "job_uuid": member.job_uuid,
                    "kind": member.kind.value,
                    "path": encode_name(member.path),
                    "place": member.place,
                }
                for member in self.members
            ],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Album:
        return cls(
            job_uuid=JobId(data["job_uuid"]),
            user_id=data["user_id"],
            title=data["title"],
            source=decode_name(data["source"]),
            mode=data["mode"],
            group=data["group"],
            folders={decode_name(folder["path"]): folder["place"] for folder in data["folders"]},
            members=tuple(
                Member(JobId(job["job_uuid"]), Kind(job["kind"]), decode_name(job["path"]), job["place"])
                for job in data["jobs"]
            ),
        )


def read(work: WorkDir) -> Album | None:
    """The album whose folder this is; ``None`` where it is none, or not planned yet."""
    record = durable.read_json(work.album)
    return Album.from_dict(record) if record else None


def is_split(work: WorkDir) -> bool:
    """Whether this is the folder of an album whose jobs are all out: no job of its own any more."""
    return work.album.exists() and not work.src.exists()


def note(
    spool: Spool, work: WorkDir, state: str, result: Path | None = None, *, code: str | None = None,
    known: JobId | None = None,
) -> None:  # fmt: skip
    """Write down how the job in ``work`` ended, or that it goes on, if it came in an album.

    ``result`` is the folder in outbox/ or orphan/, ``known`` the job that it turned out to be.
    """
    belongs = (durable.read_json(work.origin) or {}).get("album")
    if belongs is None:
        return
    line: dict[str, Any] = {
        "number": belongs["number"],
        "job_uuid": known or work.job_id,
        "state": str(state),
        "result": str(result.relative_to(spool.root)) if result else None,
        "code": code,
    }
    book = _book(spool, belongs["job_uuid"])
    if book is not None:
        _write(book, line)
    elif result is not None:
        with suppress(
            StemdError, OSError, LookupError, TypeError, ValueError, AttributeError
        ):  # consumers may have made anything of it
            _amend(spool, belongs, line)
    step("L8")


def note_missing(work: WorkDir, number: int, job_id: JobId) -> None:
    """Write down that a job of the album in ``work`` never came to be: its recording was taken away before."""
    if number not in _last_words(work):
        failed = {"state": JobState.FAILED.value, "result": None, "code": "STEMD-S008"}
        _write(work.path, {"number": number, "job_uuid": job_id, **failed})


def ends(work: WorkDir) -> dict[int, dict[str, Any]]:
    """The last word on each job of an album that has ended, by its number."""
    return {number: record for number, record in _last_words(work).items() if record["state"] in _ENDED}


def _last_words(work: WorkDir) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    with suppress(FileNotFoundError):
        for line in work.ended.read_bytes().splitlines():
            with suppress(ValueError):  # torn by a power cut: it is written again
                record = json.loads(line)
                found[record["number"]] = record
    return found


def _write(book: Path, line: Mapping[str, Any]) -> None:
    with _WRITING:
        durable.append(book / "ended", json.dumps(line, allow_nan=False).encode())


def entry(end: Mapping[str, Any], home: str) -> dict[str, Any]:
    """What ``album.json`` in the outbox says of a job; ``home`` is the album's folder there, relative to the root."""
    result = end["result"]
    if result and PurePosixPath(result).is_relative_to(home):
        result = str(PurePosixPath(result).relative_to(home))
    code = {"code": end["code"]} if end["code"] else {}
    return {"job_uuid": end["job_uuid"], "state": end["state"], "result": result, **code}


def _book(spool: Spool, album_id: str) -> Path | None:
    """The folder of an album that is not complete: in work/, or in orphan/ because it could not be split."""
    work = spool.job(album_id)
    if work.album.exists():
        return work.path
    orphan = sidecar.find_orphan(spool, album_id)
    return orphan if orphan is not None and (orphan / work.album.name).exists() else None


def _amend(spool: Spool, belongs: Mapping[str, Any], line: Mapping[str, Any]) -> None:
    """A job of a complete album has ended once more (``stemd retry``): correct the ``album.json`` that is out."""
    home = spool.outbox / Path(line["result"]).parts[1] / PurePosixPath(belongs["place"]).parts[0]
    path = home / "album.json"
    document = None if home.is_symlink() or path.is_symlink() else durable.read_json(path)
    if document is None or document["job_uuid"] != belongs["job_uuid"]:
        return
    known = document["jobs"][belongs["number"]]
    known.pop("code", None)
    known.update(entry(line, str(home.relative_to(spool.root))))
    _replace(path, document)


def _replace(path: Path, document: Mapping[str, Any]) -> None:
    """Write an ``album.json`` that is out anew, for the same readers."""
    before = path.stat()

    def as_before(temporary: Path) -> None:
        if temporary.stat().st_gid != before.st_gid:
            os.chown(temporary, -1, before.st_gid)
        temporary.chmod(stat.S_IMODE(before.st_mode))

    durable.write_json(path, document, ready=as_before)


def erase(spool: Spool, jobs: Container[str]) -> int:
    """Let the albums name these jobs no more; each counts as ended. Returns how many albums named one.

    Raises:
        StemdError: the disk failed; may be called again.
    """
    books = [work.path for work in spool.jobs() if work.album.exists()]
    books += [path.parent for path in spool.orphan.glob("*/*/ended")]
    with _WRITING:
        changed = sum(_erase_in_book(WorkDir(book), jobs) for book in books)
    for folder in _albums(spool.outbox):
        if (folder / "album.json").is_file():
            with suppress(LookupError, TypeError, AttributeError):  # consumers may have made anything of it
                changed += _erase_in_summary(folder / "album.json", jobs)
    return changed


def _albums(outbox: Path) -> Iterator[Path]:
    """All folders that are no result's, however deep: ``os.walk`` calls itself for each level."""
    open_ones = [outbox]
    while open_ones:
        folder = open_ones.pop()
        if (folder / "manifest.json").is_file():
            continue
        yield folder
        with suppress(OSError), os.scandir(folder) as entries:
            open_ones += [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]


def _erase_in_book(work: WorkDir, jobs: Container[str]) -> bool:
    record = durable.read_json(work.album) or {}
    numbers = [number for number, job in enumerate(record.get("jobs", ())) if job["job_uuid"] in jobs]
    if not numbers:
        return False
    lines = [line for number, line in _last_words(work).items() if number not in numbers]
    erased = {"state": JobState.ERASED.value, "result": None, "code": None}
    lines += [{"number": number, "job_uuid": record["jobs"][number]["job_uuid"], **erased} for number in numbers]
    durable.write(work.ended, b"".join(json.dumps(line, allow_nan=False).encode() + b"\n" for line in lines))
    step("G4a")
    for number in numbers:
        record["jobs"][number]["path"] = f".erased-{number}"
    durable.write_json(work.album, record)
    step("G4b")
    return True


def _erase_in_summary(path: Path, jobs: Container[str]) -> bool:
    document = None if path.is_symlink() else durable.read_json(path)
    mine = [entry for entry in (document or {})["jobs"] if entry["job_uuid"] in jobs]
    if document is None or not mine:
        return False
    for known in mine:
        known.pop("code", None)
        known.update(source=None, state=JobState.ERASED.value, result=None)
    _replace(path, document)
    step("G4c")
    return True
