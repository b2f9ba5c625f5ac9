"""Files that are there whole or not at all, and the record beside each of how it came about."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

_PACKAGES = ("numpy", "scipy", "torch", "demucs", "pyworld-prebuilt", "safetensors")


@contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a new file that takes ``path``'s place by one rename at the end; on an error nothing remains of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, facts: Mapping[str, Any]) -> None:
    """``facts`` as a whole file."""
    with whole(path) as file:
        file.write(json.dumps(facts, indent=2, ensure_ascii=False).encode() + b"\n")


def read_json(path: Path) -> dict[str, Any]:
    """What ``write_json`` wrote; empty where there is no file."""
    if not path.is_file():
        return {}
    facts: dict[str, Any] = json.loads(path.read_text())
    return facts


def provenance() -> dict[str, Any]:
    """With what and when something was made: the command, the versions of everything that computes."""
    return {
        "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": ["python", "-m", "stemd.training", *sys.argv[1:]],
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
