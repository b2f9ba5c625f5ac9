"""The few keys that commands need which only look at a spool, without paying for the whole check."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from stemd.core.config import layers, places, units
from stemd.core.config.faults import Fault, KeyPath, refuse


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are: the values of ``Config.spool`` and ``Config.paths``, and the names of inboxes and users."""

    spool: tuple[Path, ...]
    state: Path | None
    models: Path
    run: Path | None
    inboxes: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()

    def state_of(self, root: Path) -> Path:
        """The state folder of the spool at ``root``."""
        return self.state or root / ".state"

    def run_of(self, root: Path) -> Path:
        """The folder of the control socket of the spool at ``root``."""
        return self.run or self.state_of(root)


def peek(
    file: Path | None = None, flags: Mapping[str, Any] = MappingProxyType({}), environ: Mapping[str, str] = os.environ
) -> Places:
    """The places, from the same layers as ``load``; other keys may have faults.

    Raises:
        StemdError: STEMD-C001 (no file, or unreadable), STEMD-C002 (not YAML, or a fault in one of these keys).
    """
    merged = layers.merge(file, flags, environ)
    faults = list(merged.faults)

    def value(path: KeyPath, parse: Callable[[Any], Any], default: Any) -> Any:
        found = merged.at(path)
        if found is None:
            return default
        try:
            return parse(found)
        except ValueError as error:
            faults.append(Fault.at(merged.mark(path), path, str(error)))

    result = Places(
        spool=value(("spool",), units.roots, ()),
        state=value(("paths", "state"), units.state_path, None),
        models=value(("paths", "models"), units.absolute, places.default_models(environ)),
        run=value(("paths", "run"), units.absolute, places.default_run(environ)),
        inboxes=_keys(merged.data, "inboxes"),
        users=_keys(merged.data, "users"),
    )
    if not result.spool and not faults:
        faults.append(Fault.at(merged.mark(("spool",)), ("spool",), "is required"))
    if faults:
        raise refuse("STEMD-C002", faults)
    return result


def _keys(data: Mapping[str, Any], section: str) -> frozenset[str]:
    found = data.get(section)
    return frozenset(map(str, found)) if isinstance(found, dict) else frozenset()
