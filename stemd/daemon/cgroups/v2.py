"""Control groups version 2: one folder for each worker below ``top``."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from stemd.core.job import Limits
from stemd.core.limits import Limit
from stemd.daemon.cgroups.leaf import PERIOD, Reading, members, number, numbers, remove, write

#: Controller, and the limit it keeps.
_CONTROLLERS = {"memory": Limit.MEMORY, "cpu": Limit.CPU, "pids": Limit.PIDS}
_SUPERVISOR = "supervisor"
_PREFIX = "w-"


class Groups:
    """The part below ``top``. At ``top`` itself only ``cgroup.procs`` and ``cgroup.subtree_control`` are touched."""

    name = "cgroup v2"

    def __init__(self, top: Path) -> None:
        """Make room at ``top`` (no process may be in a group that has limited ones below it), switch controllers on.

        Raises:
            OSError: it is not ours to change.
        """
        self.place, self._top = str(top), top
        if os.getpid() in members(top):
            (top / _SUPERVISOR).mkdir(exist_ok=True)
            (top / _SUPERVISOR / "cgroup.procs").write_text(str(os.getpid()))
        for folder in top.glob(f"{_PREFIX}*"):  # of a daemon that was killed
            left = Leaf(folder, frozenset())
            left.kill()
            left.remove()
        offered = (top / "cgroup.controllers").read_text().split()
        for controller in set(offered) & _CONTROLLERS.keys():
            write(top / "cgroup.subtree_control", f"+{controller}")
        on = (top / "cgroup.subtree_control").read_text().split()
        self.enforced = frozenset(limit for controller, limit in _CONTROLLERS.items() if controller in on)

    def leaf(self, name: str) -> Leaf:
        folder = self._top / f"{_PREFIX}{name}"
        folder.mkdir()
        return Leaf(folder, self.enforced)


class Leaf:
    """One worker's group; see ``stemd.daemon.cgroups.leaf.Leaf``."""

    def __init__(self, folder: Path, can: frozenset[Limit]) -> None:
        self._folder, self._can = folder, can
        self.enforced: set[Limit] = set()

    def admit(self, pid: int) -> None:
        (self._folder / "cgroup.procs").write_text(str(pid))

    def limit(self, limits: Limits) -> None:
        self.enforced = {limit for limit in self._can if self._set(limit, limits)}

    def _set(self, limit: Limit, limits: Limits) -> bool:
        at = self._folder
        if limit is Limit.CPU:
            quota = "max" if limits.cpu is None else max(1000, round(limits.cpu * PERIOD))
            return write(at / "cpu.max", f"{quota} {PERIOD}")
        if limit is Limit.PIDS:
            return write(at / "pids.max", "max" if limits.pids is None else limits.pids)
        write(at / "memory.swap.max", "max" if limits.memory is None else 0)  # not there without swap
        write(at / "memory.oom.group", 1)  # what is left of a worker without one of its processes is of no use
        return write(at / "memory.max", "max" if limits.memory is None else limits.memory)

    def read(self) -> Reading:
        at = self._folder
        memory, cpu, events = numbers(at / "memory.stat"), numbers(at / "cpu.stat"), numbers(at / "memory.events")
        return Reading(
            memory=memory.get("anon", 0) + memory.get("shmem", 0),
            peak=number(at / "memory.peak"),
            cpu_seconds=cpu["usage_usec"] / 1e6 if "usage_usec" in cpu else None,
            throttled=cpu.get("throttled_usec", 0) / 1e6,
            pressure=_full_pressure(at / "memory.pressure"),
            ooms=events.get("oom_kill", 0),
            at_limit=events.get("oom", 0),
            refused=numbers(at / "pids.events").get("max", 0),
        )

    def pids(self) -> list[int]:
        return members(self._folder)

    def kill(self) -> None:
        if not write(self._folder / "cgroup.kill", 1):  # Linux ≥ 5.14
            for pid in self.pids():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def remove(self) -> bool:
        return remove(self._folder)


def _full_pressure(path: Path) -> float:
    """``full avg10`` of a PSI file: per cent of ten seconds in which nothing went on for want of it."""
    with suppress(OSError, ValueError, IndexError):
        for line in path.read_text().splitlines():
            if line.startswith("full "):
                return float(line.split()[1].removeprefix("avg10="))
    return 0.0
