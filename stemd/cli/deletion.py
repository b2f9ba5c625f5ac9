"""``stemd prune`` and ``stemd erase``: by the daemon where one runs, else here, under the spools' locks."""

from __future__ import annotations

import os
import pwd
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stemd.cli import options, report
from stemd.core import access
from stemd.core.access import Action, Person
from stemd.core.errors import StemdError

if TYPE_CHECKING:
    from stemd.core.config import Config
    from stemd.spool.books import Books
    from stemd.spool.trail import Trail

_LOOK = 0.2


@click.command()
@click.option("--dry-run", is_flag=True, help="Only show what is due: all of it, however much that is.")
@click.option("--force", is_flag=True, help="Also where the clock seems to have jumped.")
@options.common_with_spool
def prune(config_file: Path | None, as_json: bool, spool: Path | None, dry_run: bool, force: bool) -> None:
    """Delete what has been kept for as long as `retention` says.

    At most `retention.per_run` items at a time, those first that have been due for longest; the timer comes again.
    Nothing unfinished is touched, nothing under a legal hold, and nothing that a consumer took away is missed.
    """
    from stemd.spool import retention

    config = options.loaded(config_file, spool).config

    def here(person: Person, books: Books, trail: Trail) -> Mapping[str, Any]:
        from stemd.daemon.deleting import told

        person.require(Action.PRUNE)
        if dry_run:
            return told(retention.look(config, books))
        return retention.run(config, trail, books, actor=person, force=force).to_dict()

    result = _by_daemon_or(here, config, {"op": "prune", "dry_run": dry_run, "force": force})
    if as_json:
        report.document(**result)
        return
    for item in result.get("items", ()):
        click.echo(report.text(f"{item['area']}  {item['path']}"))
    if dry_run:
        report.note(f"{sum(result['due'].values())} items are due, {result['held']} more are under a legal hold")
        return
    deleted = ", ".join(f"{number} of {area}" for area, number in result["deleted"].items() if number) or "nothing"
    report.note(f"deleted: {deleted}; {result['left']} more are due, {result['held']} are under a legal hold")
    for failed in result["failed"]:
        report.note(f"could not be deleted: {failed}")


