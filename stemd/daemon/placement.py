"""Which job goes to which worker, and whether it can go at all."""

from __future__ import annotations

import os

from stemd.core.config import Config
from stemd.core.errors import StemdError
from stemd.core.fairness import Waiting
from stemd.core.job import Request
from stemd.daemon.live import Live
from stemd.daemon.pool import Pool, Worker, WorkerState
from stemd.engines import base, environments, models
from stemd.worker.setup import Setup

_UNKNOWN_LENGTH = 60.0
#: The engines whose models lie in stemd's store.
WITH_STORE = frozenset({"demucs", "spleeter"})


def waiting(live: Live) -> Waiting:
    """A queued job as the scheduler sees it; one of unknown length counts as a minute."""
    assert live.job is not None
    length = live.job.source.length
    return Waiting(
        live.id, live.user, live.job.request.priority, live.claimed_at, length.seconds if length else _UNKNOWN_LENGTH
    )


def most_running(config: Config, user: str) -> int | None:
    """How many jobs of a user may run at a time; ``None``: any number."""
    known = config.users.get(user)
    return config.quotas[known.quota].running if known and known.quota else None


def setup_for(request: Request, config: Config, ooms: int = 0) -> Setup:
    """The worker a request needs; one that ran out of memory with smaller chunks too gets another device."""
    device = config.engine(request.engine).device if ooms < 2 else "cpu"
    environment = str(config.environment(request.engine)) if environments.own_environment(request.engine) else ""
    return Setup(request.engine, request.model, str(config.paths.models), device, environment, supply_of(config))


def supply_of(config: Config) -> models.Supply:
    """How workers may get models that are not in the store."""
    return models.Supply(config.models.fetch == "auto", config.models.from_, config.models.pickles)


def missing(request: Request, config: Config) -> StemdError | None:
    """What keeps a request from starting: no such engine or model, or its weights are not here yet."""
    if request.engine not in base.names():
        installed = ", ".join(base.names())
        return StemdError("STEMD-E001", f"no engine called {request.engine!r}; installed: {installed}")
    try:
        if environments.own_environment(request.engine):
            environments.Environment(request.engine, config.environment(request.engine)).require()
        if request.engine in WITH_STORE:
            models.find(request.model, config.paths.models, request.engine)
    except StemdError as error:
        return error
    return None


def max_workers(config: Config, engine: str) -> int:
    """How many workers the engine may have; ``auto`` is one, which uses all cores."""
    most = config.engine(engine).workers.max
    return 1 if most == "auto" else int(most)


def threads(config: Config, engine: str) -> int:
    """Threads of one worker: its share of the cores this process may use, or its CPU limit."""
    cores = len(os.sched_getaffinity(0))
    limit = config.engine(engine).limits.cpu
    share = max(1, cores // max_workers(config, engine))
    return share if limit == "auto" else max(1, min(share, int(limit)))


def room(pool: Pool, engine: str, config: Config) -> int:
    """How many more workers the engine may start now; those on their way out still count."""
    alive = sum(worker.setup.engine == engine for worker in pool.workers)
    return max(0, max_workers(config, engine) - alive)


def replaceable(pool: Pool, engine: str) -> Worker | None:
    """The engine's worker that has been idle longest, unless one is on its way out already."""
    mine = [worker for worker in pool.workers if worker.setup.engine == engine]
    if any(worker.state is WorkerState.STOPPING for worker in mine):
        return None
    return min((w for w in mine if w.state is WorkerState.IDLE), key=lambda worker: worker.since, default=None)
