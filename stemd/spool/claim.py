"""From a complete entry in the inbox to a sealed job in work/: one rename is the claim.

The order is the protocol (steps A2, C1–C4): the entry is flushed before it is accepted, the job's folder is durable
before the rename, the destination is flushed before the place it came from.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from stemd.core import compliance
from stemd.core.config import Config, JobFile, parse_job, tree
from stemd.core.errors import StemdError
from stemd.core.job import Job, JobId, JobState, Length, Source, decode_name, encode_name, new_job_id
from stemd.core.policy import permit
from stemd.core.request import resolve, takes_several, user_for
from stemd.core.stem_roles import by_role
from stemd.spool import attempts, durable, ignore, lease, ownership, sidecar, sources
from stemd.spool.books import Books, is_buried
from stemd.spool.intake import Candidate, Kind
from stemd.spool.layout import Spool, WorkDir, names, safe_title
from stemd.spool.settle import Writers
from stemd.spool.steps import step
from stemd.spool.survey import survey

#: So many stems one mix takes.
MOST_INPUTS = 128
#: More of a job description is not read; the parser refuses long before.
_MOST_DESCRIPTION = 1 << 20
#: Nor of a preset that lies beside the stems.
_MOST_PRESET = 1 << 18
#: A job is given the id it asks for by one thread at a time: nobody takes that id between the look and the rename.
_NAMING = threading.Lock()


class AcknowledgedError(Exception):
    """The same job_uuid with the same content is known already: the existing result wins."""

    def __init__(self, job_id: JobId) -> None:
        self.job_id = job_id
        super().__init__(job_id)


def claim(spool: Spool, candidate: Candidate, job_id: JobId) -> WorkDir | None:
    """Accept an entry and take it out of the inbox; ``None`` when somebody moved it away first.

    Raises:
        StemdError: the disk failed or is full; the entry is still in the inbox.
    """
    work = spool.job(job_id)
    origin = {
        "inbox": candidate.door.name,
        "kind": candidate.kind.value,
        "name": encode_name(candidate.path.name),
        "identity": list(candidate.fingerprint),
        "claimed_at": time.time(),
    }
    try:
        _accept(candidate)
        prepare(work, origin)
        durable.rename(candidate.path, work.src / candidate.path.name)
    except (FileNotFoundError, StemdError) as error:
        _drop_husk(work)
        if isinstance(error, FileNotFoundError):
            return None
        raise
    step("C2")
    with suppress(StemdError):  # it is ours now, on the disk here or there: both are found after a crash
        durable.fsync(work.src)
        durable.fsync(candidate.door.path)
        step("C3")
        if candidate.sidecar is not None:
            _take_sidecar(candidate.sidecar, work)
    return work


def _drop_husk(work: WorkDir) -> None:
    """Remove the folder of a claim that failed; never with a source in it, whatever a network file system answered."""
    with suppress(OSError, StemdError):  # what cannot be removed now is recovered at the next start
        if work.src.exists():
            work.src.rmdir()
        durable.remove_tree(work.path)


def _accept(candidate: Candidate) -> None:
    if candidate.kind is Kind.FILE:
        durable.fsync(candidate.path)
        if candidate.sidecar is not None:
            with suppress(FileNotFoundError):  # it may be taken back until the claim
                durable.fsync(candidate.sidecar)
    else:
        durable.fsync_tree(candidate.path)
    durable.fsync(candidate.door.path)
    step("A2")


def prepare(work: WorkDir, origin: Mapping[str, Any]) -> None:
    """Step C1: a job's folder, on the disk before anything is renamed into it."""
    with durable.io_errors("make a job's folder"):
        work.path.mkdir(mode=0o700, exist_ok=True)
        work.src.mkdir(mode=0o700, exist_ok=True)
    durable.write_json(work.origin, origin)
    durable.fsync(work.path.parent)
    step("C1")


def _take_sidecar(beside: Path, work: WorkDir) -> None:
    try:
        durable.rename(beside, work.src / beside.name)
    except FileNotFoundError:
        return
    durable.fsync(work.src)
    durable.fsync(beside.parent)
    step("C3b")


def read_origin(work: WorkDir) -> dict[str, Any]:
    """Where a claimed entry came from.

    Raises:
        StemdError: STEMD-S012, the record is missing.
    """
    origin = durable.read_json(work.origin)
    if origin is None:
        raise StemdError("STEMD-S012", "the job's folder has no origin.json")
    return origin


