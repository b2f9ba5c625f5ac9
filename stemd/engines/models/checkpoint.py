"""A TensorFlow checkpoint as Spleeter publishes it: four files in a ``.tar.gz``."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from stemd.core.errors import StemdError

#: The files, and the most bytes each may have.
FILES = {
    "checkpoint": 1 << 16,
    "model.index": 1 << 24,
    "model.data-00000-of-00001": 1 << 30,
    "model.meta": 1 << 26,
}
_MOST_MEMBERS = 100
_MOST_PADDING = 1 << 20
_BLOCK = 1 << 20


def extract(archive: Path, folder: Path) -> None:
    """Write the four files of ``archive`` into ``folder``, and nothing else.

    They may lie in one folder inside; other plain files with plain names are passed over, and whatever has no business
    in such an archive (links, devices, ways out, huge files, a file twice) condemns it as a whole.

    Raises:
        StemdError: STEMD-M004.
        OSError: ``folder`` cannot be written.
    """
    try:
        with gzip.open(archive) as content:
            found = _take(content, folder)
            if len(content.read(_MOST_PADDING)) == _MOST_PADDING:  # to its end: there its checksum is compared
                raise ValueError("it goes on after its end")
    except (tarfile.TarError, EOFError, zlib.error, ValueError) as error:
        raise _refused(archive, str(error) or type(error).__name__) from error
    except OSError as error:
        if error.errno is None:  # gzip's own complaints have no number
            raise _refused(archive, str(error)) from error
        raise
    if missing := FILES.keys() - found:
        raise _refused(archive, f"it lacks {', '.join(sorted(missing))}")


def _take(content: gzip.GzipFile, folder: Path) -> set[str]:
    found: set[str] = set()
    with tarfile.open(fileobj=content, mode="r|") as tar:
        for number, member in enumerate(tar):
            name = _wanted(member, number)
            if name is None:
                continue
            if name in found:
                raise ValueError(f"it holds {name} twice")
            found.add(name)
            file = tar.extractfile(member)
            assert file is not None
            _write(file, folder / name, member.size)
    return found


def _wanted(member: tarfile.TarInfo, number: int) -> str | None:
    """The name of one of the four files; ``None`` for what may be passed over.

    Raises:
        ValueError: it condemns the archive.
    """
    path = PurePosixPath(member.name)
    if number >= _MOST_MEMBERS:
        raise ValueError(f"it holds more than {_MOST_MEMBERS} entries")
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{member.name!r} leads out of it")
    if member.isdir():
        return None
    if not member.isreg():
        raise ValueError(f"{member.name!r} is no plain file")
    if member.size > FILES.get(path.name, max(FILES.values())):
        raise ValueError(f"{member.name!r} has {member.size} bytes")
    return path.name if path.name in FILES and len(path.parts) <= 2 else None


def _write(content: IO[bytes], target: Path, size: int) -> None:
    target.unlink(missing_ok=True)
    with target.open("xb") as file:
        shutil.copyfileobj(content, file, _BLOCK)
    if target.stat().st_size != size:
        raise ValueError(f"{target.name} is cut short")


def _refused(archive: Path, why: str) -> StemdError:
    return StemdError(
        "STEMD-M004",
        f"{archive.name} is no archive of a checkpoint: {why}",
        remedy="Get the archive again from where the model is published (`stemd models list --json` names the page).",
    )
