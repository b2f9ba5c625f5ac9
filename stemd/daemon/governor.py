"""Limits of workers: set where the kernel keeps them, and looked after each second everywhere.

Where stemd has control groups of its own each worker is in one, and the kernel keeps its memory, CPU time and number of
processes; elsewhere this looks, and says what is too much, and a worker that used too much CPU time rests. Whatever
is told of a worker, it is the processes it started too.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stemd.core.job import Limits
from stemd.core.limits import Budget, Limit, Usage
from stemd.daemon import sampling
from stemd.daemon.cgroups.find import NoGroupsError, find
from stemd.daemon.cgroups.leaf import Groups, Leaf
from stemd.daemon.pool import Worker, WorkerState
from stemd.daemon.sampling import Raw
from stemd.ops import logs

#: Seconds between two looks.
_INTERVAL = 1.0
#: An idle worker is as it was so long ago (seconds).
_YOUNG = 0.02
#: Looking at a job's folder may take this part of the time.
_SHARE_OF_DISK = 0.05
#: How much workers yield to the daemon and to others where no group limits them: not so much that they starve.
_NICE = 2


@dataclass(slots=True)
class _Watched:
    """What the governor remembers of a worker: counters when its job began, and at the last look."""

    leaf: Leaf | None
    base: Raw
    last: Raw
    folder: Path | None = None
    budget: Budget = field(default_factory=Budget)
    resting: bool = False
    disk: int | None = None
    disk_due: float = 0.0
    machine_ooms: int = 0


class Governor:
    """``limits_of`` gives an engine's limits, which hold while a worker loads its model."""

    def __init__(self, setting: str, limits_of: Callable[[str], Limits]) -> None:
        self._limits_of = limits_of
        self._groups: Groups | None = None
        self._why = ""
        self._watched: dict[Worker, _Watched] = {}
        self._left: list[Leaf] = []
        self._numbers = 0
        self._due = 0.0
        try:
            self._groups = find(setting)
        except NoGroupsError as error:
            self._why = str(error)
        logs.get().info("limits_enforced", **self.in_force())

    def in_force(self) -> dict[str, Any]:
        """How limits are enforced, for people and ``/health``."""
        if self._groups is None:
            return {"by": "sampling", "kernel": [], "reason": self._why}
        return {"by": self._groups.name, "kernel": sorted(self._groups.enforced), "group": self._groups.place}

    @property
    def kernel(self) -> frozenset[Limit]:
        """The limits the kernel keeps."""
        return self._groups.enforced if self._groups else frozenset()

    def enforced(self, worker: Worker) -> frozenset[Limit]:
        """Those it keeps for this worker."""
        watched = self._watched.get(worker)
        return frozenset(watched.leaf.enforced) if watched and watched.leaf else frozenset()

    # ---- a worker's life

    def born(self, worker: Worker) -> None:
        """A worker has just been started."""
        leaf = self._new_leaf(worker)
        if leaf is None:
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, worker.pid, _NICE)
        raw = Raw(time.monotonic())
        self._watched[worker] = _Watched(leaf, raw, raw, machine_ooms=sampling.machine_ooms())
        self._limit(worker, self._limits_of(worker.setup.engine))

    def confine(self, worker: Worker, limits: Limits, folder: Path) -> None:
        """It is about to be given a job with ``limits``, which works in ``folder``: counting starts anew."""
        if (watched := self._watched.get(worker)) is None:
            return
        self._wake(worker, watched)
        self._limit(worker, limits)
        known = watched.leaf is None and self._known(worker, watched)
        watched.base = watched.last = watched.last if known else self._raw(worker, watched, None)
        watched.folder, watched.disk, watched.disk_due = folder, None, 0.0
        watched.budget, watched.machine_ooms = Budget(), sampling.machine_ooms()
        worker.usage = self._usage(watched, watched.base, Usage())

    def fits(self, worker: Worker, limits: Limits) -> bool:
        """Whether what a worker holds already is within ``limits``."""
        if limits.memory is None or worker not in self._watched:
            return True
        known = self._known(worker, self._watched[worker])
        return (worker.usage if known else self.measure(worker)).memory <= limits.memory

    @staticmethod
    def _known(worker: Worker, watched: _Watched) -> bool:
        """Whether nothing can have changed since the last look: it has just ended a job, or was asked for this one."""
        return worker.state is WorkerState.IDLE and time.monotonic() - watched.last.at < _YOUNG

    def measure(self, worker: Worker) -> Usage:
        """Look at one worker now."""
        if (watched := self._watched.get(worker)) is not None:
            self._look_at(worker, watched, None)
        return worker.usage

    def kill(self, worker: Worker) -> None:
        """End whatever belongs to a worker, also what left its process group."""
        watched = self._watched.get(worker)
        if watched is None:
            return
        self._look_at(worker, watched, None)  # what it took is counted for its user
        if watched.leaf is not None:
            watched.leaf.kill()
            return
        for pid in sampling.tree(worker.pid, None):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def buried(self, worker: Worker) -> None:
        """A worker has ended: count for the last time, and put its group away."""
        watched = self._watched.pop(worker, None)
        if watched is None:
            return
        if watched.leaf is not None:
            group = watched.leaf.read()
            cpu = watched.last.cpu_seconds if group.cpu_seconds is None else group.cpu_seconds
            raw = replace(watched.last, cpu_seconds=cpu, group=group)
            worker.usage = self._usage(watched, raw, worker.usage)
            watched.leaf.kill()
            if not watched.leaf.remove():
                self._left.append(watched.leaf)
        elif worker.process.returncode == -signal.SIGKILL:
            worker.usage = replace(worker.usage, ooms=sampling.machine_ooms() - watched.machine_ooms)

    # ---- the looks

    def look(self, workers: Iterable[Worker], now: float) -> Iterator[Worker]:
        """Where a look is due, look at each worker: those whose ``usage`` is new."""
        if now < self._due:
            return
        self._due = now + _INTERVAL
        self._left = [leaf for leaf in self._left if not leaf.remove()]
        children = sampling.children_of_all() if any(each.leaf is None for each in self._watched.values()) else None
        for worker in list(workers):
            if (watched := self._watched.get(worker)) is not None:
                before = watched.last.at
                self._look_at(worker, watched, children)
                self._ration(worker, watched, watched.last.at - before)
                yield worker

    def next_look(self) -> float:
        """When the next is due (monotonic seconds)."""
        return self._due if self._watched else float("inf")

    def _look_at(self, worker: Worker, watched: _Watched, children: Mapping[int, list[int]] | None) -> None:
        raw = self._raw(worker, watched, children)
        if watched.folder is not None and worker.state is WorkerState.BUSY:
            started = time.monotonic()
            if started >= watched.disk_due:
                watched.disk = sampling.size(watched.folder)
                ended = time.monotonic()
                watched.disk_due = ended + (ended - started) / _SHARE_OF_DISK
        else:
            watched.disk = None
        worker.usage = self._usage(watched, raw, worker.usage)
        watched.last = raw

    def _usage(self, watched: _Watched, raw: Raw, before: Usage) -> Usage:
        base, last, wall = watched.base, watched.last, raw.at - watched.last.at
        group, first = raw.group, watched.base.group
        risen = group.peak is not None and group.peak > (first.peak or 0)  # else it is of an earlier job
        peak = max(before.peak if raw is not base else 0, raw.memory, (group.peak or 0) if risen else 0)
        return Usage(
            memory=raw.memory,
            peak=peak,
            cpu_seconds=max(before.cpu_seconds, raw.cpu_seconds - base.cpu_seconds),  # of what has just ended: 0
            cores=max(0.0, raw.cpu_seconds - last.cpu_seconds) / wall if wall > 0 else before.cores,
            tasks=raw.tasks,
            read_bytes=max(0, raw.read_bytes - base.read_bytes),
            written_bytes=max(0, raw.written_bytes - base.written_bytes),
            disk=watched.disk,
            slowed=self._slowed(watched, raw, wall),
            pressure=group.pressure,
            ooms=group.ooms - first.ooms,
            at_limit=group.at_limit - first.at_limit,
            refused=group.refused - first.refused,
        )

    @staticmethod
    def _slowed(watched: _Watched, raw: Raw, wall: float) -> float:
        if watched.leaf is None:
            return float(watched.resting)
        return min(1.0, (raw.group.throttled - watched.last.group.throttled) / wall) if wall > 0 else 0.0

    def _raw(self, worker: Worker, watched: _Watched, children: Mapping[int, list[int]] | None) -> Raw:
        leaf = watched.leaf
        if leaf is not None:
            pids = leaf.pids()
        else:
            pids = sampling.tree_now(worker.pid) if children is None else sampling.tree(worker.pid, children)
        seen = sampling.counted(pids)
        if leaf is None:
            return seen
        reading = leaf.read()
        memory = reading.memory if Limit.MEMORY in leaf.enforced else seen.memory
        cpu = seen.cpu_seconds if reading.cpu_seconds is None else reading.cpu_seconds
        return replace(seen, memory=memory, cpu_seconds=cpu, group=reading)

    # ---- enforcement

    def _new_leaf(self, worker: Worker) -> Leaf | None:
        if self._groups is None:
            return None
        self._numbers += 1
        try:
            leaf = self._groups.leaf(str(self._numbers))
        except OSError as error:
            logs.get().warning("group_not_made", pid=worker.pid, reason=error.strerror)
            return None
        try:
            leaf.admit(worker.pid)
        except OSError as error:
            logs.get().warning("group_not_entered", pid=worker.pid, reason=error.strerror)
            leaf.remove()
            return None
        return leaf

    def _limit(self, worker: Worker, limits: Limits) -> None:
        worker.limits = limits
        worker.met.clear()
        leaf = self._watched[worker].leaf
        if leaf is not None:
            leaf.limit(limits)
            if missing := self.kernel - leaf.enforced:
                logs.get().warning("limits_not_set", pid=worker.pid, limits=sorted(missing))

    def _ration(self, worker: Worker, watched: _Watched, wall: float) -> None:
        """Where the kernel does not keep the CPU limit, a worker stands still until its account is even."""
        cores = worker.limits.cpu
        at_work = worker.state is WorkerState.BUSY and worker.kill_at is None
        if cores is None or not at_work or Limit.CPU in self.enforced(worker):
            self._wake(worker, watched)
            return
        rests = watched.budget.spend(wall, worker.usage.cores * wall, cores)
        if rests and not watched.resting:
            watched.resting = _signal(worker, signal.SIGSTOP)
        elif not rests:
            self._wake(worker, watched)

    def _wake(self, worker: Worker, watched: _Watched) -> None:
        if watched.resting:
            watched.resting = False
            _signal(worker, signal.SIGCONT)


def _signal(worker: Worker, number: signal.Signals) -> bool:
    try:
        os.killpg(worker.pid, number)
    except ProcessLookupError:
        return False
    return True
