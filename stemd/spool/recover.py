"""What a restart does: each folder in work/ is in one of the protocol's states, and each state has one action."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from stemd.core.errors import StemdError
from stemd.core.job import Job
from stemd.spool import deliver, durable, joblock
from stemd.spool.layout import Spool, WorkDir, safe_title


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
    STUCK = "stuck"


@dataclass(frozen=True, slots=True)
class Recovered:
    """One job after recovery: ``job`` is ``None`` until it is sealed, ``result`` is where it was published.

    A ``STUCK`` one could not be brought forward, for ``error``; it was left as it is.
    """

    work: WorkDir
    found: Found
    job: Job | None = None
    result: str | None = None
    error: StemdError | None = None


#: The first rule that holds names the state.
_RULES: tuple[tuple[Found, Callable[[WorkDir], bool]], ...] = (
    (Found.PUBLISHED, lambda work: work.published.exists()),
    (Found.FAILED, lambda work: durable.read_json(work.error) is not None),
    (Found.HUSK, lambda work: not _has_source(work) and _is_husk(work)),
    (Found.CLAIMED, lambda work: durable.read_json(work.job) is None and _has_source(work) and work.origin.exists()),
    (Found.PUBLISHED, lambda work: work.target.exists() and not work.partial.exists()),
    (Found.UNKNOWN, lambda work: not _has_source(work) or durable.read_json(work.job) is None),
    (Found.STAGED, lambda work: work.manifest.exists()),
    (Found.WAITING, lambda work: work.not_before.exists()),
    (Found.WORKING, lambda work: work.attempts.exists()),
    (Found.CLAIMED, lambda work: True),
)


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


def recover(spool: Spool, progress: Callable[[], None] = lambda: None) -> Iterator[Recovered]:
    """Bring every folder in work/ forward and yield the jobs that go on; the rest is finished here.

    ``progress`` is called before each folder (a long recovery must keep the service manager informed). Needs the
    spool's lock.
    """
    for stray in _strays(spool):
        deliver.unknown(spool, stray, "not a job's folder: stemd did not make it")
    for work in list(spool.jobs()):
        progress()
        try:
            joblock.release(work)
            recovered = _recover_one(spool, work)
        except StemdError as error:
            if error.code == "STEMD-S012":
                deliver.unknown(spool, work.path, str(error))
                continue
            recovered = Recovered(work, Found.STUCK, error=error)
        except OSError as error:
            recovered = Recovered(work, Found.STUCK, error=StemdError("STEMD-S014", str(error)))
        if recovered is not None:
            yield recovered


def _strays(spool: Spool) -> list[Path]:
    return [path for path in spool.work.iterdir() if path.is_symlink() or not path.is_dir()]


def _recover_one(spool: Spool, work: WorkDir) -> Recovered | None:
    found = classify(work)
    job = _job(work)
    match found:
        case Found.HUSK:
            durable.remove_tree(work.path)
            durable.fsync(spool.work)
        case Found.PUBLISHED:
            return _finish_publish(spool, work, job)
        case Found.FAILED:
            return _finish_orphan(spool, work, job)
        case Found.UNKNOWN:
            raise StemdError("STEMD-S012", "no source, no published marker")
        case Found.STAGED if job is not None:
            return _finish_staged(work, job)
        case _:
            if job is not None:
                deliver.unstage(work)
            return Recovered(work, found, job)
    return None


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
            deliver.unknown(spool, work.path, f"its result is not at {note.get('path')!r} and not marked published")
            return None
        deliver.confirm(work, target)
    deliver.retire(spool, work)
    return Recovered(work, Found.PUBLISHED, job, str(target))


def _finish_orphan(spool: Spool, work: WorkDir, job: Job | None) -> Recovered:
    """S9: error.json is complete; only the moves are missing."""
    report = durable.read_json(work.error) or {}
    name = report.get("source", {}).get("name")
    title = job.title if job else safe_title(name if isinstance(name, str) else work.job_id)
    target = deliver.finish_orphan(spool, work, title, str(report["user_id"]), job)
    return Recovered(work, Found.FAILED, job, str(target), StemdError.from_dict(report))
