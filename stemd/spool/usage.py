"""What users have had in the last 24 hours: one line a run in the state folder, no names, no hashes, only numbers.

The file is a cache that may be deleted: it is made anew from what the spool still has (``rebuilt``). What cannot be
told from it any more is the CPU time of runs before the one that succeeded, and the jobs of which neither a finished
folder nor a status is left.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from stemd.core.errors import StemdError
from stemd.core.job import JobState
from stemd.spool import durable
from stemd.spool.layout import Spool, key_of
from stemd.spool.survey import walk

WINDOW = 24 * 3600.0
#: The file is written anew when so many of its lines are too old to count.
_STALE_LINES = 1000


@dataclass(frozen=True, slots=True)
class Entry:
    """One run: when it ended (seconds since 1970), whose and which job's it was, seconds of audio and of CPU."""

    at: float
    user: str
    job: str
    audio: float
    cpu: float


def place(state: Path, root: Path) -> Path:
    """The file of the spool at ``root`` in the folder ``state``, which several spools may share."""
    return state / f"usage-{key_of(root)}.jsonl"


class Ledger:
    """The entries of one spool that count, oldest first, in memory and in their file."""

    def __init__(self, file: Path, spool: Spool) -> None:
        self._file = file
        known = read(file)
        self._take(rebuilt(spool, time.time() - WINDOW) if known is None else known)
        if known is None:
            self._tidy()

    def add(self, entry: Entry) -> None:
        """Count a run. The audio of a job counts once, however often it ran. Not flushed: it is a cache.

        Raises:
            StemdError: STEMD-R003 or STEMD-S014; it counts in memory all the same.
        """
        if entry.job in self._heard:
            entry = replace(entry, audio=0.0)
        self._entries.append(entry)
        self._count(entry, 1)
        self._file.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        durable.append(self._file, json.dumps(asdict(entry), allow_nan=False).encode(), flush=False)

    def used(self, now: float) -> dict[str, tuple[float, float]]:
        """Seconds of audio and of CPU of each user within the window that ends ``now``."""
        while self._entries and self._entries[0].at < now - WINDOW:
            self._count(self._entries.popleft(), -1)
            self._stale += 1
        if self._stale > _STALE_LINES:
            self._tidy()
        return {user: (max(0.0, audio), max(0.0, cpu)) for user, (audio, cpu) in self._sums.items()}

    def erase(self, *, user: str | None = None, job: str | None = None, counted: bool = False) -> int:
        """Forget a user or a job; returns how many entries went.

        ``counted``: they go on counting until they are too old, in memory only, and no job is named. Otherwise whoever
        may erase what is his could make himself a new quota.
        """
        meant = [each.user == user or each.job == job for each in self._entries]
        kept = [each for each, goes in zip(self._entries, meant, strict=True) if not goes]
        nameless = [replace(each, job="") if goes else each for each, goes in zip(self._entries, meant, strict=True)]
        self._take(nameless if counted else kept)
        self._write_file()
        return sum(meant)

    def _write_file(self) -> None:
        _write(self._file, (each for each in self._entries if each.job))

    def _take(self, entries: Iterable[Entry]) -> None:
        self._entries, self._stale = deque(entries), 0
        self._heard: set[str] = set()
        self._sums: dict[str, tuple[float, float]] = {}
        for entry in self._entries:
            self._count(entry, 1)

    def _count(self, entry: Entry, sign: int) -> None:
        audio, cpu = self._sums.get(entry.user, (0.0, 0.0))
        self._sums[entry.user] = audio + sign * entry.audio, cpu + sign * entry.cpu
        if entry.audio:
            (self._heard.add if sign > 0 else self._heard.discard)(entry.job)

    def _tidy(self) -> None:
        """Write the file anew; where the disk refuses that, it only stays longer than it need be."""
        self._stale = 0
        with suppress(StemdError):
            self._write_file()


def read(file: Path) -> list[Entry] | None:
    """The entries in ``file``, oldest first, torn lines left out; ``None`` where there is no file."""
    try:
        lines = file.read_bytes().splitlines()
    except FileNotFoundError:
        return None
    found = []
    for line in lines:
        with suppress(ValueError, TypeError, KeyError):
            record = json.loads(line)
            found.append(
                Entry(
                    float(record["at"]), str(record["user"]), str(record["job"]),
                    float(record["audio"]), float(record["cpu"]),
                )
            )  # fmt: skip
    return sorted(found, key=lambda entry: entry.at)


def erase(file: Path, *, user: str | None = None, job: str | None = None) -> int:
    """Forget a user or a job while no daemon has the ledger; returns how many entries went."""
    known = read(file) or []
    kept = [each for each in known if each.user != user and each.job != job]
    if len(kept) < len(known):
        _write(file, kept)
    return len(known) - len(kept)


def _write(file: Path, entries: Iterable[Entry]) -> None:
    with durable.io_errors("write the ledger of what users have had"):
        file.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    lines = b"".join(json.dumps(asdict(entry), allow_nan=False).encode() + b"\n" for entry in entries)
    durable.write(file, lines)


# ---- anew


def rebuilt(spool: Spool, since: float) -> list[Entry]:
    """The jobs that ended since ``since``, of which finished folders or, where there is none, statuses tell."""
    found = {entry.job: entry for source in (_statuses, _folders) for entry in source(spool, since)}
    return sorted(found.values(), key=lambda entry: entry.at)


def _folders(spool: Spool, since: float) -> Iterator[Entry]:
    for path in manifests(spool.outbox):
        with suppress(
            OSError, ValueError, TypeError, KeyError, ZeroDivisionError
        ):  # others may have made anything of it
            if path.stat().st_mtime < since:
                continue
            document = json.loads(path.read_bytes())
            at = datetime.fromisoformat(document["created_at"]).timestamp()
            source, resources = document["source"], document["resources"]
            audio = source["frames"] / source["sample_rate"]
            if at >= since:
                cpu = float(resources["cpu_seconds"])
                yield Entry(at, str(document["user_id"]), str(document["job_uuid"]), audio, cpu)


def _statuses(spool: Spool, since: float) -> Iterator[Entry]:
    for path in spool.status.glob("[!.]*.json"):
        with suppress(OSError, ValueError, TypeError, KeyError):
            if path.stat().st_mtime < since:
                continue
            status = json.loads(path.read_bytes())
            at = datetime.fromisoformat(status["updated_at"]).timestamp()
            if JobState(status["state"]).ended and at >= since:
                audio = float(status["audio_seconds"]) if status["state"] == JobState.DONE.value else 0.0
                yield Entry(at, str(status["user_id"]), path.stem, audio, float(status["cpu_seconds"]))


def manifests(outbox: Path) -> Iterator[Path]:
    """The manifest of every finished folder; no finished folder contains another."""
    for folder, directories, files in walk(outbox):
        if "manifest.json" in files:
            directories.clear()
            yield Path(folder, "manifest.json")


def size_of(folder: Path, pause: float = 0.0, stopped: Callable[[], bool] = lambda: False) -> int:
    """Bytes of all files below ``folder``; with a ``pause`` (seconds) after each folder, for who is in no hurry."""
    total = 0
    for parent, _, files in walk(folder):
        if stopped():
            break
        for name in files:
            with suppress(OSError):  # taken away meanwhile
                total += Path(parent, name).lstat().st_size
        if pause:
            time.sleep(pause)
    return total
