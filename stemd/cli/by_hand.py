"""What can be done to a job while no daemon runs: under the spool's lock, with the spool's own functions.

What root does is done as the service's user: what root made, the service could neither read nor delete. Each is told to
the audit trail like what the daemon is asked for; a trail that cannot be written stops nobody here either, but says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from stemd.cli import report
from stemd.cli.as_owner import as_owner
from stemd.core.access import by_uid
from stemd.core.errors import StemdError
from stemd.core.job import JobState
from stemd.ops.jobs import JobView, reason_of
from stemd.spool import attempts, deliver, durable, erase, intents, joblock, moved, ownership, probes, recover, sidecar
from stemd.spool.books import Books
from stemd.spool.intents import Intent
from stemd.spool.layout import Spool, WorkDir
from stemd.spool.recover import Found
from stemd.spool.trail import Trail

if TYPE_CHECKING:
    from stemd.core.config import Config

_UNFINISHED = frozenset({Found.CLAIMED, Found.WORKING, Found.STAGED, Found.WAITING})


def retry(config: Config, view: JobView) -> str:
    """Put a failed job back into work/; the next daemon goes on with it. Returns its state.

    Raises:
        StemdError: STEMD-S001 (a daemon owns the spool after all), STEMD-S016 (it is not in orphan/), STEMD-P003.
    """
    spool, job_id = view.spool, view.job_uuid or ""
    with _owned(spool):
        orphan = sidecar.find_orphan(spool, job_id)
        if orphan is None:
            raise StemdError("STEMD-S016", f"job {job_id} is not in orphan/ any more")
        erase.refuse_return(Books.of(config), orphan, job_id)
        recover.put_back(spool, orphan, job_id)
        state = JobState.WAITING.value
        _note(spool, job_id, state=state, stage="put back", progress=0.0, attempts=0, reason=None, result=None)
    return state


def cancel(config: Config, view: JobView) -> str:
    """Put an unfinished job into orphan/. Returns its state.

    Raises:
        StemdError: STEMD-S001 (a daemon owns the spool after all), STEMD-S016 (it has ended or is no job), STEMD-P003.
    """
    if view.path is not None:
        return _decide(config, view, Intent.CANCEL, "cancelling")
    spool, job_id = view.spool, view.job_uuid or ""
    error = StemdError("STEMD-P002")
    with _owned(spool):
        work = _unfinished(spool, job_id)
        joblock.release(work)
        user = view.user_id or ownership.of_claimed(config, work)
        target = deliver.to_orphan(spool, work, error, user)
        state = JobState.CANCELLED.value
        _note(spool, job_id, state=state, stage="ended", user_id=user, reason=reason_of(error), result=str(target))
    return state


def hold(config: Config, view: JobView) -> str:
    """Keep an unfinished job, or an entry of an inbox, back. Returns its state.

    Raises:
        StemdError: STEMD-S001, STEMD-S016 (it has ended or is no job), STEMD-P003.
    """
    if view.path is not None:
        return _decide(config, view, Intent.HOLD, JobState.HELD.value)
    state, job_id = JobState.HELD.value, view.job_uuid or ""
    with _owned(view.spool):
        durable.write_json(_unfinished(view.spool, job_id).not_before, {"state": state})
        _note(view.spool, job_id, state=state, stage="held", reason=None)
    return state


def release(config: Config, view: JobView) -> str:
    """Let a held job, or a held entry of an inbox, go on. Returns its state.

    Raises:
        StemdError: STEMD-S001, STEMD-S016 (it is not held), STEMD-P003.
    """
    if view.state != JobState.HELD.value:
        raise StemdError("STEMD-S016", f"{view.title} is {view.state}, not held")
    if view.path is not None:
        return _decide(config, view, None, JobState.WAITING.value)
    state, job_id = JobState.WAITING.value, view.job_uuid or ""
    with _owned(view.spool):
        work = _unfinished(view.spool, job_id)
        work.not_before.unlink(missing_ok=True)
        with suppress(StemdError):  # without it the job is taken for one that waited all the time
            attempts.record_release(work.attempts)
        _note(view.spool, job_id, state=state, stage="released", reason=None)
    return state


_WORDS = {"retry": retry, "cancel": cancel, "hold": hold, "release": release}


def do(config: Config, word: str, view: JobView) -> str:
    """Do what ``word`` says to one job, or entry of an inbox, and tell the audit trail. Returns its state.

    Raises:
        StemdError: as the functions above.
    """
    _follow(config, view.spool)
    state = _WORDS[word](config, view)
    try:
        _follow(config, Spool(config.spool[0]))
        with _owned(Spool(config.spool[0])):
            trail = Trail(Books.of(config))
            person = by_uid(config, os.getuid(), config.spool[0].stat().st_uid)
            trail.record("steered", actor=person, action=word, user=view.user_id, job=view.job_uuid)
    except (StemdError, OSError) as error:
        report.note(f"this is not in the audit trail: {error}")
    return state


def _follow(config: Config, spool: Spool) -> None:
    """If it was moved since a daemon ran, what is kept for it comes first: nothing may be begun anew in its place."""
    with _owned(spool):
        moved.follow(config.state_of(spool.root), spool)


def _unfinished(spool: Spool, job_id: str) -> WorkDir:
    work = spool.job(job_id)
    if not work.path.is_dir() or recover.classify(work) not in _UNFINISHED:
        raise StemdError("STEMD-S016", f"job {job_id} is not unfinished any more")
    return work


def _decide(config: Config, view: JobView, intent: Intent | None, state: str) -> str:
    """Write the decision about an entry of an inbox down; the next daemon follows it."""
    root = view.spool.root
    with _owned(view.spool):
        name = str(Path(view.path or "").relative_to(view.spool.inbox))
        file = intents.place(config.state_of(root), root)
        intents.decide(file, name, intent)
    return state


@contextmanager
def _owned(spool: Spool) -> Iterator[None]:
    """Hold the spool's lock for the block, as its owner; what the system forbids becomes STEMD-P003."""
    try:
        descriptor = probes.take_lock(spool)
        try:
            with as_owner(spool.root):
                yield
        finally:
            os.close(descriptor)
    except PermissionError as error:
        raise StemdError("STEMD-P003", f"{error.filename}: {error.strerror}") from error
    except StemdError as error:
        if error.code == "STEMD-S003" or error.detail.get("errno") in {1, 13}:
            raise StemdError("STEMD-P003", error.message) from error
        raise


def _note(spool: Spool, job_id: str, **changes: object) -> None:
    """Say in ``status/`` what was done; the rest of the status stays."""
    known = durable.read_json(spool.status_file(job_id)) or {}
    for key in ("schema_version", "job_uuid", "updated_at"):
        known.pop(key, None)
    sidecar.write_status(
        spool, job_id, {**known, "next_attempt_at": None, "eta_seconds": None, "realtime_factor": None, **changes}
    )
