"""``stemd quota``: what users have of what they may have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from stemd.cli import options, report
from stemd.core.job import printable

_HEADERS = ("USER", "QUOTA", "RUNNING", "WAITING", "MEMORY", "AUDIO/DAY", "CPU/DAY", "OUTBOX", "BEYOND IT")
_COUNTS = ("running", "waiting")
_HOURS = ("audio_per_day", "cpu_per_day")


@click.command()
@click.argument("user", required=False)
@options.common_with_spool
def quota(config_file: Path | None, as_json: bool, spool: Path | None, user: str | None) -> None:
    """What USER, or everyone, has of what the quota gives.

    A user sees his own, viewers, operators and admins everyone's. The daemon is asked: it keeps the account. Audio
    and CPU time are those of the last 24 hours.
    """
    from stemd.daemon import control

    where = options.loaded(config_file, spool).config
    rows = control.request(where, {"op": "quota", **({"user": user} if user else {})})["users"]
    if user and not rows:
        raise click.BadParameter(f"nobody is called {user!r}", param_hint="USER")
    if as_json:
        report.document(users=rows)
    else:
        click.echo(report.table(_HEADERS, [_cells(row) for row in rows]))


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    amounts = {key: _of(key, row[key]) for key in (*_COUNTS, "memory", *_HOURS, "outbox")}
    return (printable(row["user_id"]), row["quota"] or "–", *amounts.values(), row["over"] or "–")


def _of(key: str, amount: Mapping[str, Any]) -> str:
    """Used, and how much may be."""
    used, limit = amount["used"], amount["limit"]
    if used is None:
        return "…" if limit is not None else "–"
    return _shown(key, used) + (f" of {_shown(key, limit)}" if limit is not None else "")


def _shown(key: str, value: float) -> str:
    if key in _COUNTS:
        return str(value)
    if key in _HOURS:
        return f"{value / 3600:.1f} h"
    return f"{value / 2**30:.1f} GiB"
