"""What the order of system calls alone proves, or does not: invariants I7, I9, I10 and I11, as pure functions.

Each takes the operations of one run (tests/crash/trace.py) and returns what breaks its rule, in words.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from tests.crash.trace import Failed, Fsync, Mark, Mkdir, Open, Operation, Rename, Rmdir, Truncate, Unlink, Write

#: Where a program may always write.
_DEVICES = frozenset({"/dev/null", "/dev/tty"})


def replacing(operations: Iterable[Operation]) -> list[str]:
    """I7: every rename could only fail where something was, but those that end the writing of a file of our own.

    Those go from ``.NAME.tmp`` to ``NAME`` in one folder. A source with a second name is replaced by its private copy.
    """
    return [
        f"I7: {operation.source} could have replaced {operation.target}"
        for operation in operations
        if isinstance(operation, Rename) and not operation.noreplace and not _ends_writing(operation)
    ]


def _ends_writing(rename: Rename) -> bool:
    source, target = PurePosixPath(rename.source), PurePosixPath(rename.target)
    own = source.parent == target.parent and source.name == f".{target.name}.tmp"
    return own or (source.match("work/*/private") and target.is_relative_to(source.parent / "src"))


def retired_early(operations: Iterable[Operation]) -> list[str]:
    """I9: from the claim on, nothing of the source is removed, nor the job's folder, until its result is flushed.

    The result is flushed by an fsync of the folder it was renamed to, after the rename. Between the two nothing at all
    of the job is removed. A source moves from folder to folder by renames, never by a copy.
    """
    found: list[str] = []
    claimed: set[str] = set()
    waiting: dict[str, str] = {}  # published, the folder not flushed yet
    flushed: set[str] = set()
    for operation in operations:
        match operation:
            case Rename(source, target):
                origin, destination = _job(source), _job(target)
                if destination and origin != destination:
                    claimed.add(destination)
                if origin and target.startswith("outbox/"):
                    waiting[origin] = str(PurePosixPath(target).parent)
            case Fsync(path):
                done = {job for job, folder in waiting.items() if folder == path}
                flushed |= done
                waiting = {job: folder for job, folder in waiting.items() if job not in done}
            case Unlink(path) | Rmdir(path):
                job = _job(path)
                precious = job in waiting or (job in claimed and _holds_source(operation))
                if job and job not in flushed and precious:
                    found.append(f"I9: {path} was removed before the result was flushed")
    return found


def _job(path: str) -> str | None:
    parts = PurePosixPath(path).parts
    return parts[1] if len(parts) > 1 and parts[0] == "work" else None


def _holds_source(removal: Unlink | Rmdir) -> bool:
    """A file of a source, or a job's whole folder: folders are removed only when they are empty."""
    inside = PurePosixPath(removal.path).parts[2:]
    if isinstance(removal, Rmdir):
        return not inside
    return inside[:1] in {("src",), ("source",)} or inside[:2] == ("out.partial", "source")


def published_unflushed(operations: Iterable[Operation]) -> list[str]:
    """I10: no result holds a file whose last write or flush failed, and none is flushed again to see it succeed.

    Only what is thrown away or written anew is good again. Files alone: their pages count as clean after a failed
    flush, so that the next one proves nothing; a file system that cannot write a folder stops altogether. Two files
    cannot be made anew: the recording, which was flushed before it was taken, and ``attempts``, which only grows.
    """
    found: list[str] = []
    bad: set[str] = set()
    folders: set[str] = set()
    for operation in operations:
        match operation:
            case Failed(_, path):
                anew = path.startswith("work/") and not path.endswith("/attempts") and not _dropped(path)
                bad |= {path} if anew and path not in folders else set()
            case Open(path, _, flags):
                folders |= {path} if "O_DIRECTORY" in flags else set()
                folders.add(str(PurePosixPath(path).parent))
                bad -= {path} if "O_TRUNC" in flags else set()
            case Mkdir(path):
                folders.add(path)
            case Unlink(path):
                bad.discard(path)
            case Fsync(path) if path in bad:
                found.append(f"I10: {path} was flushed again after a failure")
            case Rename(source, target):
                moved = {path for path in bad if path == source or path.startswith(f"{source}/")}
                if moved and target.startswith("outbox/"):
                    found.append(f"I10: {target} was published although {sorted(moved)} had failed")
                bad = {path for path in bad - moved if path != target}
                bad |= {target + path.removeprefix(source) for path in moved}
    return found


def strays(operations: Iterable[Operation]) -> list[str]:
    """I11: nothing is written outside the root, no opened file is another than the one named, and nothing that was
    dropped is ever written to.

    That a link would not have been followed had there been one is not in a trace: a run over dropped links shows it.
    """
    found: list[str] = []
    arrived = False
    for operation in operations:
        match operation:
            case Mark("arrived"):
                arrived = True
            case Open(path, resolved) if path.startswith("/"):
                if operation.writes and path not in _DEVICES:
                    found.append(f"I11: {path} was opened for writing")
            case Open(path, resolved):
                if path != resolved:
                    found.append(f"I11: {path} led to {resolved}")
                if arrived and operation.writes and _dropped(path):
                    found.append(f"I11: {path} was opened for writing")
            case Write(path) | Truncate(path) if arrived and _dropped(path):
                found.append(f"I11: {path} was written to")
    return found


def _dropped(path: str) -> bool:
    place = PurePosixPath(path)
    return place.parts[0] == "inbox" or place.parts[2:3] == ("src",) or "source" in place.parts[2:-1]
