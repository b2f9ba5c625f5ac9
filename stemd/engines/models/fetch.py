"""Getting a model into the store: whole or not at all, by one process at a time."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stemd.core.errors import StemdError
from stemd.engines.models import quarantine
from stemd.engines.models.catalogue import BUILT_IN, Model
from stemd.engines.models.download import Download, FetchProgress, Patience
from stemd.engines.models.fill import FILL, Files
from stemd.engines.models.origins import Origin, origin_of
from stemd.engines.models.store import RECORD, check_name, find, present, verify, weights_of

#: What stays free on the store's disk beside what is fetched (bytes).
_SPARE = 64 << 20
#: An archive and what it holds lie side by side for a moment.
_WITH_ARCHIVE = 2.2


def fetch(
    name: str,
    store: Path,
    source: Path | str | None = None,
    progress: FetchProgress = lambda name, done, of: None,
    *,
    force: bool = False,
    pickles: Collection[str] = (),
    patience: Patience = Patience(),  # noqa: B008  frozen
) -> Path:
    """Put model ``name`` into ``store``, whole or not at all, and return its folder.

    ``source`` is a folder (with the files, or with a folder ``name`` of them), the base of an HTTP(S) server laid out
    like the place where the model is published, or ``None`` for that place. A model that is there and intact is left
    as it is unless ``force``. What an interrupted call had fetched is used by the next one. ``pickles`` are the sha256
    of files in pickle form that the operator consents to.

    Raises:
        StemdError: STEMD-M002 (no such model there), STEMD-M003 (it is here, damaged), STEMD-M004 (its files are not
            what they should be), STEMD-M005 (not fetched), STEMD-M006 (a pickle), STEMD-R003 (the disk is full).
    """
    check_name(name)
    weights = weights_of(name)
    if not force and present(name, store):
        verify(name, store)
        return find(name, store)
    try:
        store.mkdir(parents=True, exist_ok=True)
        origin = origin_of(name, weights, source, _download(store, name, progress, patience))
        with _alone(store, weights):
            if force or not present(name, store):
                return _fetch(name, store, origin, pickles, fresh=force)
            verify(name, store)
            return find(name, store)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise _no_room(store, str(error.strerror)) from error
        raise StemdError("STEMD-M005", f"{name} from {source or 'its publisher'}: {error}") from error


def replace(name: str, store: Path, source: Path | str | None, progress: FetchProgress, why: str, **more: Any) -> Path:
    """Put a damaged model into quarantine and fetch it anew; ``more`` as for ``fetch``.

    Raises:
        StemdError: as ``fetch``; the model is not there any more then.
    """
    weights = weights_of(name)
    try:
        with _alone(store, weights):
            if (store / weights).is_dir() and not _intact(name, store):  # another process may have done it meanwhile
                quarantine.put(store / weights, store, weights, why)
    except OSError as error:
        raise StemdError("STEMD-M005", f"{name} cannot be put away: {error}") from error
    return fetch(name, store, source, progress, **more)


def _intact(name: str, store: Path) -> bool:
    try:
        verify(name, store)
    except StemdError:
        return False
    return True


def _download(store: Path, name: str, progress: FetchProgress, patience: Patience) -> Download:
    known = BUILT_IN.get(name)
    factor = _WITH_ARCHIVE if known and known.engine == "spleeter" else 1.0

    def room(coming: int) -> None:
        facts = os.statvfs(store)
        free, needed = facts.f_bavail * facts.f_frsize, int(coming * factor) + min(coming, _SPARE)
        if free < needed:
            raise _no_room(store, f"{name} needs {needed >> 20} MiB more, {free >> 20} MiB are free")

    def reject(path: Path, why: str) -> None:
        quarantine.put(path, store, weights_of(name), why)

    return Download(progress, room, reject, patience)


def _no_room(store: Path, what: str) -> StemdError:
    return StemdError(
        "STEMD-R003",
        f"the disk of the model store {store}: {what}",
        remedy="Free some space there, or let `paths.models` name a folder on a larger disk.",
    )


@contextmanager
def _alone(store: Path, weights: str) -> Iterator[None]:
    """Wait until no other process fetches the same; the lock ends with the process, however that ends."""
    with (store / f".{weights}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(name: str, store: Path, origin: Origin, pickles: Collection[str], *, fresh: bool) -> Path:
    weights = weights_of(name)
    known = BUILT_IN.get(name)
    if known is not None and known.engine != origin.engine:
        raise StemdError("STEMD-M002", f"{origin} holds no {known.engine} model {name}")
    work = store / f".{weights}.fetch"
    if fresh:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(exist_ok=True)
    try:
        files = FILL[origin.engine](origin, weights, work, pickles)
        return _install(work, store / weights, _record(name, origin, files))
    except OSError:
        shutil.rmtree(work, ignore_errors=True)  # the disk is full, or worse: what came is not worth its room
        raise
    finally:
        if work.is_dir() and not any(work.iterdir()):
            work.rmdir()


def _record(name: str, origin: Origin, files: Files) -> dict[str, Any]:
    known = BUILT_IN.get(name)
    return {
        "schema_version": 1,
        "name": weights_of(name),
        "engine": origin.engine,
        "source": str(origin),
        "fetched_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "bytes": sum(each["bytes"] for each in files.values()),
        **(_published(known) if known else {}),
        "files": files,
    }


def _published(known: Model) -> dict[str, Any]:
    return {
        "stems": list(known.stems),
        "sample_rate": known.sample_rate,
        "licence": known.licence,
        "terms": known.terms,
        "page": known.page,
    }


def _install(work: Path, final: Path, record: dict[str, Any]) -> Path:
    """Put the files that ``record`` names, and it, in place of whatever is there."""
    ready = work.with_name(f".{final.name}.ready")
    old = work.with_name(f".{final.name}.old")
    for leftover in (ready, old):
        shutil.rmtree(leftover, ignore_errors=True)
    ready.mkdir(mode=0o755)
    for file in record["files"]:
        (work / file).rename(ready / file)
    (ready / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    for path in (*ready.iterdir(), ready):
        _sync(path)
    if final.exists():
        final.rename(old)
    ready.rename(final)
    _sync(final.parent)
    for folder in (old, work):
        shutil.rmtree(folder, ignore_errors=True)
    return final


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
