"""Every way out of work/: into the outbox, into orphan/, or away as a duplicate.

Until a result is published, the source stays in ``work/J`` (in ``src`` or below ``out.partial/source``); what is
retired is retired only after the outbox's own directory was flushed.
"""

from __future__ import annotations

import grp
import itertools
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from stemd.core.errors import StemdError
from stemd.core.job import Job, JobId, JobState, decode_name, encode_name
from stemd.spool import attempts, durable, follow, handover, ledger, sidecar, sources
from stemd.spool.claim import read_origin
from stemd.spool.intake import Kind
from stemd.spool.layout import Spool, WorkDir, names, orphan_name, safe_title
from stemd.spool.steps import step

#: How often publishing starts over because the folder for the result is taken away meanwhile.
_MOVED_AWAY = 10


def stage(work: WorkDir, job: Job, document: Mapping[str, Any], source_tags: Mapping[str, str]) -> None:
    """Steps P0 and P1, in the worker: sidecars, the kept source, and the manifest last; all of it on the disk.

    ``document`` is the manifest; the stems are in ``out.partial`` already, flushed and read back by the engine. Of a
    job that followed another one the manifest says which: an erasure of the one takes the other along.
    """
    if (follows := read_origin(work).get("follows")) is not None:
        document = {**document, "follows": follows}
    for file in document["files"]:
        tags = sidecar.tags(document, file, source_tags)
        durable.write_json(work.partial / f"{file['name']}.tags.json", tags, durable=False)  # flushed with the stems
    follow.prepare(work, job, document)
    durable.fsync(work.path)  # the folder's own name, before the source moves into it or its result is noted
    step("P1a")
    if job.request.keep_source:
        durable.rename(_source_root(work), work.kept_source)
        step("P0")
    grant(work.partial, job.request.mode, job.request.group)
    durable.fsync_tree(work.partial)
    step("P1b")
    try:
        durable.write_json(work.manifest, document, ready=lambda path: grant(path, job.request.mode, job.request.group))
    except StemdError:
        work.manifest.unlink(missing_ok=True)  # a stage that could not be flushed must not verify
        raise
    step("P1")


def _source_root(work: WorkDir) -> Path:
    """What becomes ``source/``: the folder of a staged job itself, else the folder around the bare file."""
    origin = read_origin(work)
    return work.src / decode_name(origin["name"]) if origin["kind"] == Kind.STAGED.value else work.src


def unstage(work: WorkDir) -> None:
    """Throw away an unfinished result, after bringing the source back from it.

    What makes it look finished goes first: the noted target (a note without ``out.partial`` means published), then
    the manifest (a stage without its source must not verify).
    """
    for mark in (work.target, work.manifest):
        if mark.exists():
            mark.unlink()
            durable.fsync(mark.parent)
            step("U0")
    if work.kept_source.exists():
        home = _source_root(work)
        durable.rename(work.kept_source, home)
        durable.fsync(home.parent)
        step("U1")
    durable.remove_tree(work.next)
    durable.remove_tree(work.partial)
    step("U2")


def grant(path: Path, mode: int, group: str | None, *, shared: bool = True) -> None:
    """Give files ``mode``, folders the same plus search, and all of them ``group``.

    ``shared`` folders may be emptied by the group as well. A source dropped by another user stays that user's, with
    the mode it came with.

    Raises:
        StemdError: STEMD-S003, the service may not hand files to ``group``.
    """
    inside = (Path(folder, name) for folder, *names in os.walk(path) for name in itertools.chain(*names))
    for item in itertools.chain((path,), inside):
        facts = item.lstat()
        if stat.S_ISLNK(facts.st_mode) or facts.st_uid != os.geteuid():
            continue
        if group is not None:
            _change_group(item, group)
        durable.set_mode(item, _folder_mode(mode, shared) if stat.S_ISDIR(facts.st_mode) else mode)


def _folder_mode(mode: int, shared: bool) -> int:
    """Search permission wherever there is read permission; write for the group where it may remove what is inside."""
    return mode | (mode & 0o444) >> 2 | 0o700 | (0o2020 if shared and mode & 0o040 else 0)


def grant_if_possible(path: Path, mode: int, group: str | None) -> None:
    """As much of the permissions as can be given, to what must come out whatever was asked."""
    try:
        grant(path, mode, group, shared=False)
    except StemdError:
        grant(path, mode, None, shared=False)


def _change_group(path: Path, group: str) -> None:
    try:
        if path.lstat().st_gid != grp.getgrnam(group).gr_gid:
            shutil.chown(path, group=group)
    except (LookupError, PermissionError) as error:
        message = f"the finished files cannot be given to group {group!r}: {error}"
        remedy = "Create the group and add the service's user to it, or remove `defaults.output.group`."
        raise StemdError("STEMD-S003", message, remedy=remedy) from error