def seal(
    spool: Spool, work: WorkDir, config: Config, length: Callable[[Path], Length | None] = lambda path: None
) -> tuple[WorkDir, Job] | None:
    """Step C4: read the job description, hash the source, write job.json. ``None`` while somebody still writes.

    ``length`` says how much audio a file declares to hold.

    The folder may come back under another name: that of the job_uuid the description asks for.

    Raises:
        StemdError: the description or the entry is at fault (it belongs into orphan/).
        AcknowledgedError: the job is known already.
    """
    origin = read_origin(work)
    name = decode_name(origin["name"])
    entry = work.src / name
    _collect_sidecar(spool, origin, work)
    if lease.writers(work.src) is Writers.SOME:
        return None
    staged = origin["kind"] == Kind.STAGED.value
    root = entry if staged else work.src
    description = _description(root, name, staged)
    dropper = origin.get("dropper") or ownership.dropper(config, entry)
    user = origin.get("user_id") or user_for(config, origin["inbox"], description, dropper)
    request = resolve(config, origin["inbox"], description, user)
    permit(config, user, request)
    if request.art is not None:
        sources.regular_beneath(root, request.art)
    if takes_several(request.engine):
        inputs = _several(work, root, _input_names(root, description, staged, request.options), length)
        source = sources.together(root, work, inputs) if inputs else None
    else:
        inputs = {}
        source = sources.taken(work, sources.regular_beneath(root, _input_name(description, name, staged)), length)
    if source is None:
        return None
    title = next(names(safe_title(name if staged else _stem(name))))
    belongs = origin.get("album")
    job = Job(
        work.job_id, user, origin["inbox"] or "", title, source, request, origin["claimed_at"],
        epoch=attempts.read(work.attempts).epoch,
        compliance=compliance.marks(config, origin["inbox"], user),
        album={key: belongs[key] for key in ("job_uuid", "place")} if belongs else None, inputs=inputs,
    )  # fmt: skip
    wanted = description.job_uuid if description else None
    _check_plain(job)
    if wanted is not None and is_buried(Books.of(config), wanted):
        raise AcknowledgedError(wanted)  # delivered once more: it was erased, and stays so
    if wanted is None:
        durable.write_json(work.job, job.to_dict())
    else:
        with _NAMING:
            _require_free(dict.fromkeys((spool, *map(Spool, config.spool))), work, job, JobId(str(wanted)))
            work, job = _adopt(spool, work, job, JobId(str(wanted)))
    step("C4")
    return work, job


def _check_plain(job: Job) -> None:
    """Refuse what cannot be written down, before anything depends on it."""
    try:
        json.dumps(job.to_dict(), allow_nan=False)
    except ValueError as error:
        raise StemdError("STEMD-S010", "a number in the job description is not finite") from error


def _stem(name: str) -> str:
    return name[: len(name) - len(ignore.suffix(name))] or name


def _collect_sidecar(spool: Spool, origin: Mapping[str, Any], work: WorkDir) -> None:
    """A crash between the claim and its sidecar's: fetch the sidecar now."""
    door = came_from(spool, origin)
    if door is not None and origin["kind"] == Kind.FILE.value:
        beside = door / (decode_name(origin["name"]) + ignore.SIDECAR_SUFFIX)
        if os.path.lexists(beside) and not os.path.lexists(work.src / beside.name):
            _take_sidecar(beside, work)


def came_from(spool: Spool, origin: Mapping[str, Any]) -> Path | None:
    """The inbox that an entry was claimed from; ``None`` for a job that came in an album."""
    if origin.get("album"):
        return None
    return spool.inbox / origin["inbox"] if origin["inbox"] else spool.inbox


def _description(root: Path, name: str, staged: bool) -> JobFile | None:
    possible = ignore.JOB_FILES if staged else (name + ignore.SIDECAR_SUFFIX,)
    found = [candidate for candidate in possible if os.path.lexists(root / candidate)]
    if not found:
        return None
    with sources.opened(sources.regular_beneath(root, found[0])) as file:
        return parse_job(file.read(_MOST_DESCRIPTION), found[0])


def _input_name(description: JobFile | None, name: str, staged: bool) -> str:
    if not staged:
        return name
    if description is None:
        raise StemdError("STEMD-S010", "the folder has no job.yaml any more")
    if description.input is None:
        raise StemdError("STEMD-S010", "job.yaml: `input` is missing: it names the one recording this engine takes")
    return description.input


def _input_names(
    root: Path, description: JobFile | None, staged: bool, options: Mapping[str, Any]
) -> Mapping[str, str]:
    """The files of a mix by role: as the description says, else every recording in the folder but its reference."""
    if not staged:
        remedy = "Put its stems into a folder and drop that: see docs/mix.md."
        raise StemdError("STEMD-S010", "a mix is of several recordings; this is a file by itself", remedy=remedy)
    if description is not None and description.input is not None:
        raise StemdError("STEMD-S010", "job.yaml: a mix takes `inputs`, several; `input` names one")
    named = description.inputs if description is not None else None
    if isinstance(named, Mapping):
        return named
    references = frozenset() if named else _references(root, options)
    files = named or [name for name in survey(root).recordings if name not in references]
    if not files:
        remedy = "Put the stems into the folder and drop it again."
        raise StemdError("STEMD-S010", "there is no recording in the folder to mix", remedy=remedy)
    return by_role(files)


