"""``stemd engines``: what can separate here."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from stemd.cli import options, report

#: Engine → the distribution that does its work.
_DISTRIBUTIONS = {"demucs": "demucs", "spleeter": "spleeter"}


@click.command()
@options.common
def engines(config_file: Path | None, as_json: bool) -> None:
    """The installed engines, their versions and models.

    `stemd doctor` tries whether each one loads.
    """
    from stemd.engines import base, models

    store, _ = options.model_store(config_file)
    catalogue = models.catalogue(store)
    found = [_facts(name, catalogue) for name in base.names()]
    if as_json:
        report.document(engines=found)
        return
    rows = [(e["name"], e["version"] or "not installed", ", ".join(e["models_here"]) or "none") for e in found]
    click.echo(report.table(("ENGINE", "VERSION", "MODELS HERE"), rows))


def _facts(name: str, catalogue: list[Any]) -> dict[str, Any]:
    mine = [entry for entry in catalogue if (entry.known.engine if entry.known else "demucs") == name]
    found = _version(_DISTRIBUTIONS.get(name, name))
    return {
        "name": name,
        "version": found,
        "installed": found is not None,
        "models": [entry.name for entry in mine],
        "models_here": [entry.name for entry in mine if entry.folder is not None],
    }


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
