"""How many workers each engine should have, and how many cores a job gets. Pure: facts in, targets and reasons out.

Two things are never given out twice. Memory: the workers' predictions together stay within ``Host.memory``. Cores:
each running job holds its own until it ends. What neither rule forbids is decided by the work there is:

- an engine with a fixed number of workers has up to that many, one for each of its jobs, and each job gets an equal
  share of the cores, so that all of them can run side by side;
- an engine with ``auto`` lets few jobs have all the cores. Separate jobs use cores a little better than one job does
  that is spread over them (measured: 1.08 times on two), so it goes down to one core a job where the queue is long.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

#: So many cores one job uses well: below that, more jobs side by side than this allows wait for a long queue …
_CORES_USED_WELL = 4
#: … which has at least so many jobs for each worker.
_LONG_QUEUE = 2


class Reason(StrEnum):
    """Why an engine should have so many workers; also a metric's label."""

    QUEUE = "queue"  # as many as its jobs need
    MAXIMUM = "maximum"  # its jobs need more; workers.max is reached
    CORES = "cores"  # … there are no more cores
    MEMORY = "memory"  # … there is no more memory
    PRESSURE = "pressure"  # … the machine is under pressure already
    DISK = "disk"  # its jobs wait for room on the disk
    MINIMUM = "minimum"  # workers.min, without any job
    WARM = "warm"  # no job, but not for long
    IDLE = "idle"  # no job


class Direction(StrEnum):
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Host:
    """What the workers of all engines may share: cores, and bytes of memory in all. ``strained``: add none."""

    cores: int
    memory: int
    strained: bool = False


@dataclass(frozen=True, slots=True)
class Demand:
    """One engine: its jobs, its limits (``most`` is ``None`` for ``auto``), its workers.

    ``waiting`` counts the jobs that only lack a worker. Of the ``live`` workers, ``warm`` have had something to do not
    long ago. ``memory`` is what one worker is predicted to need (bytes). ``alone``: two of its workers would be in each
    other's way (they have one GPU, or each takes all cores), so that ``auto`` means one.
    """

    engine: str
    waiting: int = 0
    running: int = 0
    least: int = 0
    most: int | None = None
    live: int = 0
    warm: int = 0
    memory: int = 0
    alone: bool = False
    short_of_disk: bool = False

    @property
    def jobs(self) -> int:
        return self.waiting + self.running


@dataclass(frozen=True, slots=True)
class Target:
    """How many workers an engine should have. ``work`` are those its jobs need, without the ones kept for later."""

    workers: int
    reason: Reason
    work: int = 0


def plan(host: Host, demands: Sequence[Demand]) -> dict[str, Target]:
    """Share the machine out: first what is kept loaded, then one worker for each engine with jobs, then one more …"""
    counts = dict.fromkeys((each.engine for each in demands), 0)
    for each in demands:
        while counts[each.engine] < each.least and _has_memory(host, demands, counts, each):
            counts[each.engine] += 1
    blocked: dict[str, Reason] = {}
    wants = {each.engine: wanted(each, host.cores) for each in demands}
    while open_ones := [e for e in demands if e.engine not in blocked and counts[e.engine] < wants[e.engine]]:
        for each in open_ones:
            if (reason := _obstacle(host, demands, counts, each)) is not None:
                blocked[each.engine] = reason
            else:
                counts[each.engine] += 1
    return {each.engine: _target(each, counts[each.engine], wants, blocked.get(each.engine)) for each in demands}


def wanted(demand: Demand, cores: int) -> int:
    """How many workers its jobs need, if nothing else were short."""
    if demand.most is not None:
        return min(demand.jobs, demand.most)
    if demand.alone:
        return min(demand.jobs, 1)
    side_by_side = max(1, cores // _CORES_USED_WELL, demand.jobs // _LONG_QUEUE)
    return min(demand.jobs, side_by_side, cores)


def share(demand: Demand, host: Host, demands: Iterable[Demand]) -> int:
    """Cores for a job of this engine that starts now, if so many are free."""
    if demand.most is not None:
        return max(1, host.cores // demand.most)
    return max(1, host.cores // max(1, sum(wanted(each, host.cores) for each in demands)))


def direction(before: int, after: int) -> Direction | None:
    return None if before == after else Direction.UP if after > before else Direction.DOWN


def _has_memory(host: Host, demands: Sequence[Demand], counts: Mapping[str, int], one_more: Demand) -> bool:
    taken = sum(counts[each.engine] * each.memory for each in demands)
    return taken + one_more.memory <= host.memory


def _obstacle(host: Host, demands: Sequence[Demand], counts: Mapping[str, int], demand: Demand) -> Reason | None:
    """What forbids one more worker. The first of all is forbidden nothing: it tries, and what it lacks is explained."""
    if not any(counts.values()):
        return None
    if sum(min(counts[each.engine], each.jobs) for each in demands) >= host.cores:
        return Reason.CORES
    if not _has_memory(host, demands, counts, demand):
        return Reason.MEMORY
    if host.strained and counts[demand.engine] >= max(1, demand.live):
        return Reason.PRESSURE
    return None


def _target(demand: Demand, count: int, wants: Mapping[str, int], blocked: Reason | None) -> Target:
    work = min(count, wants[demand.engine])
    kept = max(count, min(demand.warm, demand.live))
    if blocked is not None:
        return Target(kept, blocked, work)
    if demand.jobs:
        limited = demand.most is not None and demand.jobs > demand.most
        return Target(kept, Reason.MAXIMUM if limited else Reason.QUEUE, work)
    if demand.short_of_disk:
        return Target(kept, Reason.DISK)
    if kept < demand.least:
        return Target(kept, Reason.MEMORY)
    return Target(kept, Reason.WARM if kept > demand.least else Reason.MINIMUM if kept else Reason.IDLE)
