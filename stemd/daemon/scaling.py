"""How many workers there are, and who has which cores: what the machine and the queue look like, put to ``autoscale``.

The rules are in ``stemd.core.autoscale``. What they say is a target; whether one more process may be started now is
asked again right before it is, of what there is at that moment.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from stemd.core import autoscale
from stemd.core.autoscale import Demand, Host, Reason, Target
from stemd.core.config import Config
from stemd.core.job import JobState
from stemd.daemon import placement
from stemd.daemon.board import Board
from stemd.daemon.forecast import Forecast
from stemd.daemon.host import Machine, Memory
from stemd.daemon.live import Live
from stemd.daemon.pool import Pool, Worker, WorkerState
from stemd.engines import base
from stemd.ops import logs
from stemd.spool import durable, sidecar
from stemd.worker.setup import Setup

#: How often the machine is looked at (seconds).
_LOOK_INTERVAL = 2.0
#: A target that the machine has lowered is not raised again before so long (seconds): what hovers is not followed.
_CALM = 10.0
#: A worker to be kept loaded that failed to load is tried again after so long (seconds).
_KEEP_INTERVAL = 60.0
#: The least memory that is left to the rest of the machine, unless ``scaling.reserve`` says otherwise (bytes).
_LEAST_RESERVE = 512 << 20
#: So many of the last changes of targets are shown.
_CHANGES = 5
_HOLDS_CORES = (WorkerState.STARTING, WorkerState.BUSY)
_NVIDIA = Path("/dev/nvidia0")
_BY_MACHINE = frozenset({Reason.CORES, Reason.MEMORY, Reason.PRESSURE})


class Scaling:
    """Looks, decides, and answers for cores and memory. ``keeps``: whether ``workers.min`` is started without a job."""

    def __init__(self, board: Board, pool: Pool, forecast: Forecast, machine: Machine | None = None) -> None:
        self._board, self._pool, self._forecast = board, pool, forecast
        self._machine = machine or Machine()
        self.keeps = True
        self.targets: dict[str, Target] = {}
        self._due = 0.0
        self._cores, self._strained = self._machine.cores(), False
        self._memory = self._machine.memory()
        self._used: dict[int, int] = {}
        self._alone: dict[str, bool] = {}
        self._demands: dict[str, Demand] = {}
        self._host = Host(self._cores, 0)
        self._limited: dict[str, float] = {}
        self._defaults: dict[str, Setup | None] = {}
        self._kept: dict[Setup, tuple[float, int]] = {}
        self._changes: deque[Mapping[str, Any]] = deque(maxlen=_CHANGES)

    @property
    def _config(self) -> Config:
        return self._board.config

    # ---- looking and deciding

    def look(self, now: float) -> None:
        """Take in the machine, when that is due, and the queue; set the targets anew. ``now``: monotonic seconds."""
        if now >= self._due:
            self._due = now + _LOOK_INTERVAL
            self._measure()
        for worker in self._pool.workers:
            if worker.facts:
                self._alone[worker.setup.engine] = _computes_alone(worker)
        self._host = Host(self._cores, self._budget(), self._strained)
        self._demands = {each.engine: each for each in self._demand(now)}
        for engine, target in autoscale.plan(self._host, list(self._demands.values())).items():
            self._aim(engine, target, now)

    def _measure(self) -> None:
        config, pressure = self._config.scaling, self._machine.pressure()
        self._cores, self._memory = self._machine.cores(), self._machine.memory()
        self._used = {worker.pid: worker.usage.memory for worker in self._pool.workers}  # of the governor's last look
        kept = [name for name, engine in self._config.engines.items() if engine.workers.min]
        self._defaults = {engine: placement.default_setup(self._config, engine) for engine in kept}
        limits = ((config.cpu_pressure, pressure.cpu), (config.memory_pressure, pressure.memory))
        self._strained = any(limit is not None and found > limit for limit, found in limits)

    def _demand(self, now: float) -> Iterable[Demand]:
        running = Counter(live.engine for live in self._board.in_state(JobState.RUNNING))
        setups: dict[str, set[Setup]] = {}
        waiting: Counter[str] = Counter()
        turns = Counter(live.user for live in self._board.in_state(JobState.RUNNING))
        most: dict[str, int | None] = {}
        kinds: set[tuple[str, str, bool]] = set()
        installed = frozenset(base.names())
        for live in self._board.in_state(JobState.WAITING):
            request, user = live.job.request if live.job is not None else None, live.user
            if request is None or request.engine not in installed:  # not installed: it will not start
                continue
            if user not in most:  # of very many jobs few are of users, or of a kind, of their own
                most[user] = quota.running if (quota := self._config.quota_of(user)) else None
            if (limit := most[user]) is None or turns[user] < limit:
                turns[user] += 1
                waiting[request.engine] += 1
                kind = (request.engine, request.model, live.ooms < 2)
                if kind not in kinds:
                    kinds.add(kind)
                    setup = placement.setup_for(request, self._config, live.ooms)
                    setups.setdefault(request.engine, set()).add(setup)
        for worker in self._pool.workers:
            setups.setdefault(worker.setup.engine, set()).add(worker.setup)
        lacking = {
            live.engine
            for live in self._board.in_state(JobState.DEFERRED)
            if live.reason is not None and live.reason.code == "STEMD-R004"
        }
        for engine in sorted({*self._config.engines, *waiting, *running, *setups}):
            settings, live_ones = self._config.engine(engine).workers, self._pool.of_engine(engine)
            default = self._defaults.get(engine)
            known = setups.get(engine) or ({default} if default else set())
            yield Demand(
                engine,
                waiting=waiting[engine],
                running=running[engine],
                least=settings.min if self.keeps and default else 0,
                most=None if settings.max == "auto" else int(settings.max),
                live=len(live_ones),
                warm=sum(w.state is not WorkerState.IDLE or now - w.since <= settings.idle for w in live_ones),
                memory=max(map(self._predicted, known), default=0),
                alone=self._alone.get(engine, _on_gpu(known)),
                short_of_disk=engine in lacking,
            )

    def _aim(self, engine: str, target: Target, now: float) -> None:
        before = self.targets.get(engine, Target(0, Reason.IDLE))
        if target.reason in _BY_MACHINE and target.workers < before.workers:
            self._limited[engine] = now
        elif target.workers > before.workers and now - self._limited.get(engine, -_CALM) < _CALM:
            return
        self.targets[engine] = target
        metrics, went = self._board.metrics, autoscale.direction(before.workers, target.workers)
        metrics.workers_desired.labels(engine).set(target.workers)
        if went is not None:
            metrics.autoscale_decisions.labels(engine, went.value, target.reason.value).inc()
            change = {"engine": engine, "before": before.workers, "workers": target.workers}
            self._changes.append({"at": sidecar.iso(time.time()), **change, "reason": target.reason.value})
            logs.get().info(
                "autoscaled", engine=engine, direction=went, workers=target.workers, before=before.workers,
                reason=target.reason, jobs=self._demands[engine].jobs, cores=self._cores, memory=self._host.memory,
            )  # fmt: skip

    # ---- memory

    def _predicted(self, setup: Setup) -> int:
        return self._forecast.of(setup, self._config.engine(setup.engine).limits.memory)

    def _committed(self, worker: Worker) -> int:
        """A worker's prediction, or what it has in use where that is more."""
        return max(self._predicted(worker.setup), self._used.get(worker.pid, 0))

    def _reserve(self, memory: Memory) -> int:
        asked = self._config.scaling.reserve
        return max(_LEAST_RESERVE, memory.total // 10) if asked is None else asked

    def _budget(self) -> int:
        """Bytes for all workers together: those there are, and what is free beyond what they will still take."""
        reserve = self._reserve(self._memory)
        committed = sum(map(self._committed, self._pool.workers))
        used = sum(self._used.get(worker.pid, 0) for worker in self._pool.workers)
        free = self._memory.available - (committed - used) - reserve
        return max(0, min(self._memory.total - reserve, committed + max(0, free)))

    def lacks_memory(self, setup: Setup) -> str | None:
        """Why no worker for ``setup`` can be started beside those there are; ``None`` if one can.

        What no emptying of the machine would make room for is let try alone.
        """
        need, most = self._predicted(setup), self._memory.total - self._reserve(self._memory)
        if not self._pool.workers and need > most:
            return None
        left = self._budget() - sum(map(self._committed, self._pool.workers))
        return None if need <= left else f"waits for memory: it needs about {_size(need)}; {_size(left)} can be used"

    @property
    def overcommitted(self) -> bool:
        """Whether the workers may come to need more than there is, because others take more than before."""
        free = self._memory.available - self._reserve(self._memory)
        owed = sum(max(0, self._predicted(w.setup) - self._used.get(w.pid, 0)) for w in self._pool.workers)
        return bool(self._used) and owed > max(0, free)

    # ---- cores

    @property
    def free_cores(self) -> int:
        return self._cores - sum(w.threads for w in self._pool.workers if w.state in _HOLDS_CORES)

    def asked_cores(self, live: Live, worker: Worker | None) -> int | None:
        """The number of cores that a run must have, neither more nor less; ``None``: any.

        Checkpoints are used again only by a run with as many threads as they were made with.
        """
        if worker is not None and not worker.threaded:
            return worker.threads
        made_with = threads_of_checkpoints(live)
        return made_with if made_with is not None and made_with <= self._most_cores(live) else None

    def share(self, live: Live) -> int:
        """The number of cores that a run may have at most."""
        demand = self._demands.get(live.engine) or Demand(live.engine, waiting=1)
        return min(self._most_cores(live), autoscale.share(demand, self._host, self._demands.values()))

    def _most_cores(self, live: Live) -> int:
        assert live.job is not None
        limit = live.job.request.limits.cpu
        return self._cores if limit is None else max(1, min(self._cores, int(limit)))

    # ---- workers

    def may_add(self, engine: str) -> bool:
        """Whether the target lets the engine have one more; those on their way out still count."""
        alive = sum(worker.setup.engine == engine for worker in self._pool.workers)
        return alive < self.targets.get(engine, Target(1, Reason.QUEUE)).workers

    def to_keep(self, now: float) -> Setup | None:
        """A worker to be started though no job asks for it, if one is missing and can be had."""
        for engine, demand in self._demands.items():
            if min(demand.least, self.targets[engine].workers) <= demand.live or demand.waiting or not self.keeps:
                continue
            setup = self._defaults.get(engine)
            if setup is None or not self.may_add(engine) or self._pool.coming(setup):
                continue
            since, live_then = self._kept.get(setup, (-_KEEP_INTERVAL, 0))
            failed = demand.live <= live_then and now - since < _KEEP_INTERVAL
            if not failed and self.free_cores > 0 and self.lacks_memory(setup) is None:
                self._kept[setup] = now, demand.live
                return setup
        return None

    def spare(self, now: float) -> Worker | None:
        """A worker that may go: beyond those that are kept, and idle for long, or while memory is owed to others."""
        going = any(worker.state is WorkerState.STOPPING for worker in self._pool.workers)
        in_the_way = not going and self.overcommitted
        idle = [worker for worker in self._pool.workers if worker.state is WorkerState.IDLE]
        for worker in sorted(idle, key=lambda worker: worker.since):
            settings = self._config.engine(worker.setup.engine).workers
            beyond = len(self._pool.of_engine(worker.setup.engine)) > settings.min
            if beyond and (in_the_way or now - worker.since > settings.idle):
                return worker
        return None

    def view(self) -> Mapping[str, Any]:
        """For people: what there is to share out and what is given out; each engine's workers, the target, and why."""
        engines = [
            {
                "engine": engine,
                "workers": demand.live,
                "busy": sum(w.state is WorkerState.BUSY for w in self._pool.of_engine(engine)),
                "desired": self.targets[engine].workers,
                "reason": self.targets[engine].reason.value,
                "jobs": demand.jobs,
                "memory_each": demand.memory,
            }
            for engine, demand in self._demands.items()
        ]
        return {
            "engines": engines,
            "cores": self._cores,
            "cores_free": self.free_cores,
            "memory_for_workers": self._host.memory,
            "memory_committed": sum(map(self._committed, self._pool.workers)),
            "strained": self._strained,
            "changes": list(self._changes),
        }

    def predicted(self, worker: Worker) -> int:
        """Bytes a worker is expected to need."""
        return self._predicted(worker.setup)


def threads_of_checkpoints(live: Live) -> int | None:
    """With how many threads the checkpoints of an earlier run were made; ``None`` where there are none."""
    index = durable.read_json(live.work.chunks / "index.json") or {}
    facts = index.get("header", {}).get("facts", {}) if index.get("chunks") else {}
    made_with = facts.get("threads")
    return made_with if isinstance(made_with, int) and made_with > 0 else None


def _computes_alone(worker: Worker) -> bool:
    """Whether a second one would be in its way: on a card that each uses for itself, or with threads of its own."""
    facts = worker.facts
    return (facts.get("device", "cpu") != "cpu" and "together" not in facts) or not worker.threaded


def _on_gpu(setups: Iterable[Setup]) -> bool:
    """A guess, until a worker has said where it computes."""
    devices = {setup.device for setup in setups if not setup.card}
    return any(device.startswith(("cuda", "mps")) for device in devices) or ("auto" in devices and _NVIDIA.exists())


def _size(count: int) -> str:
    return f"{max(0, count) / 2**30:.1f} GiB"
