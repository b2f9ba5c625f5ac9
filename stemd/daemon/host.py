"""What this process may use of the machine: cores, memory, and how hard both are pressed. Read from the kernel.

A control group's limits count where they are lower than the machine: those of this process's own group and of all
groups above it, version 2 or 1.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC, _GROUPS = Path("/proc"), Path("/sys/fs/cgroup")
#: Version 1 says "no limit" with a number near 2⁶³.
_NO_LIMIT = 1 << 60


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: what there is, and what could be had now without taking it from others."""

    total: int
    available: int


@dataclass(frozen=True, slots=True)
class Pressure:
    """The share of the last ten seconds in which something waited for a core, or for memory; 0 where nobody tells."""

    cpu: float = 0.0
    memory: float = 0.0


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the kernel's files are; tests have their own."""

    proc: Path = _PROC
    groups: Path = _GROUPS

    def cores(self) -> int:
        """Whole cores that this process may use, one at least."""
        allowed = [float(len(os.sched_getaffinity(0)))]
        for folder in self._folders("cpu"):
            with suppress(OSError, ValueError, ZeroDivisionError):
                quota, period = (folder / "cpu.max").read_text().split()
                allowed.append(int(quota) / int(period))
            with suppress(OSError, ValueError, ZeroDivisionError):
                if (quota_v1 := int((folder / "cpu.cfs_quota_us").read_text())) > 0:
                    allowed.append(quota_v1 / int((folder / "cpu.cfs_period_us").read_text()))
        return max(1, math.floor(min(allowed)))

    def memory(self) -> Memory:
        """Of the machine, or of the narrowest group."""
        facts = dict(line.split(":", 1) for line in (self.proc / "meminfo").read_text().splitlines())
        total, available = (int(facts[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
        for folder in self._folders("memory"):
            for limit, used in (
                ("memory.max", "memory.current"),
                ("memory.limit_in_bytes", "memory.usage_in_bytes"),
            ):
                with suppress(OSError, ValueError):
                    most = int((folder / limit).read_text())
                    if most < _NO_LIMIT:
                        taken = int((folder / used).read_text()) - _cache(folder)
                        total, available = min(total, most), min(available, max(0, most - taken))
        return Memory(total, available)

    def pressure(self) -> Pressure:
        """The higher of the machine's and the own group's."""
        places = [self.proc / "pressure", *self._folders("")]
        cpu = max((_waited(place / name) for place in places for name in ("cpu", "cpu.pressure")), default=0.0)
        memory = max((_waited(place / name) for place in places for name in ("memory", "memory.pressure")), default=0.0)
        return Pressure(cpu, memory)

    def _folders(self, controller: str) -> Iterator[Path]:
        """This process's group and those above it; ``controller`` names the tree of version 1."""
        try:
            lines = (self.proc / "self/cgroup").read_text().splitlines()
        except OSError:
            return
        for line in lines:
            _, names, path = line.split(":", 2)
            if names == "":
                roots = [self.groups, self.groups / "unified"]
            elif controller in names.split(","):
                roots = [self.groups / names, self.groups / controller]
            else:
                continue
            for root in roots:
                folder = root / path.lstrip("/")
                while folder != root.parent:
                    if folder.is_dir():
                        yield folder
                    folder = folder.parent


def _cache(folder: Path) -> int:
    """What a group holds that the kernel takes back when it is needed."""
    with suppress(OSError):
        facts = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return max((int(value) for name, value in facts if name in {"inactive_file", "total_inactive_file"}), default=0)
    return 0


def _waited(file: Path) -> float:
    """``some avg10`` of a PSI file, as a share."""
    with suppress(OSError, ValueError, IndexError):
        if file.is_file():
            return float(file.read_text().split("avg10=", 1)[1].split()[0]) / 100
    return 0.0
