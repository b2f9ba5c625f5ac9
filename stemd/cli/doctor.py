"""``stemd doctor``: is everything in place?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from stemd.cli import checks, network, options, report
from stemd.cli.checks import Finding
from stemd.core.errors import Exit, StemdError


@click.command()
@options.common_with_spool
def doctor(config_file: Path | None, as_json: bool, spool: Path | None) -> int:
    """Check that everything is in place.

    Configuration, packages, programs, spool, disk, inotify, port, engines, models and daemon are looked at.

    Each line is ok, warn or fail, with a code and a remedy. The exit status is 0 unless something fails.
    """
    findings: list[Finding] = []
    for finding in _findings(config_file, spool):
        findings.append(finding)
        if not as_json:
            _print(finding)
    counts = Counter(finding.level for finding in findings)
    if as_json:
        report.document(ok=not counts["fail"], findings=[asdict(finding) for finding in findings])
    else:
        click.echo(f"{counts['ok']} ok, {counts['warn']} to look at, {counts['fail']} failed")
    return Exit.GENERAL if counts["fail"] else Exit.OK


def _findings(config_file: Path | None, spool: Path | None) -> Iterator[Finding]:
    try:
        loaded = options.loaded(config_file, spool)
    except StemdError as error:
        yield checks.bad("config", error)
        yield from checks.python()
        yield from checks.packages()
        return
    yield checks.ok("config", ", ".join(map(str, loaded.files)) or "no file: flags and environment only")
    try:
        network.require(loaded)
    except StemdError as error:
        yield checks.bad("network", error)
    yield from checks.everything(loaded.config)


def _print(finding: Finding) -> None:
    colour = {"ok": "green", "warn": "yellow", "fail": "red"}[finding.level]
    code = f" [{finding.code}]" if finding.code else ""
    click.echo(f"{click.style(f'{finding.level:<4}', fg=colour)}  {finding.what}: {report.text(finding.message)}{code}")
    if finding.remedy:
        click.echo(f"      → {report.text(finding.remedy)}")
