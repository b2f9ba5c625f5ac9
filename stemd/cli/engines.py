"""``stemd engines``: what can separate here, and making the environments of engines that need their own."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stemd.cli import options, report, workers
from stemd.core.errors import StemdError
from stemd.core.job import printable

if TYPE_CHECKING:
    from stemd.engines.environments import Environment

#: Engine of stemd's → the distribution that does its work, where that is not called the same.
_DISTRIBUTIONS = {"mix": "stemd", "stub": "stemd"}


@click.group(invoke_without_command=True)
@options.common
@click.pass_context
def engines(context: click.Context, config_file: Path | None, as_json: bool) -> None:
    """The installed engines, their versions and models.

    `stemd doctor` tries whether each one loads.
    """
    if context.invoked_subcommand is not None:
        return
    from stemd.engines import base, models

    store, _ = options.model_store(config_file)
    catalogue = models.catalogue(store)
    found = [_facts(name, catalogue, config_file) for name in base.names()]
    running = _workers(config_file)
    if as_json:
        report.document(engines=[{**each, "workers": running.get(each["name"])} for each in found])
        return
    rows = [
        (
            each["name"],
            each["version"] or "not installed",
            ", ".join(each["models_here"]) or "none",
            workers.sentence(running[each["name"]]) if each["name"] in running else "",
        )
        for each in found
    ]
    click.echo(report.table(("ENGINE", "VERSION", "MODELS HERE", "WORKERS"), rows))


def _workers(config_file: Path | None) -> dict[str, Any]:
    """Each engine's workers, where a daemon runs and tells us; works without any configuration."""
    try:
        shared = workers.ask(options.places(config_file))
    except StemdError:
        return {}
    return {each["engine"]: each for each in shared["engines"]} if shared else {}


@engines.command("install")
@click.argument("name", metavar="ENGINE")
@click.option("--python", metavar="PROGRAM", help="The Python to build with; default: the newest suitable one.")
@click.option("--force", is_flag=True, help="Build it anew even where it works.")
@options.common
def install(config_file: Path | None, as_json: bool, name: str, python: str | None, force: bool) -> None:
    """Make the Python environment of an ENGINE that needs its own, or repair it.

    Nothing is done where it is there and works.
    """
    from stemd.cli import render
    from stemd.engines import environments

    place = environment(name, config_file)
    with render.share(f"environment of {printable(name)}", quiet=as_json) as progress:
        built = environments.install(place, progress, python, force=force)
    if as_json:
        report.document(engine=name, folder=printable(str(place.root)), built=built, versions=place.versions())
        return
    said = "ready" if built else "was ready"
    found = ", ".join(f"{package} {number}" for package, number in sorted(place.versions().items()))
    click.echo(f"{name}: {said} in {printable(str(place.root))}: {found}")


def environment(engine: str, config_file: Path | None) -> Environment:
    """Where the engine's environment is, or would be; works without any configuration."""
    from stemd.core.config import load
    from stemd.core.config.places import default_engines
    from stemd.engines.environments import Environment

    try:
        root = load(config_file).config.environment(engine)
    except StemdError as error:
        if config_file is not None or error.code != "STEMD-C001":
            raise
        root = default_engines(os.environ) / engine
    return Environment(engine, root)


def _facts(name: str, catalogue: list[Any], config_file: Path | None) -> dict[str, Any]:
    from stemd.engines.environments import own_environment

    mine = [entry for entry in catalogue if entry.engine == name]
    own = environment(name, config_file).versions() if own_environment(name) else None
    found = _version(_distribution(name)) if own is None else own.get(name)
    return {
        "name": name,
        "version": found,
        "installed": found is not None,
        "environment": own,
        "models": [entry.name for entry in mine],
        "models_here": [entry.name for entry in mine if entry.whole],
    }


def _distribution(engine: str) -> str:
    """What does the engine's work: of a plug-in itself, of stemd's engines the library behind them."""
    from stemd.engines import base

    owners = [point.dist.name for point in entry_points(group=base.ENTRY_POINT_GROUP, name=engine) if point.dist]
    return owners[0] if owners and owners[0] != "stemd" else _DISTRIBUTIONS.get(engine, engine)


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
