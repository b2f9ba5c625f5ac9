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
    rows = [_row(facts) for facts in found]
    click.echo(report.table(("MODEL", "ENGINE", "HERE", "MB", "LICENCE", "STEMS", "SOURCE"), rows))
    report.note(f"store: {folder}; `stemd models fetch MODEL` gets one")
    report.note("Licences are the publishers' words; `--json` and docs/models.md say what else is known of them.")


def _row(facts: dict[str, Any]) -> tuple[str, ...]:
    size = f"{facts['bytes'] / 1e6:.0f}" if facts["bytes"] else "–"
    source = facts["source"] or facts["page"] or "–"
    where = "yes" if facts["present"] else "damaged" if facts["folder"] else "no"
    stems = " ".join(facts["stems"]) or "–"
    return facts["name"], facts["engine"] or "–", where, size, facts["licence"] or "–", stems, source


def _facts(entry: Any) -> dict[str, Any]:
    from stemd.engines.models import facts

    known, record = entry.known, facts(entry.folder) if entry.whole else {}
    here = sum(each["bytes"] for each in record.get("files", {}).values())
    return {
        "name": entry.name,
        "engine": entry.engine,
        "stems": list(known.stems) if known else [],
        "sample_rate": known.sample_rate if known else None,
        "licence": known.licence if known else None,
        "terms": known.terms if known else None,
        "publisher": known.publisher if known else None,
        "page": known.page if known else None,
        "paper": known.paper if known else None,
        "bytes": here or (known.size if known else None),
        "bundled": known is not None and known.home is None,
        "present": entry.whole,
        "folder": printable(str(entry.folder)) if entry.folder else None,
        "source": printable(str(record["source"])) if record.get("source") else None,
        "fetched_at": record.get("fetched_at"),
    }


@models.command("fetch")
@click.argument("names", nargs=-1, required=True, metavar="MODEL…")
@click.option("--from", "source", metavar="DIR|URL", help="A folder with the files, or a mirror's address.")
@click.option("--force", is_flag=True, help="Fetch again what is here already.")
@click.option(
    "--allow-pickle",
    "allowed",
    multiple=True,
    metavar="SHA256",
    help="Convert weights in pickle form with this sha256; loading a pickle runs code.",
)
@options.common
def fetch(
    config_file: Path | None, as_json: bool, names: tuple[str, ...], source: str | None, force: bool,
    allowed: tuple[str, ...],
) -> None:  # fmt: skip
    """Put MODELs into the store, each whole or not at all, with their sha256 recorded.

    What an interrupted fetch has brought is used by the next.
    """
    from stemd.cli import render
    from stemd.engines import models as store

    folder, configured, pickles = options.model_supply(config_file)
    consented = (*pickles, *(each.lower() for each in allowed))
    fetched = []
    for name in names:
        was_here = store.present(name, folder) and not force
        with render.transfer(name, quiet=as_json) as progress:
            place = store.fetch(name, folder, source or configured, progress, force=force, pickles=consented)
        record = store.facts(place)
        fetched.append(
            {
                "name": name,
                "folder": printable(str(place)),
                "fetched": not was_here,
                "source": printable(str(record.get("source"))),
                "bytes": sum(each["bytes"] for each in record.get("files", {}).values()),
                "files": record.get("files", {}),
                "sha256": store.verify(name, folder),
            }
        )
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
