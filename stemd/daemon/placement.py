"""Which job goes to which worker, and whether it can go at all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from stemd.core.config import Config
from stemd.core.errors import StemdError
from stemd.core.fairness import Waiting
from stemd.core.job import Limits, Request
from stemd.core.request import default_model
from stemd.daemon import cards
from stemd.daemon.live import Live
from stemd.daemon.pool import Worker, WorkerState
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


def setup_for(request: Request, config: Config, ooms: int = 0) -> Setup:
    """The worker a request needs; one that ran out of memory with smaller chunks too gets another device."""
    settings = config.engine(request.engine)
    device = settings.device if ooms < 2 else "cpu"
    environment = str(config.environment(request.engine)) if environments.own_environment(request.engine) else ""
    setup = Setup(
        request.engine,
        request.model,
        str(config.paths.models),
        device,
        environment,
        supply_of(config),
        settings.precision,
        str(config.tuning),
        settings.runtime,
        0 if settings.together == "auto" else int(settings.together),
    )
    return replace(setup, card=cards.address(config, setup))


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


def label(engine: str) -> str:
    """The engine as a metric names it: a job's description may name any, and each name would be a series for ever."""
    return engine if engine in base.names() else "none"


def default_setup(config: Config, engine: str) -> Setup | None:
    """The worker for the engine's default model; ``None`` where it has none, or something of it is missing."""
    model = default_model(config, engine)
    request = Request(engine, model, ()) if model else None
    return setup_for(request, config) if request and missing(request, config) is None else None


def limits_of(config: Config, engine: str) -> Limits:
    """What the operator lets a worker of the engine have."""
    limits = config.engine(engine).limits
    return Limits(limits.memory, None if limits.cpu == "auto" else limits.cpu, limits.disk, limits.time, limits.pids)


def replaceable(workers: Iterable[Worker]) -> Worker | None:
    """The worker that has been idle longest, unless one is on its way out already."""
    workers = list(workers)
    if any(worker.state is WorkerState.STOPPING for worker in workers):
        return None
    return min((w for w in workers if w.state is WorkerState.IDLE), key=lambda worker: worker.since, default=None)
