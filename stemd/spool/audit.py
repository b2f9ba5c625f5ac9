"""The promises of the spool, checked on the disk as it is. Looks, changes nothing; needs no daemon.

The invariants are those of docs/spool.md. I7, I9 and I10 are about what happens in which order, which no look at the
disk can tell: the crash tests check them on the system calls themselves.
"""

from __future__ import annotations

import os
import stat
import time
from collections import defaultdict
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stemd.core.error_table import TABLE
from stemd.core.errors import StemdError
from stemd.core.job import Job, printable
from stemd.spool import attempts, durable, ignore, ledger, sources
from stemd.spool.layout import Spool, WorkDir
from stemd.spool.survey import walk

#: What each invariant says that is checked here.
INVARIANTS = {
    "I1": "every accepted recording is where its job says",
    "I2": "every finished folder is as its manifest says",
    "I3": "every failed folder has its recording and its reason",
    "I4": "no file stands in the spool under two names",
    "I5": "no job has two results",
    "I6": "no job was started more often than it may be",
    "I8": "nothing is left in work/ that no job needs",
    "I11": "nothing in stemd's own folders is a symbolic link or leads out of the spool",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise: which invariant, where, and what is wrong there."""

    invariant: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.path}: {self.message}"


@dataclass(frozen=True, slots=True)
class Auditor:
    """One way to look at a spool.

    ``tries`` are the attempts a job may have. ``known`` are the jobs whose folders belong in work/ now (``None``: any
    may be there). ``pace`` is called with the bytes of each file that is read, and may wait.
    """

    spool: Spool
    tries: int
    known: Container[str] | None = None
    pace: Callable[[int], None] = lambda count: None

    def violations(self) -> Iterator[Violation]:
        """All that is wrong, area by area. What vanishes under the look was taken away by its consumer."""
        owners: dict[str, list[Path]] = defaultdict(list)
        if self.spool.work.is_dir():
            for work in self.spool.jobs():
                yield from _guarded("I1", self._name(work.path), self._work(work))
        elif os.path.lexists(self.spool.marker):  # else no daemon has made it yet
            yield Violation("I1", self._name(self.spool.work), "the folder is missing")
        for folder in finished_folders(self.spool.outbox):
            yield from _guarded("I2", self._name(folder), self._finished(folder, owners))
        yield from self._without_manifest()
        for folder in sorted(self.spool.orphan.glob("*/*")):
            if folder.parent.name != "_unknown":
                yield from _guarded("I3", self._name(folder), self._failed(folder, owners))
        for job_id, folders in owners.items():
            if len(folders) > 1:
                also = ", ".join(map(self._name, folders[1:]))
                yield Violation("I5", self._name(folders[0]), f"job {job_id} has another result: {also}")
        yield from self._names()

    # ---- work/

    def _work(self, work: WorkDir) -> Iterator[Violation]:
        name = self._name(work.path)
        if self.known is not None and not self._is_known(work, self.known):
            yield Violation("I8", name, "no job needs this folder")
        if work.published.exists() or ledger.is_split(work) or not work.path.exists():
            return
        count = attempts.read(work.attempts)
        if count.attempts > self.tries or count.interruptions > attempts.MAX_INTERRUPTIONS + 1:
            message = f"{count.attempts} attempts and {count.interruptions} interruptions are recorded"
            yield Violation("I6", name, message)
        yield from self._source_in_work(work, name)

    def _is_known(self, work: WorkDir, known: Container[str]) -> bool:
        """Also the jobs of an album that is just being split, and an album that waits for its jobs."""
        belongs = (durable.read_json(work.origin) or {}).get("album") or {}
        return work.job_id in known or belongs.get("job_uuid") in known or ledger.is_split(work)

    def _source_in_work(self, work: WorkDir, name: str) -> Iterator[Violation]:
        """A sealed job's recording has its size, wherever it stands; its content is hashed before it is used."""
        record = durable.read_json(work.job)
        if record is None or (work.target.exists() and not work.partial.exists()):
            return  # not sealed yet; or its result is out and is looked at there
        for source in Job.from_dict(record).files:
            inside = Path(source.path)
            places = [work.src / inside, work.kept_source / inside, work.path / "source" / inside]
            places += [work.kept_source / Path(*inside.parts[1:])]  # of a staged job
            if not any(path.is_file() and path.stat().st_size == source.bytes for path in places) and work.job.exists():
                yield Violation("I1", name, f"the recording {printable(source.name)} is not in it as it was taken")

    # ---- outbox/ and orphan/

    def _finished(self, folder: Path, owners: dict[str, list[Path]]) -> Iterator[Violation]:
        name = self._name(folder)
        document = durable.read_json(folder / "manifest.json")
        if document is None or not isinstance(document.get("files"), list):
            if (folder / "manifest.json").exists():
                yield Violation("I2", name, "its manifest cannot be read")
            return
        owners[str(document.get("job_uuid"))].append(folder)
        if (inner := next(finished_folders(folder), None)) is not None:
            yield Violation("I2", name, f"another finished folder is in it: {self._name(inner)}")
        for file in [*document["files"], *document.get("documents", [])]:
            wrong = self._differs(folder / file["name"], file)
            if wrong and (folder / "manifest.json").exists():
                yield Violation("I2", name, f"{file['name']} {wrong}")

    def _differs(self, path: Path, file: dict[str, Any]) -> str | None:
        if Path(file["name"]).name != file["name"]:
            return "is no name of a file in it"
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                return "is not a regular file"
            size = path.stat().st_size
            if size != file["bytes"]:
                return f"has {size} bytes, its manifest says {file['bytes']}"
            self.pace(size)
            return None if sources.sha256(path) == file["sha256"] else "is not the file of its manifest (sha256)"
        except FileNotFoundError:
            return "is missing" if path.parent.exists() else None
        except StemdError as error:
            return f"cannot be read: {error.message}"

    def _without_manifest(self) -> Iterator[Violation]:
        """A folder with stems and no manifest would be a result that was published in parts."""
        for folder, directories, files in walk(self.spool.outbox):
            if "manifest.json" in files:
                directories[:] = []
            elif any(name.endswith(".tags.json") for name in files):
                yield Violation("I2", self._name(Path(folder)), "it has stems and no manifest")

    def _failed(self, folder: Path, owners: dict[str, list[Path]]) -> Iterator[Violation]:
        name = self._name(folder)
        report = durable.read_json(folder / "error.json")
        if not folder.is_dir():
            return
        if report is None or report.get("code") not in TABLE or not report.get("message"):
            yield Violation("I3", name, "error.json is missing or says nothing")
        else:
            owners[str(report.get("job_uuid"))].append(folder)
        if not any(path.is_file() for path in (folder / "source").rglob("*")):
            yield Violation("I3", name, "the recording is not in source/")

    # ---- everywhere

    def _names(self) -> Iterator[Violation]:
        """Every name below the areas: files only once, and no symbolic link in folders that are stemd's own."""
        seen: dict[tuple[int, int], Path] = {}
        for area in (self.spool.inbox, self.spool.work, self.spool.outbox, self.spool.orphan):
            for path in _everything(area):
                facts = _look(path)
                if facts is None:
                    continue
                if (
                    stat.S_ISLNK(facts.st_mode)
                    and area == self.spool.work
                    and "src" not in path.relative_to(area).parts
                ):
                    yield Violation("I11", self._name(path), "it is a symbolic link")
                key = (facts.st_dev, facts.st_ino)
                if stat.S_ISREG(facts.st_mode) and facts.st_nlink > 1:
                    first = seen.setdefault(key, path)
                    if first != path and not self._is_theirs(first, path):
                        yield Violation("I4", self._name(path), f"it is also {self._name(first)}")

    def _is_theirs(self, first: Path, second: Path) -> bool:
        """Droppers may link what they have not handed over, consumers what is theirs."""
        areas = (self.spool.inbox, self.spool.outbox)
        return any(first.is_relative_to(area) and second.is_relative_to(area) for area in areas)

    def _name(self, path: Path) -> str:
        return printable(str(path.relative_to(self.spool.root)))


def _guarded(invariant: str, name: str, found: Iterator[Violation]) -> Iterator[Violation]:
    """What vanishes under the look is no violation; what cannot even be looked at is one."""
    try:
        yield from found
    except FileNotFoundError:
        return
    except (OSError, TypeError, KeyError, ValueError, AttributeError) as error:
        yield Violation(invariant, name, f"its records are of another form: {type(error).__name__} {error}")


def confirmed(look: Callable[[], Iterator[Violation]], wait: float = 2.0) -> list[Violation]:
    """What two looks, ``wait`` seconds apart, agree on: while a daemon works, one look may see a job between steps."""
    first = list(look())
    if not first:
        return []
    time.sleep(wait)
    second = set(look())
    return [violation for violation in first if violation in second]


def finished_folders(root: Path) -> Iterator[Path]:
    """Every folder below ``root`` that has a manifest, at any depth; what lies in ``source/`` is the dropper's."""
    for folder, directories, files in walk(root):
        finished = "manifest.json" in files
        directories[:] = sorted(name for name in directories if not finished or name != "source")
        if finished and Path(folder) != root:
            yield Path(folder)


def _everything(area: Path) -> Iterator[Path]:
    for folder, directories, files in walk(area):
        directories[:] = [name for name in directories if ignore.ignored(name) is None or area.name != "inbox"]
        if area.name == "work" and Path(folder) == area and ".trash" in directories:
            directories.remove(".trash")  # what is being deleted is nobody's any more
        for name in (*directories, *files):
            yield Path(folder, name)


def _look(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None
