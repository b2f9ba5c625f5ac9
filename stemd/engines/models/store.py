"""Looking into the model store."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stemd.core.errors import StemdError
from stemd.engines.models.catalogue import BUILT_IN, Model

RECORD = "stemd.json"
_BUNDLED = Path(__file__).resolve().parents[2] / "data" / "models"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_BAG_LIMIT = 65_536


@dataclass(frozen=True, slots=True)
class Bag:
    """A model's members by signature, each one's weight per stem, and the bag's segment in seconds."""

    members: tuple[str, ...]
    weights: tuple[tuple[float, ...], ...] | None = None
    segment: float | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A model in the list: ``known`` is its row in the built-in list, ``folder`` where it is, if it is there."""

    name: str
    known: Model | None
    folder: Path | None


def check_name(name: str) -> str:
    """``name``, where it can be a model's.

    Raises:
        StemdError: STEMD-M002.
    """
    if not _NAME.fullmatch(name):
        raise StemdError("STEMD-M002", f"{name!r} is no model name")
    return name


def find(name: str, store: Path) -> Path:
    """The folder of model ``name``: in the store, else in this package.

    Raises:
        StemdError: STEMD-M001 (known, but not here), STEMD-M002 (unknown).
    """
    check_name(name)
    for folder in (store / name, _BUNDLED / name):
        if _whole(folder):
            return folder
    if name in BUILT_IN:
        fetch = f"stemd models fetch {name}"
        raise StemdError(
            "STEMD-M001",
            f"the weights of {name} are not in {store}",
            remedy=f"Fetch them once: `{fetch}` (`{fetch} --from DIR` where there is no network). "
            "The waiting jobs then go on by themselves.",
        )
    raise StemdError("STEMD-M002", f"no model called {name!r}; known: {', '.join(BUILT_IN)}")


def present(name: str, store: Path) -> bool:
    """Whether the model's files are here, by their names and sizes alone."""
    return bool(_NAME.fullmatch(name)) and any(_whole(folder) for folder in (store / name, _BUNDLED / name))


def catalogue(store: Path) -> list[Entry]:
    """All built-in models, and after them those that only the store has."""
    own = sorted(path.name for path in store.iterdir() if present(path.name, store)) if store.is_dir() else []
    names = [*BUILT_IN, *(name for name in own if name not in BUILT_IN)]
    return [Entry(name, BUILT_IN.get(name), find(name, store) if present(name, store) else None) for name in names]


def verify(name: str, store: Path) -> dict[str, str]:
    """The sha256 of each of the model's files, compared with the recorded ones where there is a record.

    Raises:
        StemdError: STEMD-M001, STEMD-M002 (see ``find``), STEMD-M003 (a file is not the recorded one).
    """
    folder = find(name, store)
    recorded = record(folder)
    hashes = {}
    for path in _files(folder, name):
        with path.open("rb") as file:
            hashes[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
        expected = recorded.get(path.name, {}).get("sha256")
        if recorded and hashes[path.name] != expected:
            raise StemdError(
                "STEMD-M003",
                f"{name}/{path.name} has sha256 {hashes[path.name][:12]}…, recorded is {str(expected)[:12]}…",
                remedy=f"`stemd models fetch --force {name}` replaces it; `stemd models verify` checks all.",
            )
    return hashes


def read_bag(folder: Path) -> Bag:
    """The bag of the model in ``folder``.

    Raises:
        StemdError: STEMD-M004, the file is no bag.
    """
    path = folder / f"{folder.name}.yaml"
    return parse_bag(path.read_bytes(), path.name)


def parse_bag(content: bytes, source: str) -> Bag:
    """A bag from the YAML that ``demucs`` uses: ``models``, and if need be ``weights`` and ``segment``.

    Raises:
        StemdError: STEMD-M004.
    """
    from stemd.core.config.tree import read

    document = read(content, source, _BAG_LIMIT)
    data = document.data if isinstance(document.data, dict) else {}
    members, weights, segment = data.get("models"), data.get("weights"), data.get("segment")
    try:
        if not members or not all(isinstance(each, str) and _NAME.fullmatch(each) for each in members):
            raise ValueError("`models` must be a list of signatures in quotes")
        rows = None if weights is None else tuple(tuple(float(each) for each in row) for row in weights)
        if rows is not None and len(rows) != len(members):
            raise ValueError("`weights` must have one row for each of `models`")
        return Bag(tuple(members), rows, None if segment is None else float(segment))
    except (TypeError, ValueError) as error:
        raise StemdError("STEMD-M004", f"{source} is no bag of models: {error}") from error


def record(folder: Path) -> dict[str, dict[str, Any]]:
    """What ``stemd.json`` says about each file; empty for a folder someone put here without one."""
    try:
        files = json.loads((folder / RECORD).read_text())["files"]
        return files if isinstance(files, dict) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _whole(folder: Path) -> bool:
    try:
        if recorded := record(folder):
            return all((folder / name).stat().st_size == facts["bytes"] for name, facts in recorded.items())
        return (folder / f"{folder.name}.yaml").is_file() and any(folder.glob("*.safetensors"))
    except (OSError, KeyError, TypeError):
        return False


def _files(folder: Path, name: str) -> list[Path]:
    return [folder / f"{name}.yaml", *(folder / f"{each}.safetensors" for each in read_bag(folder).members)]
