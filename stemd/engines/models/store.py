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
    """A model in the list: ``known`` is its row in the built-in list, ``folder`` where it is, if it is there.

    ``whole``: so it is by the names and sizes of its files; else, with a ``folder``, it is damaged.
    """

    name: str
    known: Model | None
    folder: Path | None
    whole: bool

    @property
    def engine(self) -> str | None:
        """The engine it is for."""
        return self.known.engine if self.known else _engine(self.folder) if self.folder else None


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

    One that is damaged is found too: ``verify`` tells that.

    Raises:
        StemdError: STEMD-M001 (known, but not here), STEMD-M002 (unknown, or another engine's).
    """
    check_name(name)
    known, folder = BUILT_IN.get(name), _place(name, store)
    owner = known.engine if known else _engine(folder) if folder else None
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
    return bool(NAME.fullmatch(name)) and any(_whole(folder) for folder in _places(name, store))


def lies_damaged(name: str, store: Path) -> bool:
    """Whether the model is here, but not whole by the names and sizes of its files."""
    return bool(NAME.fullmatch(name)) and not present(name, store) and _place(name, store) is not None


def catalogue(store: Path) -> list[Entry]:
    """All built-in models, and after them those that only the store has."""
    lying = sorted(path.name for path in store.iterdir() if NAME.fullmatch(path.name)) if store.is_dir() else []
    names = [*BUILT_IN, *(name for name in lying if name not in BUILT_IN and _place(name, store))]
    return [Entry(name, BUILT_IN.get(name), _place(name, store), present(name, store)) for name in names]


def verify(name: str, store: Path) -> dict[str, str]:
    """The sha256 of each of the model's files, compared with the recorded ones where there is a record.

    Raises:
        StemdError: STEMD-M001, STEMD-M002 (see ``find``), STEMD-M003 (a file, or the record, is not what it was).
    """
    folder = find(name, store)
    recorded = record(folder)
    if not recorded and _has_record(folder):
        raise _damaged(name, f"{folder.name}/{RECORD} is no record")
    found = {file: _sha256(folder / file) for file in recorded}
    for file, sha256 in found.items():
        if sha256 != (expected := recorded[file]["sha256"]):
            what = f"{folder.name}/{file} has sha256 {sha256[:12]}…, recorded is {expected[:12]}…"
            raise _damaged(name, what)
    files = [path.name for path in _kind(folder).files(folder)]
    if strange := [file for file in files if recorded and file not in recorded]:
        raise _damaged(name, f"{folder.name}/{strange[0]} is not in its record")
    return {file: found.get(file) or _sha256(folder / file) for file in files}


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StemdError("STEMD-M003", f"{path.parent.name}/{path.name}: {error.strerror}") from error


def _damaged(name: str, what: str) -> StemdError:
    remedy = f"`stemd models fetch --force {name}` replaces it; `stemd models verify` checks all."
    return StemdError("STEMD-M003", what, remedy=remedy)


def record(folder: Path) -> dict[str, dict[str, Any]]:
    """What ``stemd.json`` says about each file; empty for a folder without one, and where it is none."""
    files = facts(folder).get("files")
    return files if isinstance(files, dict) and all(_is_row(row) for row in files.values()) else {}


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("sha256"), str) and isinstance(row.get("bytes"), int)


def _has_record(folder: Path) -> bool:
    return (folder / RECORD).exists()


def facts(folder: Path) -> dict[str, Any]:
    """All that ``stemd.json`` says: source, time, licence, files; empty where there is none."""
    try:
        found = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _places(name: str, store: Path) -> tuple[Path, Path]:
    weights = weights_of(name)
    return store / weights, _BUNDLED / weights


def _place(name: str, store: Path) -> Path | None:
    """Where the model is whole, else where it is damaged."""
    places = _places(name, store)
    return next((folder for kept in (_whole, _has_record) for folder in places if kept(folder)), None)


def _whole(folder: Path) -> bool:
    recorded = record(folder)
    try:
        if recorded or _has_record(folder):
            sizes = ((folder / file).stat().st_size == row["bytes"] for file, row in recorded.items())
            return bool(recorded) and all(sizes)
        return engine_of(folder) is not None
    except OSError:
        return False


def _engine(folder: Path) -> str | None:
    """The engine whose weights a folder looks to hold, or did."""
    recorded = facts(folder).get("engine")
    return engine_of(folder) or (recorded if isinstance(recorded, str) and recorded in KINDS else None)


def _kind(folder: Path) -> Any:
    known = next((model for model in BUILT_IN.values() if model.weights == folder.name), None)
    return KINDS[(known.engine if known else _engine(folder)) or "demucs"]
