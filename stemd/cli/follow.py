"""Follow one job to its end, from its status file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stemd.core.errors import TABLE, Exit, StemdError
from stemd.core.job import JobState, printable
from stemd.ops import snapshot
from stemd.ops.snapshot import JobView, Where
from stemd.spool.layout import Spool
from stemd.spool.sidecar import iso

POLL_SECONDS = 0.2
#: Without a daemon for so long (a restart takes less), there is nothing to wait for.
DAEMON_PATIENCE = 5.0


@dataclass(slots=True)
class Followed:
    """One job being followed. ``inbox_path`` is where a staged job was dropped, if this command dropped it."""

    spool: Spool
    job_id: str
    inbox_path: Path | None = None
    view: JobView | None = None
    dropped_at: float = field(default_factory=time.time)

    def look(self, where: Where) -> None:
        """Read the job's present state."""
        found = snapshot.read_job(self.spool, self.job_id)
        if found is None and self.inbox_path is not None:
            found = snapshot.find_in_inbox(where, self.inbox_path) or self._refused(where)
        self.view = found or self.view

    @property
    def ended(self) -> bool:
        return self.view is not None and self.view.ended

    def _refused(self, where: Where) -> JobView | None:
        """A job whose description is at fault never gets the id it asks for: find it by its folder's name."""
        assert self.inbox_path is not None
        title, since = printable(self.inbox_path.name), iso(self.dropped_at - 1.0)
        ended = (view for view in snapshot.snapshot(where).jobs if view.ended and (view.claimed_at or "") >= since)
        return next((view for view in ended if view.title == title), None)


def follow(where: Where, jobs: list[Followed], show: Callable[[], None]) -> Iterator[Followed]:
    """Look again and again until all have ended, and yield each as it ends; ``show`` is called after each look.

    Raises:
        StemdError: STEMD-S017, no daemon has been running for ``DAEMON_PATIENCE`` seconds.
    """
    open_jobs = list(jobs)
    alive_at = time.monotonic()
    next_owner = alive_at
    while open_jobs:
        for job in open_jobs:
            job.look(where)
        show()
        ended = [job for job in open_jobs if job.ended]
        yield from ended
        open_jobs = [job for job in open_jobs if not job.ended]
        now = time.monotonic()
        if now >= next_owner:
            next_owner = now + 1.0
            if all(snapshot.owner_of(job.spool) is not None for job in open_jobs):
                alive_at = now
            elif now - alive_at >= DAEMON_PATIENCE:
                raise _alone(open_jobs)
        if open_jobs:
            time.sleep(POLL_SECONDS)


def _alone(jobs: list[Followed]) -> StemdError:
    names = ", ".join(job.job_id for job in jobs)
    message = f"no daemon is running on {jobs[0].spool.root}: {names} waits for one and is not lost"
    return StemdError("STEMD-S017", message, detail={"jobs": [job.job_id for job in jobs]})


def exit_status(view: JobView) -> int:
    """The status a command ends with when this is how the job ended."""
    if view.state == JobState.DONE:
        return Exit.OK
    row = TABLE.get(str((view.reason or {}).get("code")))
    return row.exit if row else Exit.GENERAL
