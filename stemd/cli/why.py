"""``stemd why FILE``: why a file in an inbox has not been taken yet."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from stemd.cli import options, report
from stemd.core.errors import StemdError
from stemd.core.job import printable
from stemd.ops import inboxes, snapshot
from stemd.ops.jobs import kept_reasons
from stemd.ops.snapshot import Where
from stemd.spool.layout import Spool


@click.command()
@click.argument("file")
@options.common_with_spool
def why(config_file: Path | None, as_json: bool, spool: Path | None, file: str) -> None:
    """Why an inbox FILE has not been taken yet.

    It may also be a job: then what it waits for.

    A running daemon is asked. Without one the rules that need no daemon are applied: name, kind, permissions.
    """
    where = options.places(config_file, spool)
    facts = explain_entry(where, Path(file)) or _of_job(where, file)
    if as_json:
        report.document(**facts)
        return
    click.echo(report.text(f"{facts['what']}: {facts['reason']}"))
    if facts.get("remedy"):
        click.echo(report.text(f"remedy: {facts['remedy']}"))
    if facts.get("code"):
        report.note(f"more about it: stemd explain {facts['code']}")


def explain_entry(where: Where, path: Path) -> dict[str, Any] | None:
    """The reason for an entry behind a door of one of the spools; ``None`` where ``path`` is behind none."""
    for root in where.spool:
        spool = Spool(root)
        names = frozenset(where.inboxes) | frozenset(where.users)
        found = inboxes.locate(path, inboxes.doors(spool, names))
        if found is not None and os.path.lexists(found.path):
            return _facts(found, found.error or _ask(where, spool, found.path) or _silent(spool))
    return None


def _ask(where: Any, spool: Spool, path: Path) -> StemdError | str | None:
    """What the daemon says; ``None`` when none answers. Whom it does not answer is told what stands in ``status/``."""
    from stemd.daemon import control

    try:
        return str(control.request(where, {"op": "why", "path": str(path)})["reason"])
    except StemdError as error:
        if error.code == "STEMD-P003" and (known := kept_reasons(spool).get(str(path.relative_to(spool.inbox)))):
            return StemdError(known["code"], known["message"], remedy=known["remedy"])
        return None if error.code == "STEMD-S017" else error


def _silent(spool: Spool) -> StemdError:
    """Why no daemon answered."""
    if snapshot.owner_of(spool) is None:
        return inboxes.no_daemon(spool)
    return StemdError("STEMD-P003", "the daemon is running, but does not answer you")


def _facts(found: inboxes.Waiting, reason: StemdError | str) -> dict[str, Any]:
    what = printable(str(found.path))
    if isinstance(reason, str):
        return {"what": what, "reason": reason, "code": None, "remedy": None}
    return {"what": what, "reason": reason.message, "code": reason.code, "remedy": reason.remedy}


def _of_job(where: Where, text: str) -> dict[str, Any]:
    """For a job: what its status says.

    Raises:
        StemdError: STEMD-S018, there is neither such a file in an inbox nor such a job.
    """
    try:
        view = snapshot.find_job(where, text)
    except StemdError as error:
        if error.code != "STEMD-S015" or "matches" in error.detail:
            raise
        place = "is in no inbox" if os.path.lexists(text) else "is not there"
        raise StemdError("STEMD-S018", f"{printable(text)} {place}, and no job is called so") from None
    reason = view.reason or {}
    message = reason.get("message") or view.stage or "nothing hinders it"
    what = f"job {view.job_uuid} is {view.state}"
    return {"what": what, "reason": message, "code": reason.get("code"), "remedy": reason.get("remedy")}
