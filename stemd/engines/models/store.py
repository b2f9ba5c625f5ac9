"""Looking into the model store."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stemd.core.errors import StemdError
from stemd.engines.models.bag import NAME
from stemd.engines.models.catalogue import BUILT_IN, Model
from stemd.engines.models.kinds import KINDS, engine_of

RECORD = "stemd.json"
_BUNDLED = Path(__file__).resolve().parents[2] / "data" / "models"


@dataclass(frozen=True, slots=True)
class Entry:
    """A model in the list: ``known`` is its row in the built-in list, ``folder`` where it is, if it is there."""

    name: str
    known: Model | None
    folder: Path | None

    @property
    def engine(self) -> str | None:
        """The engine it is for."""
        return self.known.engine if self.known else engine_of(self.folder) if self.folder else None


def check_name(name: str) -> str:
    """``name``, where it can be a model's.

    Raises:
        StemdError: STEMD-M002.
    """
    if not NAME.fullmatch(name):
        raise StemdError("STEMD-M002", f"{name!r} is no model name")
    return name


def weights_of(name: str) -> str:
    """The name of the folder that holds the model's weights."""
    known = BUILT_IN.get(name)
    return known.weights if known else name


def find(name: str, store: Path, engine: str | None = None) -> Path:
    """The folder of model ``name`` (of ``engine``, where that matters): in the store, else in this package.

    Raises:
        StemdError: STEMD-M001 (known, but not here), STEMD-M002 (unknown, or another engine's).
    """
    check_name(name)
    known, folder = BUILT_IN.get(name), _place(name, store)
    owner = known.engine if known else engine_of(folder) if folder else None
    if engine is not None and owner is not None and owner != engine:
        raise StemdError("STEMD-M002", f"{name} is a model of the engine {owner}, not of {engine}")
    if folder is not None:
        return folder
    if known is not None:
        fetch = f"stemd models fetch {name}"
        raise StemdError(
            "STEMD-M001",
            f"the weights of {name} are not in {store}",
            remedy=f"Fetch them once: `{fetch}` (`{fetch} --from DIR` where there is no network). "
            "The waiting jobs then go on by themselves.",
        )
    names = ", ".join(each.name for each in BUILT_IN.values() if engine in {None, each.engine})
    raise StemdError("STEMD-M002", f"no model called {name!r}; known: {names}")


def present(name: str, store: Path) -> bool:
    """Whether the model's files are here, by their names and sizes alone."""
    return bool(NAME.fullmatch(name)) and _place(name, store) is not None


def catalogue(store: Path) -> list[Entry]:
    """All built-in models, and after them those that only the store has."""
    own = sorted(path.name for path in store.iterdir() if present(path.name, store)) if store.is_dir() else []
    names = [*BUILT_IN, *(name for name in own if name not in BUILT_IN)]
    return [Entry(name, BUILT_IN.get(name), _place(name, store)) for name in names]


def verify(name: str, store: Path) -> dict[str, str]:
    """The sha256 of each of the model's files, compared with the recorded ones where there is a record.

    Raises:
        StemdError: STEMD-M001, STEMD-M002 (see ``find``), STEMD-M003 (a file is not the recorded one).
    """
    folder = find(name, store)
    recorded = record(folder)
    hashes = {}
    for path in _kind(folder).files(folder):
        try:
            with path.open("rb") as file:
                hashes[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise StemdError("STEMD-M003", f"{folder.name}/{path.name}: {error.strerror}") from error
        expected = recorded.get(path.name, {}).get("sha256")
        if recorded and hashes[path.name] != expected:
            raise StemdError(
                "STEMD-M003",
                f"{folder.name}/{path.name} has sha256 {hashes[path.name][:12]}…, recorded is {str(expected)[:12]}…",
                remedy=f"`stemd models fetch --force {name}` replaces it; `stemd models verify` checks all.",
            )
    return hashes


def record(folder: Path) -> dict[str, dict[str, Any]]:
    """What ``stemd.json`` says about each file; empty for a folder someone put here without one."""
    files = facts(folder).get("files")
    return files if isinstance(files, dict) else {}


def facts(folder: Path) -> dict[str, Any]:
    """All that ``stemd.json`` says: source, time, licence, files; empty where there is none."""
    try:
        found = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _place(name: str, store: Path) -> Path | None:
    weights = weights_of(name)
    return next((folder for folder in (store / weights, _BUNDLED / weights) if _whole(folder)), None)


def _whole(folder: Path) -> bool:
    try:
        if recorded := record(folder):
            return all((folder / name).stat().st_size == facts["bytes"] for name, facts in recorded.items())
        return engine_of(folder) is not None
    except (OSError, KeyError, TypeError):
        return False


def _kind(folder: Path) -> Any:
    known = next((model for model in BUILT_IN.values() if model.weights == folder.name), None)
    return KINDS[(known.engine if known else engine_of(folder)) or "demucs"]
