"""From files, environment and flags to a checked ``Config``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from stemd.core.config import checks, layers, places, validate
from stemd.core.config.dump import dump, leaves
from stemd.core.config.faults import Fault, dotted, refuse
from stemd.core.config.model import Config
from stemd.core.errors import StemdError


@dataclass(frozen=True)
class Loaded:
    """A checked configuration, the files it came from (main file first), and where each value was given."""

    config: Config
    files: tuple[Path, ...]
    given: Mapping[str, str] = field(repr=False)

    @cached_property
    def origins(self) -> Mapping[str, str]:
        """Each value's dotted key → ``default``, ``FILE:line:column``, ``env STEMD_X__Y`` or ``flag --x``."""
        found = {key: self.given.get(key, "default") for key, _ in leaves(dump(self.config))}
        return MappingProxyType(found)


def load(
    file: Path | None = None, flags: Mapping[str, Any] = MappingProxyType({}), environ: Mapping[str, str] = os.environ
) -> Loaded:
    """Read, merge and check the configuration: defaults < file < drop-ins < environment < flags.

    ``flags`` are by dotted key (``http.listen``); ``None`` counts as not given. Without ``file`` it is
    ``$STEMD_CONFIG``, else the first that exists of /etc/stemd, ``$CONFIGURATION_DIRECTORY`` and the user's own.

    Raises:
        StemdError: STEMD-C001 (no file, or unreadable), STEMD-C002 (faults, all of them; ``detail["faults"]``),
            STEMD-C003 (a setting that is reserved).
    """
    merged = layers.merge(file, flags, environ)
    config, faults = _check(merged, environ)
    if config is None or faults:
        raise refuse("STEMD-C002", faults)
    if config.executor == "ray":
        raise StemdError("STEMD-C003", f"{merged.mark(('executor',))}: executor: ray is not in this version; use local")
    given = {dotted(path): str(mark) for path, mark in merged.marks.items() if not isinstance(merged.at(path), dict)}
    return Loaded(config, tuple(merged.files), given)


def _check(merged: layers.Merged, environ: Mapping[str, str]) -> tuple[Config | None, list[Fault]]:
    """The configuration (``None`` where it cannot be made) and every fault."""
    data = _with_places(merged.data, environ)
    faults = list(merged.faults)
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        faults += validate.faults_of(error, Config, merged.mark)
        try:
            config = Config.model_validate({"spool": "/", **validate.without(data, error)})
        except ValidationError:
            return None, faults
    faults += [Fault.at(merged.mark(path), path, message) for path, message in checks.findings(config)]
    return config, faults


def _with_places(data: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """The default places as ``environ`` has them."""
    paths = data.get("paths")
    if not isinstance(paths, dict | None):
        return dict(data)
    run = places.default_run(environ)
    found = {
        "models": str(places.default_models(environ)),
        "engines": str(places.default_engines(environ)),
        "run": str(run) if run else None,
    }
    return {**data, "paths": {**found, **(paths or {})}}
