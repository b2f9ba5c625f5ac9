"""Steering jobs and the daemon: retry, cancel, hold, release, drain, resume, reload.

A running daemon is asked over its control socket. With none running, what is about one job is done here, under the
spool's lock; the rest has no meaning without a daemon.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stemd.cli import options, report
from stemd.core.errors import ErrorClass, StemdError
from stemd.core.job import JobState
from stemd.ops.snapshot import JobView, find_job, snapshot

if TYPE_CHECKING:
    from stemd.core.config import Config

_RETRIABLE = frozenset({JobState.FAILED.value, JobState.CANCELLED.value})


@click.command()
@click.argument("jobs", nargs=-1, metavar="[JOB]…")
@click.option("--all", "everything", is_flag=True, help="All jobs in orphan/.")
@click.option(
    "--class", "error_class", type=click.Choice([c.value for c in ErrorClass]), help="Of --all, only this class."
)
@options.common_with_spool
def retry(
    config_file: Path | None,
    as_json: bool,
    spool: Path | None,
    jobs: tuple[str, ...],
    everything: bool,
    error_class: str | None,
) -> None:
    """Put failed or cancelled JOBs back into the queue.

    Their attempts are counted anew.
    """
    if bool(jobs) == everything:
        raise click.UsageError("name the jobs, or give --all")
    if error_class and not everything:
        raise click.UsageError("--class goes with --all")
    config = options.loaded(config_file, spool).config
    views = [find_job(config, job) for job in jobs]
    if everything:
        failed = (view for view in snapshot(config).jobs if view.state in _RETRIABLE)
        views = [view for view in failed if error_class in {None, (view.reason or {}).get("class")}]
    for view in views:
        if view.state not in _RETRIABLE:
            raise StemdError("STEMD-S016", f"{_shown(view)} is {view.state}: only failed or cancelled jobs are retried")
    done = [_steer(config, "retry", view) for view in views]
    _report(done, as_json, "put back into the queue", "there is nothing to retry")


@click.command()
@click.argument("job")
@options.common_with_spool
def cancel(config_file: Path | None, as_json: bool, spool: Path | None, job: str) -> None:
    """Cancel an unfinished JOB.

    The recording goes to orphan/; nothing is deleted. A file in an inbox is named by its path: it goes there once it
    is complete.
    """
    config = options.loaded(config_file, spool).config
    view = find_job(config, job)
    if view.ended:
        raise StemdError("STEMD-S016", f"{_shown(view)} is {view.state} already")
    _report([_steer(config, "cancel", view)], as_json, "cancelled", "")


def _about_one(word: str, done: str, help_text: str) -> click.Command:
    """A command about one job."""

    @click.command(word, help=help_text)
    @click.argument("job")
    @options.common_with_spool
    def command(config_file: Path | None, as_json: bool, spool: Path | None, job: str) -> None:
        config = options.loaded(config_file, spool).config
        view = find_job(config, job)
        _report([_steer(config, word, view)], as_json, done, "")

    return command


_BY_PATH = "\n\nA file in an inbox is named by its path."
hold = _about_one("hold", "held", f"Keep a waiting JOB back until it is released.{_BY_PATH}")
release = _about_one("release", "released", f"Let a held JOB go on.{_BY_PATH}")


def _service(word: str, done: str, help_text: str) -> click.Command:
    """A command about the daemon as a whole."""

    @click.command(word, help=help_text)
    @options.common_with_spool
    def command(config_file: Path | None, as_json: bool, spool: Path | None) -> None:
        from stemd.daemon import control

        answer = control.request(options.loaded(config_file, spool).config, {"op": word})
        report.document(**answer) if as_json else click.echo(done)

    return command


drain = _service("drain", "the daemon takes no more jobs; running ones go on", "Stop taking jobs; finish the running.")
resume = _service("resume", "the daemon takes jobs again", "Take jobs again after a drain.")
reload = _service("reload", "the daemon has read its configuration again", "Read the configuration again.")


def _ask(config: Config, word: str, view: JobView) -> dict[str, Any]:
    """One word to the daemon about one job, or one entry of an inbox."""
    from stemd.daemon import control

    what = {"job": view.job_uuid} if view.path is None else {"path": view.path}
    answer = control.request(config, {"op": word, **what})
    return {"job_uuid": view.job_uuid, "title": view.title, "state": answer.get("state")}


def _steer(config: Config, word: str, view: JobView) -> dict[str, Any]:
    """By the daemon, or by hand when there is none."""
    from stemd.cli import by_hand

    try:
        return _ask(config, word, view)
    except StemdError as error:
        if error.code != "STEMD-S017":
            raise
    return {"job_uuid": view.job_uuid, "title": view.title, "state": by_hand.do(config, word, view)}


def _report(done: list[dict[str, Any]], as_json: bool, word: str, nothing: str) -> None:
    if as_json:
        report.document(jobs=done)
    elif not done:
        report.note(nothing)
    for each in [] if as_json else done:
        what = "cancelling" if each["state"] == "cancelling" else word
        click.echo(f"{each['job_uuid'] or 'in the inbox'}  {what}: {each['title']}")


def _shown(view: JobView) -> str:
    return f"job {view.job_uuid}" if view.job_uuid else view.title
