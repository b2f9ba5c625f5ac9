"""The safe drop: copy under a hidden name, flush, then one rename into the inbox.

Whoever watches the inbox sees the whole file or nothing, and no file that is there is ever replaced.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stemd.core.errors import StemdError
from stemd.core.job import JobId, printable
from stemd.spool import durable, ignore, intake
from stemd.spool.layout import numbered, safe_title
from stemd.spool.survey import survey

_MAX_NAME = 255
_FOLDER_MODE = 0o770
_FILE_MODE = 0o660


@dataclass(frozen=True, slots=True)
class Drop:
    """Where a file lies in the inbox now; ``job_id`` is known only for a staged job."""

    source: Path
    path: Path
    job_id: JobId | None = None


def check(file: Path) -> None:
    """Refuse what stemd would not take, before copying it.

    Raises:
        StemdError: STEMD-S018 (no such file), STEMD-S007 (no file), STEMD-S006 (not readable), STEMD-S009 (its name).
    """
    shown = printable(str(file))
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        raise StemdError("STEMD-S018", f"there is no file {shown}", remedy="Check the path.") from None
    except PermissionError as error:
        raise StemdError("STEMD-S006", f"{shown}: {error.strerror}") from error
    if stat.S_ISDIR(mode):
        remedy = "Name the audio files in it; as one mix it goes with --engine mix, or into an inbox of mixes."
        raise StemdError("STEMD-S009", f"{shown} is a folder", remedy=remedy)
    if not stat.S_ISREG(mode):
        raise StemdError("STEMD-S007", f"{shown} is not a regular file")
    if not os.access(file, os.R_OK):
        raise StemdError("STEMD-S006", f"{shown}: mode {stat.filemode(mode)}", remedy="Ask its owner for read access.")
    if ignore.is_sidecar(file.name):
        remedy = "Name the recording it stands beside: it goes with it."
        raise StemdError("STEMD-S009", f"{shown} has the settings of a recording", remedy=remedy)
    if not ignore.is_audio(file.name):
        raise StemdError("STEMD-S009", f"{shown} has no audio suffix")
    if (reason := ignore.ignored(file.name)) is not None:
        raise StemdError("STEMD-S009", f"{shown}: {reason.sentence}", remedy="Rename it first.")


def drop_file(file: Path, inbox: Path, taken: frozenset[str]) -> Drop:
    """Drop a bare file; its settings come from the inbox. ``taken`` are names that have a meaning there."""
    with _hidden(inbox) as temporary:
        _copy(file, temporary)
        suffix = Path(file.name).suffix
        path = _reveal(temporary, inbox, file.name.removesuffix(suffix), suffix, taken)
    return Drop(file, path)


def drop_job(file: Path, inbox: Path, taken: frozenset[str], description: Mapping[str, Any]) -> Drop:
    """Drop a staged job: a folder, named like the result is to be, with the file and its ``job.json``."""
    inner = file.name if file.name.isprintable() and not file.name.startswith("~") else safe_title(file.name)
    with _hidden(inbox) as temporary:
        with durable.io_errors("make a folder in the inbox"):
            temporary.mkdir()
            temporary.chmod(temporary.stat().st_mode & 0o7000 | _FOLDER_MODE)
        _copy(file, temporary / inner)
        document = {"schema_version": 1, **description, "input": inner}
        durable.write(temporary / "job.json", json.dumps(document, indent=2).encode() + b"\n")
        (temporary / "job.json").chmod(_FILE_MODE)
        durable.fsync(temporary)
        path = _reveal(temporary, inbox, _folder_name(file.name), "", taken)
    return Drop(file, path, JobId(description["job_uuid"]))


def check_folder(folder: Path) -> None:
    """Refuse a folder that stemd would not take as one job, before copying it.

    Raises:
        StemdError: STEMD-S006 or S007 (something in it), STEMD-S009 (there is no recording in it).
    """
    if (refusal := intake.refused_inside(folder, os.X_OK)) is not None:
        raise refusal.error
    if not survey(folder).recordings:
        raise StemdError("STEMD-S009", f"there is no audio file in {printable(str(folder))}")


def drop_folder(folder: Path, inbox: Path, taken: frozenset[str], description: Mapping[str, Any] | None) -> Drop:
    """Drop a copy of a folder that is one job; ``description`` becomes its ``job.json``, ``None``: it has its own."""
    with _hidden(inbox) as temporary:
        with durable.io_errors("make a folder in the inbox"):
            for parent, names, files in os.walk(folder):
                names[:] = [name for name in names if ignore.ignored(name) is None]
                inside = temporary / Path(parent).relative_to(folder)
                inside.mkdir()
                inside.chmod(inside.stat().st_mode & 0o7000 | _FOLDER_MODE)
                for name in files:
                    if ignore.ignored(name) is None:
                        _copy(Path(parent, name), inside / name)
        if description is not None:
            document = {"schema_version": 1, **description}
            durable.write(temporary / "job.json", json.dumps(document, indent=2).encode() + b"\n")
            (temporary / "job.json").chmod(_FILE_MODE)
        durable.fsync_tree(temporary)
        path = _reveal(temporary, inbox, _title(folder.resolve().name), "", taken)
    return Drop(folder, path, JobId(description["job_uuid"]) if description else None)


@contextmanager
def _hidden(inbox: Path) -> Iterator[Path]:
    """A free hidden name in the inbox; whatever is still there at the end is removed."""
    temporary = inbox / f"{ignore.OWN_PREFIX}{secrets.token_hex(8)}"
    try:
        yield temporary
    except PermissionError as error:
        raise _not_allowed(inbox, error.strerror or "") from error
    except StemdError as error:
        if error.detail.get("errno") in {1, 13, 30}:
            raise _not_allowed(inbox, error.message) from error
        raise
    except FileNotFoundError as error:
        raise StemdError("STEMD-S005", f"{inbox} is not there", remedy="`stemd run` makes it.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True) if temporary.is_dir() else temporary.unlink(missing_ok=True)


def _not_allowed(inbox: Path, why: str) -> StemdError:
    remedy = f"Ask the operator for write access to {inbox} (its group), or drop the file over the network share."
    return StemdError("STEMD-P003", f"you may not write into {inbox}: {why}", remedy=remedy)


def _copy(file: Path, target: Path) -> None:
    with durable.io_errors(f"copy {file.name!r}"), file.open("rb") as source:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_MODE)
        with os.fdopen(descriptor, "wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
            copy.flush()
            os.fchmod(copy.fileno(), _FILE_MODE)
            os.fsync(copy.fileno())


def _reveal(temporary: Path, inbox: Path, stem: str, suffix: str, taken: frozenset[str]) -> Path:
    """Rename into place under the first free name."""
    number = 1
    while True:
        name = _numbered_name(stem, suffix, number)
        number += 1
        if name in taken:
            continue
        try:
            durable.rename(temporary, inbox / name)
        except FileExistsError:
            continue
        durable.fsync(inbox)
        return inbox / name


def _numbered_name(stem: str, suffix: str, number: int) -> str:
    """``stem (2).mp3``, its stem cut where it would be longer than a name may be."""
    tail = numbered("", number) + suffix
    room = _MAX_NAME - len(os.fsencode(tail))
    whole = os.fsencode(stem)
    cut = stem if len(whole) <= room else whole[:room].decode(errors="ignore")
    return cut + tail


def _folder_name(name: str) -> str:
    """The staged folder's name, which becomes the title."""
    return _title(name.removesuffix(Path(name).suffix))


def _title(name: str) -> str:
    """A name that is taken: one that would be left alone gets underscores around it."""
    title = safe_title(name)
    return title if ignore.ignored(title) is None else f"_{title}_"
