"""A file of plain settings that belongs to a job: YAML or JSON, bounded like every file that others may write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stemd.core.config import tree
from stemd.core.config.faults import refuse
from stemd.core.errors import StemdError
from stemd.core.job import printable


def read_mapping(path: Path, code: str, max_bytes: int) -> dict[str, Any]:
    """What the file says, a mapping.

    Raises:
        StemdError: ``code``, with every fault and its place; STEMD-S014, it cannot be read.
    """
    name = printable(path.name)
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise StemdError("STEMD-S014", f"{name}: {error.strerror}") from error
    document = tree.read(content, name, max_bytes)
    if document.faults:
        raise refuse(code, document.faults)
    if not isinstance(document.data, dict):
        raise StemdError(code, f"{name} must be a mapping: lines of `key: value`")
    return document.data
