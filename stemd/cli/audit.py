"""``stemd audit``: are the promises kept?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from stemd.cli import options, report
from stemd.core.errors import Exit
from stemd.ops.snapshot import owner_of
from stemd.spool import audit as checks
from stemd.spool.audit import Auditor, Violation
from stemd.spool.layout import Spool


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
