"""What a measurement was made on."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Machine:
    """``cores`` are those this process may use; ``load`` is the load average of the last minute; memory in bytes."""

    cpu: str
    cores: int
    memory: int
    load: float
    system: str
    python: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def look() -> Machine:
    """The machine as it is now."""
    return Machine(
        cpu=cpu_model(_CPUINFO.read_text(errors="replace")) or platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory=psutil.virtual_memory().total,
        load=round(os.getloadavg()[0], 2),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
    )


def cpu_model(cpuinfo: str) -> str | None:
    """The first processor's name in the text of ``/proc/cpuinfo`` (proc(5)); some architectures have none there."""
    names = (line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name"))
    return next(names, None)