def verify(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder if every file in it is as the manifest says; ``None`` otherwise."""
    document = durable.read_json(folder / "manifest.json")
    if document is None or "files" not in document:
        return None
    for file in [*document["files"], *document.get("documents", [])]:
        path = folder / file["name"]
        if not path.is_file() or path.stat().st_size != file["bytes"] or sources.sha256(path) != file["sha256"]:
            return None
    return document


def to_outbox(
    spool: Spool,
    work: WorkDir,
    job: Job,
    let_out: Callable[[WorkDir], None] = lambda following: None,
    close_log: Callable[[Path], None] = lambda log: None,
) -> Path:
    """Steps P2–P4: publish ``out.partial`` by one rename, then retire the job's folder. Returns the result's folder.

    ``let_out`` is called with the job that follows, where one does; ``close_log`` writes the last line of the log.
    """
    target = _publish(spool, work, job, close_log)
    ledger.note(spool, work, JobState.DONE, target)
    with suppress(StemdError):  # it is out; what the disk does not let go of here goes at the next start
        if (following := follow.release(spool, work)) is not None:
            let_out(following)
        retire(spool, work)
    return target


def _publish(spool: Spool, work: WorkDir, job: Job, close_log: Callable[[Path], None]) -> Path:
    if work.log.exists():
        with durable.io_errors("copy the job's log"):
            shutil.copyfile(work.log, work.partial / work.log.name)
        close_log(work.partial / work.log.name)  # of the copy: nothing has ended while it may not become visible
        grant(work.partial / work.log.name, job.request.mode, job.request.group)
        durable.fsync(work.partial / work.log.name)
        durable.fsync(work.partial)
    target = _make_visible(spool, work, job)
    step("P2")
    confirm(work, target)
    return target


def _make_visible(spool: Spool, work: WorkDir, job: Job) -> Path:
    """The rename of P2. A consumer may take an album's folder away at any moment: then there is a new one."""

    def note(target: Path) -> None:
        durable.write_json(work.target, {"path": str(target.relative_to(spool.root))})
        step("P2a")
        handover.note(spool, work, job, JobState.DONE, target)

    mode, group = job.request.mode, job.request.group
    for _ in range(_MOVED_AWAY):
        home = user_folder(spool.outbox, job.user_id, mode, group)
        try:
            if job.album is not None:
                home = open_place(home, job.album["place"], mode, group)
            return rename_free(work.partial, home, names(job.title), note)
        except FileNotFoundError:
            if not work.partial.exists():
                raise
    raise StemdError("STEMD-S014", f"the folder {str(home)!r} is taken away again and again")


def open_place(home: Path, place: str, mode: int, group: str | None) -> Path:
    """The folder ``home/PLACE``, made if absent; a part that is no folder of an album gets a number.

    Raises:
        StemdError: STEMD-S010, ``place`` leads out of ``home``.
    """
    parts = PurePosixPath(place).parts
    if not parts or ".." in parts or PurePosixPath(place).is_absolute():
        raise StemdError("STEMD-S010", f"{place!r} is no place in the outbox")
    for part in parts:
        home = next(path for path in map(home.joinpath, names(part)) if _is_open(path, mode, group))
        durable.fsync(home.parent)  # also of an old one: who made it may have been killed before this
    return home


def _is_open(path: Path, mode: int, group: str | None) -> bool:
    """Whether results may stand in the folder ``path``, which is made if absent: it is neither a link nor a result."""
    with durable.io_errors("make an album's folder"), suppress(FileExistsError):
        path.mkdir()
        grant(path, mode, group)
    return path.is_dir() and not path.is_symlink() and not os.path.lexists(path / "manifest.json")


def rename_free(
    source: Path, home: Path, wanted: Iterable[str], note: Callable[[Path], None] = lambda target: None
) -> Path:
    """Rename ``source`` to the first of the ``wanted`` names in ``home`` that is free; each is noted before."""
    for name in wanted:
        target = home / name
        note(target)
        try:
            durable.rename(source, target)
        except FileExistsError:
            continue
        return target
    raise AssertionError("names do not end")


def confirm(work: WorkDir, target: Path) -> None:
    """Step P3: the result's place is on the disk, and so is the marker that says so."""
    try:
        durable.fsync(target.parent)
    except FileNotFoundError:  # an album's folder that a consumer took away this moment: flush it wherever it is
        os.sync()
    step("P3a")
    durable.mark(work.published)
    step("P3")


def user_folder(area: Path, user: str, mode: int, group: str | None) -> Path:
    """``outbox/USER`` or ``orphan/USER``, made if absent."""
    home = area / user
    if not home.is_dir():
        with durable.io_errors(f"make {area.name}/{user}"):
            home.mkdir(exist_ok=True)
            grant(home, mode, group)
    durable.fsync(area)  # also of an old one: who made it may have been killed before this
    return home


def retire(spool: Spool, work: WorkDir) -> None:
    """Step P4: remove a job's folder; what tells a restart that it was published goes last, on the disk too."""
    with durable.io_errors("remove a finished job's folder"):
        for child in work.path.iterdir():
            if child not in {work.target, work.job, work.published}:
                durable.remove_tree(child)
        step("P4a")
        for path in (work.target, work.job):
            path.unlink(missing_ok=True)
        durable.fsync(work.path)
        step("P4b")
        work.published.unlink(missing_ok=True)
        work.path.rmdir()
    step("P4")


def to_orphan(
    spool: Spool, work: WorkDir, error: StemdError, user: str, close_log: Callable[[Path], None] = lambda log: None
) -> Path:
    """Step F1: explain the failure and put the job's folder, source untouched, into orphan/. Returns its new place.

    ``close_log`` writes the last line of the log.
    """
    unstage(work)
    durable.remove_tree(work.chunks)
    record = durable.read_json(work.job)
    job = Job.from_dict(record) if record else None
    name = job.source.name if job else decode_name(read_origin(work)["name"])
    title = job.title if job else safe_title(name)
    report = sidecar.error_report(
        {
            "job_uuid": work.job_id,
            "user_id": job.user_id if job else user,
            "source": {"name": encode_name(name)},
            "inbox": job.inbox if job else read_origin(work)["inbox"] or "",
            "compliance": sidecar.compliance_of_failure(job, time.time()) if job else None,
        },
        error,
        attempts.read(work.attempts).records,
        sidecar.log_tail(work),
    )
    durable.write(work.path / "error.txt", sidecar.error_text(report, name).encode())
    durable.write_json(work.error, report)
    close_log(work.log)  # not before: as long as that is not on the disk, the job goes on
    step("F1a")
    return finish_orphan(spool, work, title, job.user_id if job else user, job)


def finish_orphan(spool: Spool, work: WorkDir, title: str, user: str, job: Job | None) -> Path:
    """The last part of F1, also for a crash in the middle of it: error.json is there, only the moves are missing."""
    if work.src.exists():
        durable.rename(work.src, work.path / "source")
    step("F1b")
    for leftover in (work.lock, work.target, work.not_before, *work.path.glob(".*.tmp")):
        leftover.unlink(missing_ok=True)
    grant_if_possible(work.path, *((job.request.mode, job.request.group) if job else (0o640, None)))
    durable.fsync(work.path)
    home = user_folder(spool.orphan, user, job.request.mode if job else 0o640, None)
    code = str((durable.read_json(work.error) or {}).get("code"))
    state = JobState.CANCELLED if code == "STEMD-P002" else JobState.FAILED

    def note(target: Path) -> None:
        ledger.note(spool, work, state, target, code=code)
        handover.note(spool, work, job, state, target)

    target = rename_free(work.path, home, (orphan_name(name, work.job_id) for name in names(title)), note)
    durable.fsync(home)
    step("F1")
    return target


def unknown(spool: Spool, path: Path, reason: str) -> Path:
    """Put something in no known state aside, with the reason; nothing in it is deleted."""
    home = spool.orphan / "_unknown"
    home.mkdir(exist_ok=True)
    durable.fsync(spool.orphan)
    target = rename_free(path, home, names(path.name))
    durable.write(target.with_name(f"{target.name}.reason.txt"), f"{reason}\n".encode())
    return target


def _check_untouched(orphan: Path) -> None:
    """People may reach into orphan/: the record must still belong here, and name the very source that lies here."""
    record = durable.read_json(orphan / "job.json")
    if record is None:
        return
    job = Job.from_dict(record)
    if job.user_id != orphan.parent.name or not sources.same(orphan / "source", job):
        raise StemdError("STEMD-S010", "job.json and the source in orphan/ are not those of the failed job any more")


def let_go(spool: Spool, work: WorkDir, known: JobId) -> None:
    """Remove a job that is the duplicate of ``known``, marked first so that a restart finishes the removal."""
    ledger.note(spool, work, ledger.DUPLICATE, known=known)
    durable.mark(work.published)
    retire(spool, work)


def retry(spool: Spool, orphan: Path, job_id: str) -> WorkDir:
    """Put a failed job back into work/, one epoch later, its attempts counted anew.

    A crash in the middle leaves it in work/ with its error.json, which recovery takes back to orphan/.

    Raises:
        StemdError: STEMD-S016 (it is at work), STEMD-S010 or S007 (the folder was tampered with in orphan/).
    """
    work = spool.job(job_id)
    _check_untouched(orphan)
    try:
        durable.rename(orphan, work.path)
    except FileExistsError:
        raise StemdError("STEMD-S016", f"job {job_id} is already at work") from None
    except FileNotFoundError:
        raise StemdError("STEMD-S016", f"job {job_id} is not in orphan/ any more") from None
    durable.fsync(spool.work)
    step("Y1")
    if (work.path / "source").exists():
        durable.rename(work.path / "source", work.src)
    attempts.record_epoch(work.attempts)
    record = durable.read_json(work.job)
    if record is not None:
        job = Job.from_dict(record)
        durable.write_json(work.job, replace(job, epoch=job.epoch + 1).to_dict())
    ledger.note(spool, work, JobState.WAITING)
    step("Y2")
    work.error.unlink()
    (work.path / "error.txt").unlink(missing_ok=True)
    durable.fsync(work.path)
    step("Y3")
    return work
