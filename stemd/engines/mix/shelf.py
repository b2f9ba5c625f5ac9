"""What a mix has finished so far, on disk: float32 tracks and the facts found out about them.

A mix that was interrupted goes on from here. ``mix.json`` holds the header (everything the numbers depend on), the
sha256 of each track and what was noted; the facts of a track are in a file beside it, so that what is written for one
more track does not grow with their number. A track is listed only after both were synced, and used again only when it
hashes right. A track that is needed no more is emptied, not removed: how many there are says how far the mix has come.
Several threads may write tracks at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemd.core.errors import StemdError
from stemd.engines.audio.reader import BLOCK
from stemd.engines.faults import writing

if TYPE_CHECKING:
    from stemd.engines.base import Frames

FORMAT = 2
_INDEX = "mix.json"
_FRAME = 8


@dataclass(slots=True)
class Shelf:
    """Tracks by name, frames × 2 each. ``open`` first. ``reused`` counts the tracks an earlier attempt left."""

    folder: Path
    header: Mapping[str, Any]
    reused: int = 0
    resumes: int = 0
    discarded: str = ""
    _tracks: dict[str, dict[str, Any]] = field(default_factory=dict)
    _facts: dict[str, Any] = field(default_factory=dict)
    _notes: dict[str, Any] = field(default_factory=dict)
    _begun: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def open(self) -> None:
        """Take over what an earlier attempt finished, remove everything else; ``discarded`` says why, if so.

        Raises:
            StemdError: STEMD-R003 (no room), STEMD-S014 (the disk).
        """
        with writing(self.folder):
            self._take_over()
            kept = [self.folder / each["file"] for each in self._tracks.values()]
            keep = {self.folder / _INDEX, *kept, *map(_beside, kept)}
            for entry in self.folder.iterdir():
                if entry not in keep and entry.suffix in (".f32", ".part", ".json"):
                    entry.unlink()
            self.reused = self._begun = len(self._tracks)
            self.resumes = self.resumes + 1 if self._tracks else 0
            self._write_index()

    @property
    def count(self) -> int:
        """Tracks finished so far, the emptied ones too."""
        return len(self._tracks)

    def fact(self, name: str) -> Any:
        """What was noted under ``name``, or ``None``."""
        return self._notes.get(name, self._facts.get(name))

    def has(self, name: str) -> bool:
        """Whether the track is finished, emptied or not."""
        return name in self._tracks

    def frames(self, name: str) -> int:
        """How long a finished track is."""
        return int(self._tracks[name]["frames"])

    def note(self, name: str, value: Any) -> None:
        """Keep a fact (anything JSON can say), on the disk."""
        with writing(self.folder), self._lock:
            self._notes[name] = value
            self._write_index()

    def put(self, name: str, blocks: Iterable[Frames], facts: Callable[[], Mapping[str, Any]] = dict) -> None:
        """Write a track from ``blocks`` (frames × 2); ``facts`` are asked for after the last and noted with it.

        Raises:
            StemdError: STEMD-R003 (no room), STEMD-S014 (the disk), and what ``blocks`` raise.
        """
        final = self.folder / f"{self._next():06d}.f32"
        part = final.with_suffix(".f32.part")
        digest, frames = hashlib.sha256(), 0
        with writing(self.folder), part.open("wb") as file:
            for block in blocks:
                data = np.ascontiguousarray(block, "<f4").data.cast("B") if len(block) else b""
                file.write(data)
                digest.update(data)
                frames += len(block)
            file.flush()
            os.fsync(file.fileno())
            found = facts()
            _write(_beside(final), found)
            with self._lock:
                part.rename(final)
                self._tracks[name] = {"file": final.name, "frames": frames, "sha256": digest.hexdigest()}
                self._facts.update(found)
                self._write_index()

    def _next(self) -> int:
        with self._lock:
            self._begun += 1
            taken = {each["file"] for each in self._tracks.values()}
            while f"{self._begun - 1:06d}.f32" in taken:
                self._begun += 1
            return self._begun - 1

    def drop(self, name: str, made: str) -> None:
        """Free the room of a track that is needed no more, now that ``made`` is finished."""
        track = self._tracks[name]
        if not track.get("made"):
            with writing(self.folder), self._lock:
                track["made"] = made
                self._write_index()
                os.truncate(self.folder / track["file"], 0)

    def read(self, name: str, begin: int = 0, end: int | None = None) -> Iterator[Frames]:
        """The track's frames from ``begin`` to ``end`` in blocks; beyond its ends it is silent.

        Raises:
            StemdError: STEMD-E008, the file is not as it was written; STEMD-S014, the disk.
        """
        track = self._tracks[name]
        frames, path = int(track["frames"]), self.folder / track["file"]
        end = frames if end is None else end
        with writing(path), path.open("rb") as file:
            at = begin
            while at < end:
                size = min(BLOCK, end - at)
                first, last = max(at, 0), min(at + size, frames)
                if first >= last:
                    yield np.zeros((size, 2), np.float32)
                else:
                    file.seek(first * _FRAME)
                    data = file.read((last - first) * _FRAME)
                    if len(data) != (last - first) * _FRAME:
                        raise StemdError("STEMD-E008", f"{path.name} ends before frame {last}")
                    block = np.frombuffer(data, "<f4").reshape(-1, 2)
                    yield block if len(block) == size else np.pad(block, ((first - at, at + size - last), (0, 0)))
                at += size

    def _take_over(self) -> None:
        try:
            document = json.loads((self.folder / _INDEX).read_text())
            old, tracks, notes = document["header"], dict(document["tracks"]), dict(document["notes"])
            self.resumes = int(document["resumes"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return
        new = json.loads(json.dumps(self.header))
        if document.get("format") != FORMAT or old != new:
            changed = sorted(key for key in new if old.get(key) != new[key]) if isinstance(old, dict) else ["header"]
            self.discarded = f"work of an earlier attempt was discarded; changed since: {', '.join(changed)}"
        else:
            self._notes = notes
            found = {name: self._facts_of(track) for name, track in tracks.items() if self._is_good(track)}
            self._tracks = _usable({name: tracks[name] for name, facts in found.items() if facts is not None})
            for name in self._tracks:
                self._facts.update(found[name] or {})
            if lost := tracks.keys() - self._tracks.keys():
                self.discarded = f"work of an earlier attempt was discarded: {min(lost)} is damaged"

    def _is_good(self, track: Mapping[str, Any]) -> bool:
        path = self.folder / str(track["file"])
        try:
            if track.get("made"):
                return path.is_file()
            if path.stat().st_size != int(track["frames"]) * _FRAME:
                return False
            with path.open("rb") as file:
                return bool(hashlib.file_digest(file, "sha256").hexdigest() == track["sha256"])
        except FileNotFoundError:
            return False

    def _facts_of(self, track: Mapping[str, Any]) -> dict[str, Any] | None:
        try:
            return dict(json.loads(_beside(self.folder / str(track["file"])).read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def _write_index(self) -> None:
        document = {
            "format": FORMAT,
            "header": self.header,
            "resumes": self.resumes,
            "tracks": self._tracks,
            "notes": self._notes,
        }
        temporary = self.folder / (_INDEX + ".part")
        _write(temporary, document)
        temporary.rename(self.folder / _INDEX)
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _beside(track: Path) -> Path:
    """Where the facts of a track are."""
    return track.with_suffix(".json")


def _write(path: Path, document: Mapping[str, Any]) -> None:
    with path.open("w") as file:
        file.write(json.dumps(document, allow_nan=False))  # json.dump is ten times slower
        file.flush()
        os.fsync(file.fileno())


def _usable(tracks: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Those that are whole, and those that were emptied for one that is usable."""
    kept = dict(tracks)
    while gone := [name for name, track in kept.items() if track.get("made") and track["made"] not in kept]:
        for name in gone:
            del kept[name]
    return kept
