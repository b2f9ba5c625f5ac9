"""Finished float32 stems on disk, in chunks: what a separation that was interrupted need not do again.

``index.json`` holds the header (everything the numbers depend on) and, per chunk, its frames and sha256. A chunk is
listed only after it was synced (of a track that is one chunk: written), and used again only when the header is the same
and its bytes hash right. Putting the chunks together is checked again: their order, their frames, and their bytes as
they are read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from stemd.core.errors import StemdError
from stemd.engines.audio.reader import BLOCK
from stemd.engines.faults import writing

FORMAT = 1
_INDEX = "index.json"
_PART = ".part"


@dataclass(slots=True)
class ChunkStore:
    """The stems of one track of ``total`` frames × ``shape`` (stems, channels), ``chunk`` frames to a file.

    ``open`` first; then ``append`` from frame ``done`` on, and ``read``. ``reused`` counts the chunks an earlier
    attempt left, ``resumes`` how many attempts went on from such chunks, this one included.
    """

    folder: Path
    header: Mapping[str, Any]
    total: int
    shape: tuple[int, int]
    chunk: int
    done: int = 0
    reused: int = 0
    resumes: int = 0
    discarded: str = ""
    _chunks: list[dict[str, Any]] = field(default_factory=list)
    _file: BinaryIO | None = None
    _hash: Any = None
    _open_frames: int = 0
    _checked: int = 0

    def open(self) -> None:
        """Take over the good chunks of an earlier attempt, remove everything else; ``discarded`` says why, if so."""
        with writing(self.folder):
            self._chunks = self._good()
            self.resumes = self.resumes + 1 if self._chunks else 0
            keep = {_INDEX, *(each["name"] for each in self._chunks)}
            for entry in self.folder.iterdir():
                if entry.name not in keep and (entry.suffix in (".f32", _PART)):
                    entry.unlink()
            self._write_index()
        self.done = sum(each["frames"] for each in self._chunks)
        self.reused = len(self._chunks)

    @property
    def _durable(self) -> bool:
        """Whether what is done shall outlive a power cut: not of a track that is one chunk, and is soon done again."""
        return self.chunk < self.total

    @property
    def count(self) -> int:
        return len(self._chunks)

    def append(self, frames: NDArray[np.float32]) -> None:
        """Add finished frames (frames × stems × channels) after those there.

        Raises:
            StemdError: STEMD-R003 (no room), STEMD-S014 (the disk).
        """
        with writing(self.folder):
            while len(frames):
                if self._file is None:
                    self._file = self._path(self.count, _PART).open("wb")
                    self._hash, self._open_frames = hashlib.sha256(), 0
                now, frames = np.split(frames, [self.chunk - self._open_frames])
                data = np.ascontiguousarray(now, "<f4").data.cast("B") if now.size else b""
                self._file.write(data)
                self._hash.update(data)
                self._open_frames += len(now)
                self.done += len(now)
                if self._open_frames == self.chunk or self.done == self.total:
                    self._close_chunk()

    def close(self) -> None:
        """Let go of an unfinished chunk; its frames are done again next time."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def read(self) -> Iterator[NDArray[np.float32]]:
        """All frames in order, in blocks of frames × stems × channels.

        Raises:
            StemdError: STEMD-E008, the chunks do not make up the track, or one does not read back as it was written;
                the next attempt keeps only the good ones. STEMD-S014, the disk.
        """
        self._check_order()
        for number, chunk in enumerate(self._chunks):
            digest = hashlib.sha256() if number >= self._checked else None
            yield from self._read_one(self._path(number), int(chunk["frames"]), digest)
            if digest is not None and digest.hexdigest() != chunk["sha256"]:
                raise StemdError("STEMD-E008", f"{chunk['name']} does not read back as it was written")
            self._checked = max(self._checked, number + 1)

    def _check_order(self) -> None:
        names = [chunk["name"] for chunk in self._chunks]
        frames = [int(chunk["frames"]) for chunk in self._chunks]
        if names != [self._path(number).name for number in range(self.count)]:
            raise StemdError("STEMD-E008", f"they are out of order: {', '.join(names[:5])} …")
        if any(each != self.chunk for each in frames[:-1]) or sum(frames) != self.total:
            raise StemdError("STEMD-E008", f"they hold {sum(frames)} frames; the track has {self.total}")

    def _read_one(self, path: Path, left: int, digest: Any) -> Iterator[NDArray[np.float32]]:
        size = 4 * self.shape[0] * self.shape[1]
        with writing(path), path.open("rb") as file:
            while left:
                data = file.read(min(left, BLOCK) * size)
                if len(data) != min(left, BLOCK) * size:
                    raise StemdError("STEMD-E008", f"{path.name} ends {left} frames early")
                if digest is not None:
                    digest.update(data)
                block = np.frombuffer(data, "<f4").reshape(-1, *self.shape)
                left -= len(block)
                yield block

    def _path(self, number: int, suffix: str = "") -> Path:
        return self.folder / f"{number:06d}.f32{suffix}"

    def _close_chunk(self) -> None:
        assert self._file is not None
        part, final = self._path(self.count, _PART), self._path(self.count)
        self._file.flush()
        if self._durable:
            os.fsync(self._file.fileno())
        self.close()
        part.rename(final)
        self._chunks.append({"name": final.name, "frames": self._open_frames, "sha256": self._hash.hexdigest()})
        self._write_index()

    def _write_index(self) -> None:
        document = {
            "format": FORMAT,
            "header": self._full_header(),
            "resumes": self.resumes,
            "chunks": self._chunks,
        }
        temporary = self.folder / (_INDEX + _PART)
        with temporary.open("w") as file:
            json.dump(document, file)
            file.flush()
            if self._durable:
                os.fsync(file.fileno())
        temporary.rename(self.folder / _INDEX)
        if not self._durable:
            return
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _full_header(self) -> dict[str, Any]:
        own = {"total": self.total, "shape": list(self.shape), "chunk": self.chunk}
        plain: dict[str, Any] = json.loads(json.dumps({**self.header, **own}))
        return plain

    def _good(self) -> list[dict[str, Any]]:
        try:
            document = json.loads((self.folder / _INDEX).read_text())
            old, listed = document["header"], list(document["chunks"])
            self.resumes = int(document.get("resumes", 0))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return []
        new = self._full_header()
        if document.get("format") != FORMAT or old != new:
            changed = sorted(key for key in new if old.get(key) != new[key]) if isinstance(old, dict) else ["header"]
            self.discarded = f"chunks of an earlier attempt were discarded; changed since: {', '.join(changed)}"
            return []
        for number, chunk in enumerate(listed):
            if not self._is_good(number, chunk):
                self.discarded = f"chunks of an earlier attempt were discarded from number {number} on: damaged"
                return listed[:number]
        return listed

    def _is_good(self, number: int, chunk: Mapping[str, Any]) -> bool:
        path = self._path(number)
        try:
            if path.stat().st_size != chunk["frames"] * 4 * self.shape[0] * self.shape[1]:
                return False
            with path.open("rb") as file:
                return bool(hashlib.file_digest(file, "sha256").hexdigest() == chunk["sha256"])
        except FileNotFoundError:
            return False
