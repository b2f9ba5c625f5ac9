"""Control groups version 1: a folder for each worker in each of several hierarchies. Only by explicit choice.

systemd gives no part of these to a service, so there is nothing to be found: ``governor.cgroups`` names a group that
somebody made for stemd in the hierarchies ``memory``, ``cpu`` and ``pids``, or in some of them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from stemd.core.job import Limits
from stemd.core.limits import Limit
from stemd.daemon.cgroups.leaf import PERIOD, Reading, members, number, numbers, remove, write

#: Hierarchy, and the limit it keeps.
HIERARCHIES = {"memory": Limit.MEMORY, "cpu": Limit.CPU, "pids": Limit.PIDS}
_PREFIX = "w-"


class Groups:
    """The groups that were made for stemd, by hierarchy."""

    name = "cgroup v1"

    def __init__(self, tops: Mapping[str, Path]) -> None:
        self._tops = tops
        self.place = ", ".join(map(str, tops.values()))
        self.enforced = frozenset(HIERARCHIES[name] for name in tops)
        for top in tops.values():
            for folder in top.glob(f"{_PREFIX}*"):  # of a daemon that was killed
                left = Leaf({"left": folder})
                left.kill()
                left.remove()

    def leaf(self, name: str) -> Leaf:
        folders = {hierarchy: top / f"{_PREFIX}{name}" for hierarchy, top in self._tops.items()}
        for folder in folders.values():
            folder.mkdir(exist_ok=True)
        return Leaf(folders)


class Leaf:
    """One worker's groups; see ``stemd.daemon.cgroups.leaf.Leaf``."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = folders
        self.enforced: set[Limit] = set()

    def admit(self, pid: int) -> None:
        for folder in self._folders.values():
            (folder / "cgroup.procs").write_text(str(pid))

    def limit(self, limits: Limits) -> None:
        self.enforced = {HIERARCHIES[name] for name in self._folders if self._set(name, limits)}

    def _set(self, hierarchy: str, limits: Limits) -> bool:
        at = self._folders[hierarchy]
        if hierarchy == "cpu":
            quota = -1 if limits.cpu is None else max(1000, round(limits.cpu * PERIOD))
            return write(at / "cpu.cfs_period_us", PERIOD) and write(at / "cpu.cfs_quota_us", quota)
        if hierarchy == "pids":
            return write(at / "pids.max", "max" if limits.pids is None else limits.pids)
        write(at / "memory.swappiness", 0)
        write(at / "memory.max_usage_in_bytes", 0)  # the peak starts anew
        most = -1 if limits.memory is None else limits.memory
        return write(at / "memory.limit_in_bytes", most)

    def read(self) -> Reading:
        memory = self._folders.get("memory", Path("/nonexistent"))
        stat, ooms = numbers(memory / "memory.stat"), numbers(memory / "memory.oom_control").get("oom_kill", 0)
        peak, limit = number(memory / "memory.max_usage_in_bytes"), number(memory / "memory.limit_in_bytes")
        full = peak is not None and limit is not None and peak >= limit  # failcnt is no sign of it
        return Reading(
            memory=stat.get("total_rss", 0) + stat.get("total_shmem", 0),
            peak=peak,
            throttled=numbers(self._folders.get("cpu", memory) / "cpu.stat").get("throttled_time", 0) / 1e9,
            ooms=ooms,
            at_limit=ooms if full else 0,
            refused=numbers(self._folders.get("pids", memory) / "pids.events").get("max", 0),
        )

    def pids(self) -> list[int]:
        return members(next(iter(self._folders.values())))

    def kill(self) -> None:
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def remove(self) -> bool:
        gone = [remove(folder) for folder in self._folders.values()]
        return all(gone)
