"""``stemd audit``: are the promises kept?"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stemd.cli import options, report
from stemd.core.errors import Exit
from stemd.ops.snapshot import owner_of
from stemd.spool import audit as checks
from stemd.spool import probes
from stemd.spool.audit import Auditor, Violation
from stemd.spool.layout import Spool

if TYPE_CHECKING:
    from stemd.core.config import Config
    from stemd.spool.books import Books

_NOT_BEGUN = "there is no trail yet: no daemon has run here"
_MISSING = "there is no trail: it was removed, or no daemon came as far as to begin it"


@click.group()
def audit() -> None:
    """Check what stemd promises."""


@audit.command("spool")
@options.common_with_spool
def audit_spool(config_file: Path | None, as_json: bool, spool: Path | None) -> int:
    """Check the invariants of the spool on the disk.

    Every finished folder is read and compared with its manifest, every failed one must have its recording and its
    reason, every unfinished job its recording. Works beside a running daemon and without one; changes nothing.

    The exit status is 0 when all is well, 1 when a promise is broken.
    """
    config = options.loaded(config_file, spool).config
    found: list[Violation] = []
    read = 0

    def count(size: int) -> None:
        nonlocal read
        read += size

    for root in config.spool:
        probes.present(Spool(root))
        auditor = Auditor(Spool(root), tries=config.retry.tries, pace=count)
        running = owner_of(Spool(root)) is not None
        found += checks.confirmed(auditor.violations, 2.0 if running else 0.0)
    if as_json:
        report.document(ok=not found, violations=[asdict(each) for each in found], bytes_read=read)
    for each in [] if as_json else found:
        click.echo(report.text(f"{each}\n    promised: {checks.INVARIANTS[each.invariant]}"))
    if not as_json:
        report.note(f"{len(found)} promises are broken" if found else f"all is well ({read / 1e6:.1f} MB were read)")
    return Exit.GENERAL if found else Exit.OK


@audit.command("verify")
@click.option("--head", metavar="SEQ:HASH", help="A head that was noted before (a receipt has one): it must be in it.")
@options.common_with_spool
def audit_verify(config_file: Path | None, as_json: bool, spool: Path | None, head: str | None) -> int:
    """Check that nobody has altered the audit trail.

    Finds any record that was altered, removed, inserted or reordered, a missing beginning or end, and a trail that is
    missing as a whole. Works beside a running daemon and without one; changes nothing.

    The exit status is 0 when all is well, 1 when something was altered.
    """
    from stemd.spool import trail

    config = options.loaded(config_file, spool).config
    books = _books(config)
    found = [each for some in (books, *books.others) for each in trail.verify(some)]
    count, known = 0, head is None
    for record in trail.records(books):
        count += 1
        known = known or f"{record.get('seq')}:{record.get('hash')}" == head
    if not known:
        found.append(f"the noted head {head} is not in it")
    if not count and not found and _has_run(config):
        found.append(_MISSING)
    if as_json:
        report.document(ok=not found, problems=found, records=count)
    for each in [] if as_json else found:
        click.echo(report.text(each))
    if not as_json:
        well = f"all is well ({count} records)" if count else _NOT_BEGUN
        report.note(f"{len(found)} things are wrong" if found else well)
    return Exit.GENERAL if found else Exit.OK


@audit.command("export")
@click.option("--user", metavar="USER", help="Only what is about, or was done by, this user.")
@click.option("--job", metavar="JOB_UUID", help="Only what is about this job.")
@options.common_with_spool
def audit_export(config_file: Path | None, as_json: bool, spool: Path | None, user: str | None, job: str | None) -> int:
    """Write the audit trail as JSON lines, for an auditor.

    Users, jobs and files are pseudonyms. Who holds the keys can ask for one user's or one job's records by name, as
    long as they have not been erased.

    The exit status is 1 when there is no trail although there must be one.
    """
    from stemd.spool import trail
    from stemd.spool.keyring import Keyring

    config = options.loaded(config_file, spool).config
    books = _books(config)
    if next(trail.records(books), None) is None:
        report.note(_MISSING if _has_run(config) else _NOT_BEGUN)
        return Exit.GENERAL if _has_run(config) else Exit.OK
    keys = Keyring(books.keys)
    who = keys.pseudonym("user", user, make=False) if user is not None else None
    what = keys.pseudonym("job", job.lower(), make=False) if job is not None else None
    if (user is not None and who is None) or (job is not None and what is None):
        report.note("there is no key to that: nothing was recorded under it, or it was erased")
        return Exit.OK
    for record in trail.records(books):
        about = {record.get("user"), record.get("actor", {}).get("user"), record.get("user_pseudonym")}
        if (who is None or who in about) and (what is None or record.get("job") == what):
            click.echo(json.dumps(record, ensure_ascii=True))
    return Exit.OK


def _books(config: Config) -> Books:
    """The books of spools that are there.

    Raises:
        StemdError: STEMD-S005 or STEMD-S019 (a root is not there, or not mounted).
        PermissionError: they may not be read.
    """
    from stemd.spool.books import Books

    for root in config.spool:
        probes.present(Spool(root))
    books = Books.seen(config)
    with suppress(FileNotFoundError):
        os.listdir(books.trail)  # noqa: PTH208  what may not be looked into is not empty
    return books


def _has_run(config: Config) -> bool:
    """Whether a daemon has ever had one of the spools: it gives it its marker, and begins the trail."""
    spools = [Spool(root) for root in config.spool]
    return any(os.path.lexists(spool.marker) or next(spool.status.glob("*"), None) is not None for spool in spools)
