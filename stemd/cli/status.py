"""``stemd status`` and ``stemd list``: read from the spool itself, so they work with the daemon stopped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import click

from stemd.cli import options, report, workers
from stemd.core.job import JobState, printable
from stemd.ops.snapshot import JobView, Root, Snapshot, find_job, snapshot

_HEADERS = ("ID", "STATE", "USER", "DONE", "LEFT", "ENGINE", "TITLE", "NOTE")


@click.command()
@click.argument("job", required=False)
@options.common_with_spool
def status(config_file: Path | None, as_json: bool, spool: Path | None, job: str | None) -> None:
    """What is going on, or all about one JOB.

    JOB is an id or a unique part of it (4 characters at least), or the path of a file in the inbox.
    """
    where = options.places(config_file, spool)
    if job is not None:
        view = find_job(where, job)
        report.document(**view.to_dict()) if as_json else click.echo(details(view))
        return
    now = snapshot(where)
    shared = workers.ask(where) if any(root.owner is not None for root in now.roots) else None
    if as_json:
        unfinished = [view.to_dict() for view in now.jobs if not view.ended]
        spools = [asdict(root) for root in now.roots]
        report.document(spools=spools, counts=dict(now.counts), jobs=unfinished, scaling=shared)
        return
    click.echo("\n".join([overview(now), *workers.lines(shared)]))
    unfinished_jobs = [view for view in now.jobs if not view.ended]
    if unfinished_jobs:
        click.echo("\n" + jobs_table(unfinished_jobs))


@click.command("list")
@click.option("--state", type=click.Choice([state.value for state in JobState]), help="Only jobs in this state.")
@click.option("--user", help="Only jobs of this user.")
@options.common_with_spool
def list_jobs(config_file: Path | None, as_json: bool, spool: Path | None, state: str | None, user: str | None) -> None:
    """All jobs, ended ones too while their status is kept."""
    found = [
        view
        for view in snapshot(options.places(config_file, spool)).jobs
        if state in {None, view.state} and user in {None, view.user_id}
    ]
    if as_json:
        report.document(jobs=[view.to_dict() for view in found])
    elif found:
        click.echo(jobs_table(found))
    else:
        report.note("no jobs")


def overview(now: Snapshot) -> str:
    """The state in one line for each spool, and how many jobs there are."""
    counts = ", ".join(f"{now.counts[state]} {state}" for state in JobState if now.counts.get(state))
    return "\n".join([*map(_root_line, now.roots), counts or "no jobs"])


def _root_line(root: Root) -> str:
    place = printable(root.path)
    if root.owner is None:
        return f"{place}: no daemon is running; start it with `systemctl start stemd` or `stemd run`"
    return f"{place}: the daemon is running" + (f" (process {root.owner})" if root.owner else "")


def jobs_table(views: Iterable[JobView]) -> str:
    """One line for each job. Ids are shown by their end, which differs where the beginning is the time."""
    return report.table(_HEADERS, [_cells(view) for view in views])


def _cells(view: JobView) -> tuple[str, ...]:
    engine = "/".join(filter(None, (view.engine, view.model)))
    done = f"{view.progress:.0%}" if view.state == JobState.RUNNING else ""
    return (
        view.job_uuid[-8:] if view.job_uuid else "–",
        view.state,
        printable(view.user_id or ""),
        done,
        report.duration(view.eta_seconds),
        printable(engine),
        view.title,
        _note(view),
    )


def summary(view: JobView) -> str:
    """One job in one line, for streams."""
    job_id, state, user, done, left, _, title, note = _cells(view)
    return f"{job_id:<8}  {state:<10}  {done:>4}  {left:>5}  {user:<10}  {title}  {note}".rstrip()


def _note(view: JobView) -> str:
    if view.reason:
        return f"{view.reason.get('code')}: {report.text(str(view.reason.get('message')))}".replace("\n", " ")
    return printable(view.stage or "") if not view.ended else ""


def details(view: JobView) -> str:
    """All about one job, a fact a line."""
    reason = view.reason or {}
    facts = {
        "job": view.job_uuid,
        "state": view.state,
        "title": view.title,
        "user": view.user_id,
        "stage": view.stage,
        "progress": f"{view.progress:.0%}" if view.job_uuid else None,
        "left": report.duration(view.eta_seconds) or None,
        "speed": f"× {view.realtime_factor:.1f} realtime" if view.realtime_factor else None,
        "engine": view.engine,
        "model": view.model,
        "attempts": view.attempts or None,
        "interruptions": view.interruptions or None,
        "code": reason.get("code"),
        "what": reason.get("message"),
        "remedy": reason.get("remedy"),
        "next attempt": view.next_attempt_at,
        "claimed": view.claimed_at,
        "updated": view.updated_at,
        "result": view.result,
        "file": view.path,
    }
    known = {key: printable(str(value)) for key, value in facts.items() if value not in {None, ""}}
    return "\n".join(f"{key:<14}{value}" for key, value in known.items())
