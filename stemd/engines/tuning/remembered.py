"""What was found out on this machine, kept in one small file per machine and model."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

_FORMAT = 1
_CPUINFO = Path("/proc/cpuinfo")
_TOLD = ("model name", "cpu family", "model", "stepping", "flags", "CPU implementer", "CPU part", "Features")


def processor(cpuinfo: str | None = None) -> dict[str, str]:
    """What tells one kind of processor from another, of the text of ``/proc/cpuinfo`` (proc(5)).

    Virtual machines call different processors by one name: their instruction sets are part of it, as a hash.
    """
    if cpuinfo is None:
        cpuinfo = _CPUINFO.read_text(errors="replace") if _CPUINFO.exists() else ""
    found: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in _TOLD:
            found.setdefault(name.strip(), value.strip())
    instructions = " ".join(sorted(found.pop("flags", found.pop("Features", "")).split()))
    return {
        **found,
        "machine": platform.machine(),
        "instructions": hashlib.sha256(instructions.encode()).hexdigest()[:16],
    }


class Remembered:
    """One file below ``folder`` for what ``key`` stands for: the machine, the libraries, the model, what was asked."""

    def __init__(self, folder: Path, key: Mapping[str, Any]) -> None:
        self._key = json.loads(json.dumps(dict(key)))
        name = hashlib.sha256(json.dumps(self._key, sort_keys=True).encode()).hexdigest()[:24]
        self.path = folder / f"{name}.json"

    def recall(self) -> dict[str, Any] | None:
        """What was found out, or ``None``: nothing yet, or a file that is not what it should be."""
        try:
            document = json.loads(self.path.read_text())
            found = document["found"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        same = document.get("format") == _FORMAT and document.get("key") == self._key
        return found if same and isinstance(found, dict) else None

    def keep(self, found: Mapping[str, Any]) -> None:
        """Remember ``found``; where that cannot be written, it will be tried again next time."""
        part = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        document = {"format": _FORMAT, "key": self._key, "found": dict(found)}
        with suppress(OSError):
            self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            part.write_text(json.dumps(document, indent=1) + "\n")
            part.rename(self.path)
