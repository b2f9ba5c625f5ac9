"""The files a job works on: found without leaving its folder, made its own, hashed, and known again later."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from stemd.core.errors import StemdError
from stemd.core.job import Job, Length, Source
from stemd.spool import durable, halt, lease
from stemd.spool.intake import identity, identity_of
from stemd.spool.layout import WorkDir
from stemd.spool.settle import Writers

_BLOCK = 1 << 20
#: What a name that a dropper wrote down may be refused with.
_NO_SUCH_NAME = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})


def taken(work: WorkDir, path: Path, length: Callable[[Path], Length | None]) -> Source | None:
    """The file ``path`` below ``work/J/src``, made private and hashed; ``None`` while somebody still writes to it."""
    _make_private(work, path)
    before = path.lstat()
    digest = sha256(path)
    if identity(path) != identity_of(before) or lease.writers_of_file(path) is Writers.SOME:
        return None
    place = str(path.relative_to(work.src))
    return Source(path.name, place, digest, before.st_size, before.st_mtime_ns, length(path), before.st_ctime_ns)


def together(folder: Path, work: WorkDir, inputs: Mapping[str, Source]) -> Source:
    """The folder of a job with several ``inputs`` as its one source: as long as the longest, as large as all."""
    digest = hashlib.sha256()
    for role, each in sorted(inputs.items()):
        digest.update(f"{role}\0{each.sha256}\n".encode())
    lengths = [each.length for each in inputs.values()]
    known = [length for length in lengths if length is not None]
    longest = Length(max(each.seconds for each in known), max(each.sample_rate for each in known), 2) if known else None
    return Source(
        folder.name,
        str(folder.relative_to(work.src)),
        digest.hexdigest(),
        sum(each.bytes for each in inputs.values()),
        max(each.modified_ns for each in inputs.values()),
        longest if len(known) == len(lengths) else None,
    )


def unchanged(work: WorkDir, source: Source) -> Path:
    """The file of ``source``, if it is still the one that was hashed.

    Whoever dropped it can restore its size and mtime, but not its ctime. That alone says little: a rename of ours
    sets it, and so does moving the spool to another disk; the content decides then.

    Raises:
        StemdError: STEMD-S014, it changed since; STEMD-S007 or S010, something else is in its place.
    """
    path = regular_beneath(work.src, source.path)
    facts = path.lstat()
    known = (facts.st_size, facts.st_mtime_ns) == (source.bytes, source.modified_ns)
    if not known or (facts.st_ctime_ns != source.changed_ns and sha256(path) != source.sha256):
        raise StemdError("STEMD-S014", "the source changed after it was taken: somebody still had it open")
    return path


def changes(work: WorkDir, job: Job) -> tuple[int, ...]:
    """When the job's files, and the folders of its dropper's that they are in, last changed (their ctime).

    Nobody can set that. Who dropped a folder may still be in it: whatever he writes or moves there during the run
    shows here.
    """
    paths = {work.src / each.path for each in job.files}
    folders = {parent for path in paths for parent in path.parents if work.src in parent.parents}
    return tuple(path.lstat().st_ctime_ns for path in sorted(paths | folders))


def same(folder: Path, job: Job) -> bool:
    """Whether the files of ``job`` below ``folder`` are, byte for byte, those that were taken."""
    return all(sha256(regular_beneath(folder, each.path)) == each.sha256 for each in job.files)


def regular_beneath(root: Path, relative: str) -> Path:
    """The file ``root/relative``, if it is regular and no part of the way is a symbolic link or leads out.

    Raises:
        StemdError: STEMD-S010 (not there), STEMD-S007 (of another kind).
    """
    path = root
    if "\0" in relative:
        raise StemdError("STEMD-S010", f"{relative!r} is no file's name")
    if Path(relative).is_absolute() or ".." in Path(relative).parts:
        raise StemdError("STEMD-S010", f"{relative!r} leads out of the folder")
    for part in Path(relative).parts:
        path = path / part
        try:
            mode = path.lstat().st_mode
        except OSError as error:
            if error.errno not in _NO_SUCH_NAME:
                raise
            raise StemdError("STEMD-S010", f"{relative!r} is not in the folder") from None
        if stat.S_ISLNK(mode):
            raise StemdError("STEMD-S007", f"{relative!r} goes through a symbolic link")
    if not stat.S_ISREG(path.lstat().st_mode):
        raise StemdError("STEMD-S007", f"{relative!r} is not a regular file")
    return path


def _make_private(work: WorkDir, path: Path) -> None:
    """A file with a second name could change under us: work on a copy of our own.

    The copy is made in a folder that nobody else can write to; the one the file is in may still be its dropper's.
    """
    if path.stat().st_nlink == 1:
        return
    copy = work.path / "private"
    with durable.io_errors("copy a file that has a second name"):
        copy.unlink(missing_ok=True)
        with path.open("rb") as source, copy.open("xb") as target:
            target.writelines(_blocks(source))
        durable.fsync(copy)
        copy.replace(path)
    durable.fsync(path.parent)


def opened(path: Path) -> BinaryIO:
    """A file of a dropper's, who may still change what its name stands for: a link in its place is not followed."""
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")


def sha256(path: Path) -> str:
    """The file's SHA-256, hex.

    Raises:
        HaltedError: the process ends.
    """
    digest = hashlib.sha256()
    with durable.io_errors(f"read {path.name!r}"), opened(path) as file:
        for block in _blocks(file):
            digest.update(block)
    return digest.hexdigest()


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """All that is in it, unless the process ends."""
    while block := file.read(_BLOCK):
        halt.check()
        yield block
