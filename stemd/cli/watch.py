"""``stemd watch``: what is going on, kept up to date."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from stemd.cli import options, report
from stemd.cli.follow import Followed, exit_status, follow
from stemd.cli.status import jobs_table, overview, summary
from stemd.core.errors import Exit
from stemd.ops.snapshot import JobView, Where, find_job, snapshot

_INTERVAL = 1.0


@click.command()
@click.argument("job", required=False)
@options.common_with_spool
def watch(config_file: Path | None, as_json: bool, spool: Path | None, job: str | None) -> int:
    """Watch all jobs until interrupted, or one JOB until it ends.

    With JOB the exit status is that of its result.

    With --json, and where the output is no terminal, one line for each change.
    """
    where = options.places(config_file, spool)
    if job is not None:
        return _watch_one(where, find_job(where, job), as_json)
    if as_json or not sys.stdout.isatty():
        _stream(lambda: snapshot(where).jobs, _printer(as_json))
    from stemd.cli import render

    def draw() -> str:
        now = snapshot(where)
        return overview(now) + "\n\n" + jobs_table(view for view in now.jobs if not view.ended)

    with render.live(draw) as show:
        while True:
            time.sleep(_INTERVAL)
            show()


def _watch_one(where: Where, view: JobView, as_json: bool) -> int:
    from stemd.cli import render

    if view.job_uuid is None:
        report.note(f"{view.title} is still in the inbox and no job yet: `stemd why` says why")
        return Exit.TRY_LATER
    job = Followed(view.spool, view.job_uuid, Path(view.path) if view.path else None, view)
    changed = _printer(as_json)
    with render.progress([job], quiet=as_json) as bars:

        def show() -> None:
            bars()
            if as_json and job.view is not None:
                changed([job.view])

        for _ in follow(where, [job], show):
            pass
    assert job.view is not None
    if not as_json:
        report.result(job.view)
    return exit_status(job.view)


def _stream(look: Callable[[], Iterable[JobView]], show: Callable[[Iterable[JobView]], None]) -> None:
    """Look for ever."""
    while True:
        show(look())
        time.sleep(_INTERVAL)


def _printer(as_json: bool) -> Callable[[Iterable[JobView]], None]:
    """A function that prints those of the jobs given to it that have changed since the last time."""
    last: dict[str | None, Any] = {}

    def show(views: Iterable[JobView]) -> None:
        for view in views:
            key = view.job_uuid or view.path
            facts = view.to_dict()
            if last.get(key) != facts:
                last[key] = facts
                report.line(facts) if as_json else click.echo(summary(view))
        sys.stdout.flush()

    return show
