"""What a worker has used, what it may use, and what follows from going beyond that. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from enum import StrEnum

from stemd.core.config.units import format_size
from stemd.core.errors import StemdError
from stemd.core.job import Limits

#: A worker that waits so much for memory (full ``memory.pressure`` of the last ten seconds, per cent) is held up by it.
_HELD_UP = 25.0
#: A worker kept from the CPU for so much of the time between two looks is slowed down by its limit.
_SLOWED = 0.1
#: Unused CPU time is kept for a burst of at most so many seconds of it.
_BURST = 1.0


class Limit(StrEnum):
    """What can be limited; also a metric label."""

    MEMORY = "memory"
    CPU = "cpu"
    DISK = "disk"
    TIME = "time"
    PIDS = "pids"


class Action(StrEnum):
    """What was done about it; also a metric label."""

    THROTTLED = "throttled"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Usage:
    """One look at a worker and everything it started.

    ``memory`` is what counts against its limit, bytes: of a control group what cannot be given back, else the sum of
    the processes' resident sets. ``peak`` is the highest since the job began, as far as was seen. ``cores`` is the CPU
    time per second since the last look. ``tasks`` are processes and threads. ``disk`` is the size of the job's folder,
    ``None`` where there is no job. ``slowed`` is the share of the time since the last look in which the CPU limit held
    it back, ``pressure`` the share (per cent) in which it did nothing but wait for memory.

    The rest counts since the job began, without one since the start of the worker: ``cpu_seconds``, bytes read and
    written, ``ooms``: processes the kernel ended for want of memory, ``at_limit``: those of them for the limit's sake,
    and ``refused``: processes that it did not let be started.
    """

    memory: int = 0
    peak: int = 0
    cpu_seconds: float = 0.0
    cores: float = 0.0
    tasks: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    disk: int | None = None
    slowed: float = 0.0
    pressure: float = 0.0
    ooms: int = 0
    at_limit: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Breach:
    """A limit that was met. ``error`` is set where the run must be stopped for it."""

    limit: Limit
    action: Action
    message: str
    error: StemdError | None = None


def breaches(limits: Limits, usage: Usage, seconds: float | None, enforced: Set[Limit] = frozenset()) -> list[Breach]:
    """The limits that a run meets which has gone on for ``seconds`` (``None``: it has not begun).

    Of the limits ``enforced`` by the kernel only the soft ones are told: the kernel itself does what is to be done.
    """
    hard = (error for error in _hard(limits, usage, seconds) if error.detail["limit"] not in enforced)
    found = [Breach(Limit(error.detail["limit"]), Action.STOPPED, error.message, error) for error in hard]
    if usage.slowed > _SLOWED and limits.cpu is not None:
        message = f"kept from the CPU {usage.slowed:.0%} of the time; its limit is {limits.cpu:g} cores"
        found.append(Breach(Limit.CPU, Action.THROTTLED, message))
    if usage.pressure > _HELD_UP and limits.memory is not None:
        message = f"waits for memory {usage.pressure:.0f} % of the time; its limit is {shown(limits.memory)}"
        found.append(Breach(Limit.MEMORY, Action.THROTTLED, message))
    if usage.refused and Limit.PIDS in enforced:
        message = f"was not let start another; its limit is {limits.pids} processes and threads"
        found.append(Breach(Limit.PIDS, Action.THROTTLED, message))
    return found


def _hit(limit: Limit, code: str, message: str) -> StemdError:
    """Which limit it was goes along, for who counts them."""
    return StemdError(code, message, detail={"limit": limit.value})


def _hard(limits: Limits, usage: Usage, seconds: float | None) -> Iterator[StemdError]:
    if limits.time is not None and seconds is not None and seconds > limits.time:
        yield _hit(Limit.TIME, "STEMD-R002", f"it ran longer than {limits.time:g} s")
    if limits.memory is not None and usage.memory > limits.memory:
        message = f"it took {shown(usage.memory)} of memory; its limit is {shown(limits.memory)}"
        yield _hit(Limit.MEMORY, "STEMD-R001", message)
    if limits.disk is not None and usage.disk is not None and usage.disk > limits.disk:
        yield disk_error(limits.disk, usage.disk)
    if limits.pids is not None and usage.tasks > limits.pids:
        message = f"it had {usage.tasks} processes and threads; its limit is {limits.pids}"
        yield _hit(Limit.PIDS, "STEMD-R008", message)


def explained(error: StemdError, limits: Limits, usage: Usage) -> StemdError:
    """``error`` ended a run, by its own word or by the death of its worker: the cause, where the kernel names one."""
    if error.code not in _UNEXPLAINED:
        return error
    if usage.at_limit and limits.memory is not None:
        message = f"the kernel ended it when it went beyond its limit of {shown(limits.memory)} of memory"
        return _hit(Limit.MEMORY, "STEMD-R001", message)
    if usage.ooms:
        return StemdError("STEMD-R001", "the kernel ended it because the machine, or the service, was out of memory")
    if usage.refused:
        message = f"it may have {limits.pids} processes and threads, and wanted more ({error.message})"
        return _hit(Limit.PIDS, "STEMD-R008", message)
    return error


#: How a run looks that the kernel interfered with: a dead worker, a failed engine, an error nobody expected.
_UNEXPLAINED = frozenset({"STEMD-E005", "STEMD-E006", "STEMD-E002", "STEMD-X001"})


def disk_error(limit: int, used: int | None = None) -> StemdError:
    """A job took more of the disk than it may."""
    what = f"its files took {shown(used)}" if used is not None else "a file of it would have gone beyond its limit"
    return _hit(Limit.DISK, "STEMD-R007", f"{what}; its limit is {shown(limit)}")


def shown(count: int) -> str:
    """A size for people: exact where a limit is, else to three figures."""
    exact = format_size(count)
    if exact != f"{count}B":
        return exact
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.{2 if count < 10 * size else 0}f} {unit}"
    return f"{count} bytes"


@dataclass(slots=True)
class Budget:
    """CPU time as an account: what is used beyond ``limit`` cores is a debt that is rested off. Seconds."""

    debt: float = 0.0

    def spend(self, wall: float, used: float, limit: float) -> bool:
        """``used`` CPU seconds went by in ``wall`` seconds; whether the worker must rest now."""
        self.debt = max(-_BURST * limit, self.debt + used - wall * limit)
        return self.debt > 0
