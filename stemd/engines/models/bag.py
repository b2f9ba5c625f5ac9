"""A Demucs model's description: ``NAME.yaml``, the bag of its members."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from stemd.core.errors import StemdError

#: What a model or a member can be called: it becomes a file's name.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
#: A longer description is none (bytes).
LONGEST = 65_536


@dataclass(frozen=True, slots=True)
class Bag:
    """A model's members by signature, each one's weight per stem, and the bag's segment in seconds."""

    members: tuple[str, ...]
    weights: tuple[tuple[float, ...], ...] | None = None
    segment: float | None = None


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

    document = read(content, source, LONGEST)
    data = document.data if isinstance(document.data, dict) else {}
    members, weights, segment = data.get("models"), data.get("weights"), data.get("segment")
    try:
        if not members or not all(isinstance(each, str) and NAME.fullmatch(each) for each in members):
            raise ValueError("`models` must be a list of signatures in quotes")
        rows = None if weights is None else tuple(tuple(float(each) for each in row) for row in weights)
        if rows is not None and len(rows) != len(members):
            raise ValueError("`weights` must have one row for each of `models`")
        return Bag(tuple(members), rows, None if segment is None else float(segment))
    except (TypeError, ValueError) as error:
        raise StemdError("STEMD-M004", f"{source} is no bag of models: {error}") from error
