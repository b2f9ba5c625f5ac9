"""The options that every command has, and the way from them to the configuration."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from stemd.core.errors import StemdError

if TYPE_CHECKING:
    from stemd.core.config import Loaded, Places

F = TypeVar("F", bound=Callable[..., Any])

_config = click.option(
    "-c", "--config", "config_file", type=click.Path(path_type=Path), metavar="FILE", help="The configuration file."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
_spool = click.option(
    "--spool",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The spool to use instead of the configured one.",
)


def common(function: F) -> F:
    """Add ``-c/--config`` (as ``config_file``) and ``--json`` (as ``as_json``)."""
    return _config(_json(function))


def common_with_spool(function: F) -> F:
    """``common`` and ``--spool``."""
    return common(_spool(function))


def places(config_file: Path | None, spool: Path | None = None) -> Places:
    """Where the spools are, without checking the rest of the configuration."""
    from stemd.core.config import peek

    return peek(config_file, _flags(spool))


def loaded(config_file: Path | None, spool: Path | None = None) -> Loaded:
    """The whole checked configuration."""
    from stemd.core.config import load

    return load(config_file, _flags(spool))


def _flags(spool: Path | None) -> dict[str, Any]:
    return {"spool": str(absolute(spool))} if spool else {}


def absolute(path: Path) -> Path:
    """A path as it is meant from here; one with ``..`` in it is where that leads, for no such path is configured."""
    return path.resolve() if ".." in path.parts else path.absolute()


def model_store(config_file: Path | None) -> tuple[Path, str | None]:
    """The model store and where its models come from (``None``: where they are published).

    Works without any configuration, so that models can be fetched before there is one.
    """
    store, source, _ = model_supply(config_file)
    return store, source


def model_supply(config_file: Path | None) -> tuple[Path, str | None, tuple[str, ...]]:
    """``model_store``, and the sha256 of the pickles that the operator consents to."""
    from stemd.core.config import load
    from stemd.core.config.places import default_models

    try:
        config = load(config_file).config
    except StemdError as error:
        if config_file is not None or error.code != "STEMD-C001":
            raise
        return default_models(os.environ), None, ()
    return config.paths.models, config.models.from_, config.models.pickles


def engines_folder(config_file: Path | None) -> Path:
    """Where engines have environments of their own; without a configuration, the usual place."""
    from stemd.core.config import load
    from stemd.core.config.places import default_engines

    try:
        return load(config_file).config.paths.engines
    except StemdError as error:
        if config_file is not None or error.code != "STEMD-C001":
            raise
        return default_engines(os.environ)
