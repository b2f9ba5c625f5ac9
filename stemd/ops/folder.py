"""What stands in the folder of one job: log, files, error. Consumers may write there, so nothing is simply believed.

A folder in the outbox may be moved, changed or exchanged at any moment by whoever it was made for: it is opened
without following a link, and believed only where its own records name the job.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from stemd.core.job import printable
from stemd.ops.jobs import JobView
from stemd.spool import beneath

_MOST_JSON = 4 << 20
_MOST_NUMBER = 1 << 64
_LOG_BYTES, _LOG_EVENTS = 256 << 10, 300
#: What a timeline shows of an event. Traces and paths stay in the log.
_SHOWN = (
    "stage", "progress", "attempt", "chunks", "code", "message", "reason", "remedy", "seconds", "outcome", "found",
    "interruptions", "warm", "warnings", "engine", "model",
)  # fmt: skip
_ROW: Mapping[str, type | tuple[type, ...]] = {
    "name": str, "stem": str, "sha256": str, "bytes": int, "frames": int, "sample_rate": int, "channels": int,
    "peak": (int, float), "lufs": (int, float, type(None)),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder ``parts`` below ``root``; the job called ``job_uuid`` is in it as long as its records say so."""

    root: Path
    parts: tuple[str, ...]
    job_uuid: str

    @classmethod
    def of(cls, job: JobView) -> Folder:
        """Where the job is now: in ``outbox/``, ``orphan/`` or ``work/``."""
        parts: tuple[str, ...] = ("work", job.job_uuid or "")
        if job.result is not None and Path(job.result).is_relative_to(job.root):
            inside = Path(job.result).relative_to(job.root).parts
            parts = inside if inside and inside[0] in {"outbox", "orphan"} else parts
        return cls(Path(job.root), parts, job.job_uuid or "")

    def timeline(self) -> list[dict[str, Any]]:
        """The last events of the job's log, oldest first: ``at``, ``event``, and what is fit to show of the rest."""
        with self._open() as folder:
            data = beneath.read(folder, "job.log.jsonl", _LOG_BYTES, tail=True) if folder is not None else None
        return [event for line in (data or b"").split(b"\n")[-_LOG_EVENTS:] if (event := _event(line)) is not None]

    def manifest(self) -> dict[str, Any] | None:
        """``manifest.json`` of a finished folder; ``None``: there is none, or it is that of another job."""
        return self._record("manifest.json") if self.parts[0] == "outbox" else None

    def failure(self) -> dict[str, Any] | None:
        """``error.json`` of a failed one, without its log."""
        report = self._record("error.json") if self.parts[0] == "orphan" else None
        return {key: value for key, value in report.items() if key != "log_tail"} if report else None

    def files(self) -> list[dict[str, Any]]:
        """The audio files of a finished folder, as its manifest lists them; ``tracks`` are those inside one file."""
        rows = []
        for row in _rows(self.manifest(), "files"):
            if all(_fits(row.get(key), kind) for key, kind in _ROW.items()):
                tracks = [track["stem"] for track in _rows(row, "tracks") if isinstance(track.get("stem"), str)]
                rows.append({**{key: row[key] for key in _ROW}, **({"tracks": tracks} if tracks else {})})
        return rows

    def documents(self) -> list[str]:
        """The names of its files that are no audio, and no records."""
        return [row["name"] for row in _rows(self.manifest(), "documents") if isinstance(row.get("name"), str)]

    def read(self, name: str) -> bytes | None:
        """A small file of it; ``None``: there is none."""
        with self._open() as folder:
            return beneath.read(folder, name, _MOST_JSON) if folder is not None else None

    def descriptor(self, name: str) -> int | None:
        """A file of it, to be read and closed; ``None``: there is none."""
        with self._open() as folder:
            return beneath.regular(folder, name) if folder is not None else None

    @contextmanager
    def _open(self) -> Iterator[int | None]:
        with beneath.folder(self.root, self.parts) as folder:
            yield folder

    def _record(self, name: str) -> dict[str, Any] | None:
        try:
            document = _parsed(self.read(name) or b"")
        except (ValueError, RecursionError):
            return None
        mine = isinstance(document, dict) and document.get("job_uuid") == self.job_uuid
        return document if mine else None


def _rows(document: Mapping[str, Any] | None, key: str) -> list[dict[str, Any]]:
    rows = (document or {}).get(key)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _fits(value: Any, kind: type | tuple[type, ...]) -> bool:
    match value:
        case str():
            return kind is str and value == value.encode(errors="ignore").decode()  # halves of characters go nowhere
        case int() if kind is int:
            return 0 <= value <= _MOST_NUMBER
    return isinstance(value, kind)


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = _parsed(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not all(isinstance(event.get(key), str) for key in ("at", "event")):
        return None
    return {
        "at": printable(event["at"]),
        "event": printable(event["event"]),
        **{key: event[key] for key in _SHOWN if event.get(key) not in (None, [], "")},
    }


def _parsed(data: bytes) -> Any:
    """JSON without the numbers that JSON does not have, or that no record of ours can have."""
    return json.loads(data, parse_constant=_refuse, parse_float=_finite, parse_int=_whole)


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _whole(text: str) -> int:
    number = int(text)
    return number if abs(number) <= _MOST_NUMBER else _refuse(text)
