"""``stemd models list|fetch|verify``: the model store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from stemd.cli import options, report
from stemd.core.errors import Exit, StemdError
from stemd.core.job import printable


@click.group()
def models() -> None:
    """List, fetch and verify models."""


@models.command("list")
@options.common
def list_models(config_file: Path | None, as_json: bool) -> None:
    """All models stemd knows, and those only the store has."""
    from stemd.engines import models as store

    folder, _ = options.model_store(config_file)
    found = [_facts(entry) for entry in store.catalogue(folder)]
    if as_json:
        report.document(store=printable(str(folder)), models=found)
        return
    rows = [(m["name"], m["engine"] or "–", "yes" if m["present"] else "no", " ".join(m["stems"])) for m in found]
    click.echo(report.table(("MODEL", "ENGINE", "HERE", "STEMS"), rows))
    report.note(f"store: {folder}; `stemd models fetch MODEL` gets one")


def _facts(entry: Any) -> dict[str, Any]:
    known = entry.known
    return {
        "name": entry.name,
        "engine": known.engine if known else None,
        "stems": list(known.stems) if known else [],
        "sample_rate": known.sample_rate if known else None,
        "licence": known.licence if known else None,
        "bundled": known is not None and known.repository is None,
        "present": entry.folder is not None,
        "folder": printable(str(entry.folder)) if entry.folder else None,
    }


@models.command("fetch")
@click.argument("names", nargs=-1, required=True, metavar="MODEL…")
@click.option("--from", "source", metavar="DIR|URL", help="A folder with the files, or a mirror's address.")
@click.option("--force", is_flag=True, help="Fetch again what is here already.")
@options.common
def fetch(config_file: Path | None, as_json: bool, names: tuple[str, ...], source: str | None, force: bool) -> None:
    """Put MODELs into the store, each whole or not at all, with their sha256 recorded."""
    from stemd.cli import render
    from stemd.engines import models as store

    folder, configured = options.model_store(config_file)
    fetched = []
    for name in names:
        with render.transfer(name, quiet=as_json) as progress:
            place = store.fetch(name, folder, source or configured, progress, force=force)
        fetched.append({"name": name, "folder": printable(str(place)), "sha256": store.verify(name, folder)})
        if not as_json:
            click.echo(f"{name}: {printable(str(place))}")
    if as_json:
        report.document(models=fetched)


@models.command("verify")
@click.argument("names", nargs=-1, metavar="[MODEL]…")
@options.common
def verify(config_file: Path | None, as_json: bool, names: tuple[str, ...]) -> int:
    """Compare each file's sha256 with the recorded one: of all models that are here, or of those named."""
    from stemd.engines import models as store

    folder, _ = options.model_store(config_file)
    wanted = names or [entry.name for entry in store.catalogue(folder) if entry.folder is not None]
    found, status = [], Exit.OK
    for name in wanted:
        try:
            found.append({"name": name, "ok": True, "sha256": store.verify(name, folder), "error": None})
        except StemdError as error:
            found.append({"name": name, "ok": False, "sha256": {}, "error": error.to_dict()})
            status = status or error.spec.exit
            if not as_json:
                report.failure(error, False)
    if as_json:
        report.document(models=found)
    else:
        click.echo(report.table(("MODEL", "INTACT"), [(str(m["name"]), "yes" if m["ok"] else "no") for m in found]))
    return status
