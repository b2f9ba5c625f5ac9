"""Getting a model into the store: from a folder, or over HTTP(S) in the layout of Hugging Face."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from stemd.core.errors import StemdError
from stemd.engines.models.catalogue import BUILT_IN
from stemd.engines.models.store import RECORD, check_name, find, parse_bag, present, verify

DEFAULT_BASE = "https://huggingface.co"
_PIECE = 1 << 20
_PATIENCE = 60.0

#: Called with a file's name, its bytes so far, and its bytes in all (``None``: not told).
FetchProgress = Callable[[str, int, int | None], None]


def fetch(
    name: str,
    store: Path,
    source: Path | str | None = None,
    progress: FetchProgress = lambda name, done, of: None,
    *,
    force: bool = False,
) -> Path:
    """Put model ``name`` into ``store``, whole or not at all, and return its folder.

    ``source`` is a folder (with the files, or with a folder ``name`` of them), the base of an HTTP(S) server laid out
    like Hugging Face, or ``None`` for Hugging Face itself. A model that is there and intact is left as it is unless
    ``force``. The sha256 of each file as it arrived is recorded.

    Raises:
        StemdError: STEMD-M002 (no such model there), STEMD-M004 (its bag is no bag), STEMD-M005 (not fetched),
            STEMD-R003 (the disk is full).
    """
    check_name(name)
    if not force and present(name, store):
        verify(name, store)
        return find(name, store)
    origin = _origin(name, source)
    try:
        store.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=store) as temporary:
            _fill(Path(temporary), name, origin, progress)
            return _install(Path(temporary), store / name)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise StemdError("STEMD-R003" if full else "STEMD-M005", f"{name} from {origin}: {error}") from error


def _origin(name: str, source: Path | str | None) -> _Folder | _Web:
    if source is None:
        return _Web(name, DEFAULT_BASE)
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        return _Web(name, source)
    return _Folder(name, Path(source))


class _Folder:
    """Files in a folder, or in the folder ``name`` below it."""

    def __init__(self, name: str, base: Path) -> None:
        self._base = base / name if (base / name / f"{name}.yaml").is_file() else base
        if not (self._base / f"{name}.yaml").is_file():
            raise StemdError("STEMD-M002", f"{base} has no {name}.yaml and no folder {name} with one")

    def __str__(self) -> str:
        return str(self._base)

    @contextmanager
    def open(self, file: str) -> Iterator[tuple[IO[bytes], int | None]]:
        with (self._base / file).open("rb") as content:
            yield content, os.fstat(content.fileno()).st_size


class _Web:
    """Files at ``BASE/REPOSITORY/resolve/main/FILE``."""

    def __init__(self, name: str, base: str) -> None:
        known = BUILT_IN.get(name)
        if known is None or known.repository is None:
            raise StemdError("STEMD-M002", f"{name!r} is nothing the network has; give a folder (--from DIR)")
        self._base = f"{base.rstrip('/')}/{known.repository}/resolve/main"

    def __str__(self) -> str:
        return self._base

    @contextmanager
    def open(self, file: str) -> Iterator[tuple[IO[bytes], int | None]]:
        request = urllib.request.Request(f"{self._base}/{file}", headers={"User-Agent": "stemd"})  # noqa: S310 - http(s)
        with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:  # noqa: S310 - http(s) only
            length = answer.headers.get("Content-Length")
            yield answer, int(length) if length else None


def _fill(folder: Path, name: str, origin: _Folder | _Web, progress: FetchProgress) -> None:
    bag_file = f"{name}.yaml"
    files = {bag_file: _take(folder, bag_file, origin, progress)}
    bag = parse_bag((folder / bag_file).read_bytes(), bag_file)
    for member in dict.fromkeys(bag.members):
        files[f"{member}.safetensors"] = _take(folder, f"{member}.safetensors", origin, progress)
    fetched_at = datetime.now(UTC).isoformat(timespec="seconds")
    facts = {"schema_version": 1, "name": name, "source": str(origin), "fetched_at": fetched_at, "files": files}
    with (folder / RECORD).open("w") as file:
        json.dump(facts, file, indent=2)
        _sync(file)


def _take(folder: Path, file: str, origin: _Folder | _Web, progress: FetchProgress) -> dict[str, Any]:
    """Copy one file, and return its sha256 and size; one that ends early is no file."""
    digest, done = hashlib.sha256(), 0
    part = folder / f"{file}.part"
    with origin.open(file) as (content, size), part.open("wb") as target:
        while piece := content.read(_PIECE):
            target.write(piece)
            digest.update(piece)
            done += len(piece)
            progress(file, done, size)
        _sync(target)
    if size is not None and done != size:
        raise StemdError("STEMD-M005", f"{file} ended after {done} of {size} bytes")
    part.rename(folder / file)
    return {"sha256": digest.hexdigest(), "bytes": done}


def _install(filled: Path, final: Path) -> Path:
    """Put the filled folder in place of whatever is there."""
    ready = filled.with_name(f"{filled.name}.ready")
    filled.rename(ready)
    ready.chmod(0o755)
    filled.mkdir()
    if final.exists():
        final.rename(filled / "old")
    ready.rename(final)
    for folder in (final, final.parent):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    shutil.rmtree(filled / "old", ignore_errors=True)
    return final


def _sync(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())