def _references(root: Path, options: Mapping[str, Any]) -> frozenset[str]:
    """The recordings to come near to, which are no stems: those of the options, and of a preset in the folder."""
    layers, preset = [options], options.get("preset")
    if isinstance(preset, str) and os.path.lexists(root / preset):
        with suppress(StemdError, OSError), sources.opened(sources.regular_beneath(root, preset)) as file:
            content = tree.read(file.read(_MOST_PRESET + 1), preset, _MOST_PRESET).data  # its faults are the engine's
            layers += [content] if isinstance(content, dict) else []
    given = [layer.get("reference") for layer in layers]
    files = [each.get("file") for each in given if isinstance(each, Mapping)]
    return frozenset(os.path.normpath(file) for file in files if isinstance(file, str))


def _several(
    work: WorkDir, root: Path, names: Mapping[str, str], length: Callable[[Path], Length | None]
) -> dict[str, Source]:
    """All inputs, hashed; none while somebody still writes to one of them."""
    if len(names) > MOST_INPUTS:
        raise StemdError("STEMD-S010", f"{len(names)} stems; a mix takes {MOST_INPUTS} at most")
    paths = {role: sources.regular_beneath(root, name) for role, name in names.items()}
    found = {path: sources.taken(work, path, length) for path in dict.fromkeys(paths.values())}
    known = {path: source for path, source in found.items() if source is not None}
    return {role: known[path] for role, path in paths.items()} if len(known) == len(found) else {}


def _content_of(spool: Spool, job_id: JobId) -> str | None:
    """The sha256 of the source of a job that is at work or done; ``None`` where there is no such job or result.

    Raises:
        StemdError: STEMD-S011, the job failed and waits in orphan/, or has a folder but is not sealed.
    """
    work = spool.job(job_id)
    record = durable.read_json(work.job)
    if record is None and sidecar.find_orphan(spool, job_id) is not None:
        message = f"job {job_id} failed before and is in orphan/"
        raise StemdError("STEMD-S011", message, remedy=f"`stemd retry {job_id}` tries it again.")
    record = record or durable.read_json(work.job)  # it may have been put back between the two looks
    if record is not None:
        return Job.from_dict(record).source.sha256
    if work.path.exists():
        raise StemdError("STEMD-S011", f"job_uuid {job_id} is being claimed")
    status = durable.read_json(spool.status_file(job_id))
    return status.get("source_sha256") if status and status.get("state") == JobState.DONE else None


def _require_free(spools: Iterable[Spool], work: WorkDir, job: Job, wanted: JobId) -> None:
    """Whether the job in ``work`` may have the id: no other job in any of the daemon's spools has or had it.

    Raises:
        AcknowledgedError: that is the same job.
        StemdError: STEMD-S011, it is another one.
    """
    for spool in spools:
        if spool.job(wanted) == work:  # called so already, by a daemon that died before it was sealed
            continue
        with durable.io_errors(f"look for job {wanted} in {str(spool.root)!r}"):
            known = _content_of(spool, wanted)
        if known == job.source.sha256:
            raise AcknowledgedError(wanted)
        if known is not None:
            raise StemdError("STEMD-S011", f"job_uuid {wanted} belongs to another recording")


def _adopt(spool: Spool, work: WorkDir, job: Job, wanted: JobId) -> tuple[WorkDir, Job]:
    """Give the job the identity its description asks for."""
    adopted = spool.job(wanted)
    if adopted == work:
        durable.write_json(work.job, job.to_dict())
        return work, job
    try:
        durable.rename(work.path, adopted.path)
    except FileExistsError:
        raise StemdError("STEMD-S011", f"job_uuid {wanted} is being claimed") from None
    try:
        durable.fsync(spool.work)
        step("C4a")
        durable.write_json(adopted.job, replace(job, job_uuid=wanted).to_dict())
    except StemdError:
        durable.rename(adopted.path, work.path)  # whoever asked still knows it by its first name
        raise
    return adopted, replace(job, job_uuid=wanted)


def apart(spool: Spool, work: WorkDir) -> WorkDir:
    """Give a job whose id is that of another one a new id, and leave it to be sealed again. Returns its folder.

    A crash in the middle leaves a ``job.json`` that names another id than its folder, which recovery throws away.
    """
    alone = spool.job(new_job_id())
    durable.rename(work.path, alone.path)
    step("R11a")
    alone.job.unlink(missing_ok=True)
    step("R11")
    return alone
