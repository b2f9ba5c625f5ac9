"""``stemd config check|show|schema|init``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from stemd.cli.options import absolute
from stemd.core.errors import Exit, StemdError

if TYPE_CHECKING:
    from stemd.core.config import Loaded

Command = Callable[..., None]


def _options(command: Command) -> Command:
    """The options every command takes."""
    as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
    file = click.option(
        "-c", "--config", "file", type=click.Path(path_type=Path, dir_okay=False), help="Configuration file."
    )
    return file(as_json(command))


@click.group("config")
def config_group() -> None:
    """Check, show and write the configuration."""


@config_group.command("check")
@_options
def check(file: Path | None, as_json: bool) -> None:
    """Find all faults at once, each with file, line and column."""
    from stemd.cli import network

    loaded = _load(file, as_json)
    try:
        network.require(loaded)
    except StemdError as error:
        _fail(error, as_json)
    files = [str(path) for path in loaded.files]
    if as_json:
        _print_json({"ok": True, "files": files, "faults": []})
    else:
        click.echo(f"ok: {', '.join(files) or 'environment only'}")


@config_group.command("show")
@click.option("--origin", is_flag=True, help="Say for each value where it comes from.")
@_options
def show(file: Path | None, as_json: bool, origin: bool) -> None:
    """Print the configuration in force: every value, defaults included."""
    from stemd.core.config.dump import dump, leaves
    from stemd.core.config.sample import flow

    loaded = _load(file, as_json)
    values = dump(loaded.config)
    if as_json:
        flat = {key: {"value": value, "origin": loaded.origins[key]} for key, value in leaves(values)}
        _print_json(flat if origin else values)
    elif origin:
        lines = {f"{key}: {flow(value)}": loaded.origins[key] for key, value in leaves(values)}
        width = min(60, max(map(len, lines)))
        for line, where in lines.items():
            click.echo(f"{line:<{width}}  # {where}")
    else:
        _print_tree(values)


@config_group.command("schema")
@_options
def schema_command(file: Path | None, as_json: bool) -> None:
    """Print the JSON Schema of stemd.yaml, for editors. It is JSON with and without --json."""
    from stemd.core.config import schema

    _print_json(schema())


@config_group.command("init")
@click.argument("target", required=False, type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option("--spool", type=click.Path(path_type=Path), help="The spool's folder, written into the file.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@_options
def init(file: Path | None, as_json: bool, target: Path | None, spool: Path | None, force: bool) -> None:
    """Write a commented configuration to TARGET (or -c FILE; `-` is standard output).

    Without either: /etc/stemd/stemd.yaml for root, else the user's own file.
    """
    from stemd.core.config import places, reference
    from stemd.core.config.sample import flow

    text = reference()
    if spool:
        text = text.replace("\nspool: /srv/stemd\n", f"\nspool: {flow(str(absolute(spool)))}\n")
    path = target or file or (places.SYSTEM_FILE if os.geteuid() == 0 else places.user_file(os.environ))
    if str(path) == "-":
        click.echo(text, nl=False)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w" if force else "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise click.UsageError(f"{path} exists; --force replaces it") from None
    except OSError as error:
        _fail(StemdError("STEMD-C001", f"{path}: {error.strerror}", remedy="Name another file."), as_json)
    if as_json:
        _print_json({"written": str(path)})
    else:
        click.echo(f"wrote {path}")


def _load(file: Path | None, as_json: bool) -> Loaded:
    from stemd.core.config import load

    try:
        return load(file)
    except StemdError as error:
        _fail(error, as_json)


def _fail(error: StemdError, as_json: bool) -> NoReturn:
    """Say what is wrong and end with the error's exit status."""
    if as_json:
        _print_json({"ok": False, "faults": error.detail.get("faults", []), "error": error.to_dict()})
    click.echo(f"{error.code}: {error.message}", err=True)
    click.echo(f"→ {error.remedy}", err=True)
    raise click.exceptions.Exit(error.spec.exit or Exit.GENERAL)


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _print_tree(values: dict[str, Any], indent: str = "") -> None:
    """A tree as YAML: mappings as blocks, everything else on one line."""
    from stemd.core.config.sample import flow

    for key, value in values.items():
        if isinstance(value, dict) and value:
            click.echo(f"{indent}{flow(key)}:")
            _print_tree(value, indent + "  ")
        else:
            click.echo(f"{indent}{flow(key)}: {flow(value)}")
