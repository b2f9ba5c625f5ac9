"""What a restart does: each folder in work/ is in one of the protocol's states, and each state has one action."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from stemd.core.errors import StemdError
from stemd.core.job import Job, JobId, JobState, decode_name
from stemd.spool import claim, deliver, durable, follow, ignore, joblock, ledger
from stemd.spool.layout import Spool, WorkDir, safe_title
from stemd.spool.steps import step


class Found(Enum):
    """The states a crash can leave in work/, by their names in the protocol."""

    HUSK = "S2"
    CLAIMED = "S3"
    WORKING = "S4"
    STAGED = "S5"
    PUBLISHED = "S6"
    WAITING = "S8"
    FAILED = "S9"
    UNKNOWN = "S11"
    ALBUM = "S12"
    STUCK = "stuck"


@dataclass(frozen=True, slots=True)
class Recovered:
    """One job after recovery: ``job`` is ``None`` until it is sealed, ``result`` is where it was published.

    ``following`` is a job that a published one has let out now. An ``ALBUM`` is no job any more, but the jobs it was
    split into may not have ended. A ``STUCK`` one could not be brought forward, for ``error``; it was left as it is.
    """

    work: WorkDir
    found: Found
    job: Job | None = None
    result: str | None = None
    error: StemdError | None = None
    following: WorkDir | None = None


#: The first rule that holds names the state.
_RULES: tuple[tuple[Found, Callable[[WorkDir], bool]], ...] = (
    (Found.PUBLISHED, lambda work: work.published.exists()),
    (Found.FAILED, lambda work: durable.read_json(work.error) is not None),
    (Found.ALBUM, lambda work: work.album.exists() and not _has_content(work.src)),
    (Found.HUSK, lambda work: not _has_source(work) and _is_husk(work)),
    (Found.CLAIMED, lambda work: durable.read_json(work.job) is None and _has_source(work) and work.origin.exists()),
    (Found.PUBLISHED, lambda work: work.target.exists() and not work.partial.exists()),
    (Found.UNKNOWN, lambda work: not _has_source(work) or durable.read_json(work.job) is None),
    (Found.STAGED, lambda work: work.manifest.exists()),
    (Found.WAITING, lambda work: work.not_before.exists()),
    (Found.WORKING, lambda work: work.attempts.exists()),
    (Found.CLAIMED, lambda work: True),
)

#: What a kill left in these is flushed before they go on.
_UNFLUSHED = frozenset({Found.CLAIMED, Found.WORKING, Found.WAITING, Found.STAGED, Found.FAILED})


def classify(work: WorkDir) -> Found:
    """Which state a folder is in; looks, changes nothing."""
    return next(state for state, holds in _RULES if holds(work))


def _has_source(work: WorkDir) -> bool:
    return _has_content(work.src) or _has_content(work.kept_source)


def _has_content(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _is_husk(work: WorkDir) -> bool:
    return all(
        child.name in {"src", "lock", "job.log.jsonl", "origin.json", ".origin.json.tmp"}
        for child in work.path.iterdir()
    )


def recover(
    spool: Spool,
    progress: Callable[[], None] = lambda: None,
    holder: Callable[[JobId], WorkDir | None] = lambda job_id: None,
) -> Iterator[Recovered]:
    """Bring every folder in work/ forward and yield the jobs that go on; the rest is finished here.

    ``progress`` is called before each folder (a long recovery must keep the service manager informed). ``holder`` says
    whose folder an id is taken by: one's own is left alone, the job followed one that was recovered before. Needs the
    spool's lock.
    """
    for stray in _strays(spool):
        deliver.unknown(spool, stray, "not a job's folder: stemd did not make it")
    seen: set[WorkDir] = set()
    while new := [work for work in spool.jobs() if work not in seen]:  # one may let out another
        seen.update(new)
        for work in new:
            progress()
            if holder(work.job_id) != work and (recovered := one(spool, work, holder)) is not None:
                seen.add(recovered.work)  # it may have another name now
                yield recovered


def one(
    spool: Spool, work: WorkDir, holder: Callable[[JobId], WorkDir | None] = lambda job_id: None
) -> Recovered | None:
    """Bring one folder forward; a ``STUCK`` one may be given here again."""
    try:
        joblock.release(work)
        return _recover_one(spool, work, taken=holder(work.job_id) not in {None, work})
    except StemdError as error:
        if error.code != "STEMD-S012":
            return Recovered(work, Found.STUCK, error=error)
        _put_aside(spool, work, str(error))
        return None
    except OSError as error:
        return Recovered(work, Found.STUCK, error=StemdError("STEMD-S014", str(error)))


def put_back(spool: Spool, orphan: Path, job_id: str) -> WorkDir:
    """``deliver.retry``. What fails in the middle of it is undone as after a crash, but now, where the disk lets it:
    the job is in orphan/ again. Else it stays in work/, and ``one`` brings it forward.

    Raises:
        StemdError: as ``deliver.retry``; whatever else the disk did.
    """
    try:
        with durable.io_errors("put a failed job back"):
            return deliver.retry(spool, orphan, job_id)
    except (StemdError, OSError) as error:
        with suppress(StemdError, OSError):
            work = spool.job(job_id)
            if not orphan.exists() and work.error.exists():
                _finish_orphan(spool, work, _job(work))
        if isinstance(error, StemdError):
            raise
        raise StemdError("STEMD-S014", f"put a failed job back: {error}") from error


def _strays(spool: Spool) -> list[Path]:
    return [path for path in spool.work.iterdir() if path.is_symlink() or not path.is_dir()]


def _one_name(spool: Spool, work: WorkDir) -> None:
    """S10: of a file that a half-durable rename left under two names, the later name stays.

    Only files: no file system leaves a folder with two parents.
    """
    for earlier, later in _file_renames(spool, work):
        if durable.same_file(earlier, later):
            durable.fsync(later.parent)
            earlier.unlink()
            durable.fsync(earlier.parent)
            step("R10")


def _file_renames(spool: Spool, work: WorkDir) -> Iterator[tuple[Path, Path]]:
    """The renames of files on a job's way: the claim, its sidecar's, and those that end the writing of our files."""
    origin = durable.read_json(work.origin)
    if origin is not None:
        door = claim.came_from(spool, origin)
        name = decode_name(origin["name"])
        for each in (name, name + ignore.SIDECAR_SUFFIX):
            if door is not None:
                yield from ((door / each, folder / each) for folder in (work.src, work.kept_source))
    for folder in (work.path, work.partial):
        for temporary in list(folder.glob(".*.tmp")):
            yield temporary, folder / temporary.name[1 : -len(".tmp")]


def _flush(spool: Spool, work: WorkDir) -> None:
    """Flush what a job goes on from: the daemon may have been killed between a change and its flush.

    Destinations before origins, as in step C3: the source may just have moved into ``out.partial``, or out of it, and
    an album's folder into the outbox. The manifest of a stage may be new in ``out.partial`` as well.
    """
    folders = [work.partial]
    if (noted := durable.read_json(work.place)) is not None:
        folders.append((spool.root / noted["path"]).parent)
    folders += [work.src, work.path, spool.work]
    if durable.read_json(work.job) is None:
        folders += filter(None, [claim.came_from(spool, claim.read_origin(work))])
    for folder in folders:
        with suppress(FileNotFoundError):
            durable.fsync(folder)


def _recover_one(spool: Spool, work: WorkDir, *, taken: bool) -> Recovered | None:
    _one_name(spool, work)
    found = classify(work)
    job = _job(work)
    goes_on = not taken and (job is None or job.job_uuid == work.job_id)
    if found in _UNFLUSHED:
        _flush(spool, work)
    match found:
        case Found.HUSK:
            durable.remove_tree(work.path)
        case Found.PUBLISHED:
            return _finish_publish(spool, work, job)
        case Found.FAILED:
            return _finish_orphan(spool, work, job)
        case Found.ALBUM:
            if work.src.exists():
                work.src.rmdir()
            return Recovered(work, found)
        case Found.UNKNOWN:
            raise StemdError("STEMD-S012", "no source, no published marker")
        case Found.STAGED if job is not None and goes_on:
            return _finish_staged(work, job)
        case _:
            if job is not None:
                deliver.unstage(work)
            return Recovered(work, found, job) if goes_on else _seal_again(spool, work, taken=taken)
    return None


def _seal_again(spool: Spool, work: WorkDir, *, taken: bool) -> Recovered:
    """Another spool's job has this one's id, or ``job.json`` names another: its description decides once more."""
    if taken:
        spool.status_file(work.job_id).unlink(missing_ok=True)  # whatever it says: the recording is still to be done
        work = claim.apart(spool, work)
    else:
        work.job.unlink()
    _flush(spool, work)
    return Recovered(work, Found.CLAIMED)


def _put_aside(spool: Spool, work: WorkDir, reason: str) -> None:
    """S11. Whatever album the job is of must not wait for it."""
    with suppress(LookupError, TypeError):
        ledger.note(spool, work, JobState.FAILED, spool.orphan / "_unknown" / work.path.name, code="STEMD-S012")
    deliver.unknown(spool, work.path, reason)


def _job(work: WorkDir) -> Job | None:
    record = durable.read_json(work.job)
    try:
        return Job.from_dict(record) if record else None
    except (KeyError, TypeError, AttributeError) as error:
        raise StemdError("STEMD-S012", f"job.json is of another form: {type(error).__name__} {error}") from error


def _finish_staged(work: WorkDir, job: Job) -> Recovered:
    """S5: publish what verifies; anything else is done again. Never publish unverified."""
    if deliver.verify(work.partial) is not None:
        return Recovered(work, Found.STAGED, job)
    deliver.unstage(work)
    return Recovered(work, Found.WORKING, job)


def _finish_publish(spool: Spool, work: WorkDir, job: Job | None) -> Recovered | None:
    """S6 and S7: the result is out; make sure of it and retire what is left. Never redo."""
    note = durable.read_json(work.target) or {}
    target = spool.root / str(note.get("path", ""))
    if not work.published.exists():
        document = durable.read_json(target / "manifest.json")
        if document is None or document.get("job_uuid") != work.job_id:
            _put_aside(spool, work, f"its result is not at {note.get('path')!r} and not marked published")
            return None
        deliver.confirm(work, target)
    else:
        durable.fsync(work.path)  # the marker may have been the last thing before a kill
    if note:
        ledger.note(spool, work, JobState.DONE, target)
    following = follow.release(spool, work)
    deliver.retire(spool, work)
    return Recovered(work, Found.PUBLISHED, job, str(target), following=following)


def _finish_orphan(spool: Spool, work: WorkDir, job: Job | None) -> Recovered:
    """S9: error.json is complete; only the moves are missing."""
    report = durable.read_json(work.error) or {}
    name = report.get("source", {}).get("name")
    title = job.title if job else safe_title(name if isinstance(name, str) else work.job_id)
    target = deliver.finish_orphan(spool, work, title, str(report["user_id"]), job)
    return Recovered(work, Found.FAILED, job, str(target), StemdError.from_dict(report))