@click.command()
@click.option("--user", metavar="USER", help="Everything of this user.")
@click.option("--job", metavar="JOB", help="Everything of this job, and of those that came of it.")
@click.option("--dry-run", is_flag=True, help="Only list what would be deleted.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.common_with_spool
def erase(
    config_file: Path | None, as_json: bool, spool: Path | None, user: str | None, job: str | None, dry_run: bool,
    yes: bool,
) -> None:  # fmt: skip
    """Delete everything of a user or a job, wherever it is.

    Inbox, work (running jobs are stopped), finished and failed folders, status, logs, checkpoints, and whatever else
    names them. A tombstone (the job_uuid and nothing else) keeps what was erased from coming back; new songs of the
    same user are welcome. Ends with a search of all that is kept, and a receipt.
    """
    if (user is None) == (job is None):
        raise click.UsageError("give --user or --job")
    if user is not None:
        _checked(user)
    config = options.loaded(config_file, spool).config
    what = {"user": user} if user is not None else {"job": _whole_id(config, str(job))}
    if not dry_run and not yes:
        _confirm(config, what)
    result = _by_daemon_or(_eraser(config, what, dry_run), config, {"op": "erase", **what, "dry_run": dry_run})
    if as_json and result.get("verified", True):
        report.document(**result)
    elif dry_run:
        for item in result["items"]:
            click.echo(report.text(f"{item['area']}  {item['path']}"))
        report.note(f"{len(result['items'])} items of {len(result['jobs'])} jobs")
    elif not as_json:
        deleted = ", ".join(f"{number} of {area}" for area, number in result["deleted"].items() if number) or "nothing"
        click.echo(f"receipt {result['order']}, audit trail {result['audit']['seq']}:{result['audit']['hash']}")
        report.note(f"erased: {deleted}; {len(result['jobs'])} jobs never come back")
    if not dry_run and not result["verified"]:
        shown = ", ".join(result["left"][:5])
        raise StemdError("STEMD-P013", f"{len(result['left'])} places still name it: {shown}", detail=result)


def _checked(user: str) -> None:
    """An empty variable in somebody's script must not become everybody."""
    from stemd.core.config import units

    try:
        units.name(user)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--user") from None


def _eraser(
    config: Config, what: Mapping[str, str], dry_run: bool
) -> Callable[[Person, Books, Trail], Mapping[str, Any]]:
    from stemd.daemon.deleting import known, listed
    from stemd.spool import belongings
    from stemd.spool import erase as erasing

    subject = belongings.Subject(**what)

    def here(person: Person, books: Books, trail: Trail) -> Mapping[str, Any]:
        found = belongings.find(config, subject)
        person.require(Action.ERASE, found.owner)
        if dry_run:
            return listed(config, subject)
        known(subject, found)
        erasing.check(config, subject, found)
        return erasing.carry_out(config, books, trail, erasing.begin(books, subject, found, person))

    return here


def _whole_id(config: Config, job: str) -> str:
    """The whole id of a job; one that only the trail or a tombstone knows is taken as it is."""
    from stemd.ops.snapshot import find_job

    try:
        return find_job(config, job).job_uuid or job
    except StemdError as error:
        if error.code != "STEMD-S015" or len(job) != len("0192f0c1-7f4e-7d2a-9c3b-5a6e8f901234"):
            raise
        return job.lower()


def _confirm(config: Config, what: Mapping[str, str]) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("this cannot be undone: give --yes, or --dry-run to see what it would delete")
    listed = _by_daemon_or(_eraser(config, what, True), config, {"op": "erase", **what, "dry_run": True})
    click.confirm(
        f"{len(listed['items'])} items of {len(listed['jobs'])} jobs are deleted for good. Go on?", abort=True
    )


def _by_daemon_or(
    here: Callable[[Person, Books, Trail], Mapping[str, Any]], config: Config, message: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Ask the daemon and wait for it; with none running, do it ``here``."""
    from stemd.daemon import control

    try:
        number = control.request(config, message)["number"]
    except StemdError as error:
        if error.code != "STEMD-S017":
            raise
    else:
        return _fetched(lambda start: control.request(config, {"op": "deletion", "number": number, "from": start}))
    with _owned(config) as (person, books, trail):
        try:
            return here(person, books, trail)
        except StemdError as error:
            if error.code == "STEMD-P003":
                trail.record("refused", actor=person, action=str(message["op"]))
            raise


def _fetched(ask: Callable[[int], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Wait for the answer, and put its lists together: they come in pieces, of which ``ask`` gives the one that begins
    with an entry."""
    while not (answer := ask(0))["done"]:
        time.sleep(_LOOK)
    result = dict(answer["result"])
    while "next" in answer:
        answer = ask(answer["next"])
        for key, value in answer["result"].items():
            if isinstance(value, list):
                result[key] += value
    return result


@contextmanager
def _owned(config: Config) -> Iterator[tuple[Person, Books, Trail]]:
    """All spools' locks, and what an interrupted erasure has left to do done; as the service's user where that can be.

    Raises:
        StemdError: STEMD-S001 (a daemon owns the spool after all), STEMD-S005 or STEMD-S019 (a root is not there, or
            not mounted), STEMD-P003.
    """
    from stemd.spool import erase as erasing
    from stemd.spool import moved, probes
    from stemd.spool.books import Books
    from stemd.spool.layout import Spool
    from stemd.spool.trail import Trail

    for root in config.spool:
        probes.present(Spool(root))
    person = access.by_uid(config, os.geteuid(), config.spool[0].stat().st_uid)
    _become(config.spool[0].stat().st_uid)
    try:
        with ExitStack() as stack:
            for root in config.spool:
                stack.callback(os.close, probes.take_lock(Spool(root)))
                moved.follow(config.state_of(root), Spool(root))
            books = Books.of(config)
            trail = Trail(books)
            erasing.resume(config, books, trail)
            yield person, books, trail
    except PermissionError as error:
        raise StemdError("STEMD-P003", f"{error.filename}: {error.strerror}") from error
    except StemdError as error:
        if error.code == "STEMD-S003" or error.detail.get("errno") in {1, 13}:
            raise StemdError("STEMD-P003", error.message) from error
        raise


def _become(uid: int) -> None:
    """What root makes here must be the service's: root becomes the owner of the spool."""
    if os.geteuid() != 0 or uid == 0:
        return
    try:
        known = pwd.getpwuid(uid)
        os.initgroups(known.pw_name, known.pw_gid)
        os.setgid(known.pw_gid)
    except KeyError:
        os.setgroups([])
    os.setuid(uid)
