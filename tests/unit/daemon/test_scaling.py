"""What the machine and the queue look like is put to the rule; before a process is started both are asked again."""

from __future__ import annotations

import json
import selectors
from dataclasses import dataclass, field
from itertools import count
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from stemd.core.config import load
from stemd.core.job import Job, JobId, JobState, Limits, Request, Source
from stemd.core.limits import Usage
from stemd.daemon import placement
from stemd.daemon.board import Board
from stemd.daemon.forecast import Forecast
from stemd.daemon.host import Memory, Pressure
from stemd.daemon.live import Live
from stemd.daemon.pool import Pool, Worker, WorkerState
from stemd.daemon.scaling import Scaling, threads_of_checkpoints
from stemd.ops.metrics import Metrics

GIB = 1 << 30


@dataclass
class Fake:
    """A machine that says what it is told to."""

    core_count: int = 4
    total: int = 16 * GIB
    available: int = 15 * GIB
    waits: Pressure = field(default_factory=Pressure)

    def cores(self):
        return self.core_count

    def memory(self):
        return Memory(self.total, self.available)

    def pressure(self):
        return self.waits


class Site:
    """A board, a pool whose workers are no processes, a machine, and what decides over them."""

    def __init__(self, spool, **settings):
        flags = {key.replace("__", "."): value for key, value in settings.items()}
        self.spool, self.numbers = spool, count(1)
        config = load(None, {"spool": str(spool.root), "defaults.engine": "stub", **flags}, {}).config
        self.board, self.machine = Board(config, Metrics(("demucs", "spleeter", "mix", "stub"))), Fake()
        self.pool, self.forecast = Pool(selectors.DefaultSelector(), None), Forecast()
        self.scaling = Scaling(self.board, self.pool, self.forecast, self.machine)
        self.now = 1000.0

    def job(self, state=JobState.WAITING, *, user="ana", cpu=None):
        name = JobId(f"j{next(self.numbers)}")
        job = Job(
            name, user, "", name, Source("s", "s", "0", 1, 0), Request("stub", "stub", 4, limits=Limits(cpu=cpu)), 1.0
        )
        live = Live(self.spool, self.spool.job(name), user, job, state=state)
        self.board.add(live)
        return live

    def setup(self, engine="stub", model="stub"):
        return placement.setup_for(Request(engine, model, 4), self.board.config)

    def worker(self, state, threads=1, since=1000.0, **facts):
        process = SimpleNamespace(pid=next(self.numbers))
        worker = Worker(self.setup(), process, state, threads=threads, since=since, facts={"device": "cpu", **facts})
        self.pool.workers.append(worker)
        return worker

    def look(self, seconds=5.0):
        self.now += seconds
        self.scaling.look(self.now)
        return self.scaling.targets["stub"]

    def decisions(self):
        rows = self.board.metrics.autoscale_decisions.collect()[0].samples
        return {tuple(row.labels.values()): row.value for row in rows if row.value and row.name.endswith("_total")}


@pytest.fixture
def site(spool):
    return lambda **settings: Site(spool, **settings)


def test_up_with_the_queue_and_down_after_idle_once_per_change(site):
    site = site(engines__stub__workers__max=3, engines__stub__workers__idle="60s")
    assert site.look().workers == 0
    jobs = [site.job() for _ in range(9)]
    assert [site.look().workers for _ in range(3)] == [3, 3, 3]
    assert 'stemd_workers_desired{engine="stub"} 3.0' in site.board.metrics.render().decode()
    workers = [site.worker(WorkerState.IDLE, since=site.now) for _ in range(3)]
    for live in jobs:
        live.state = JobState.DONE
    assert site.look().workers == 3, "kept warm"
    assert site.scaling.spare(site.now) is None
    site.now += 61
    assert site.scaling.spare(site.now) is workers[0]
    assert site.look().workers == 0
    assert site.decisions() == {("stub", "up", "maximum"): 1, ("stub", "down", "idle"): 1}
    assert 'stemd_workers_desired{engine="stub"} 0.0' in site.board.metrics.render().decode()


def test_a_change_is_told_once_with_its_reason(site):
    site = site(engines__stub__workers__max=3)
    site.job()
    with capture_logs() as told:
        site.look()
        site.look()
    assert [(line["event"], line["workers"], line["reason"]) for line in told] == [("autoscaled", 1, "queue")]


def test_the_running_cap_of_a_user_is_no_demand(site):
    site = site(engines__stub__workers__max=4, users__ana__quota="one", quotas__one__running=1)
    for _ in range(9):
        site.job()
    assert site.look().workers == 1
    site.job(user="ben")
    assert site.look().workers == 2


def test_memory_is_not_given_out_twice(site):
    site = site(engines__stub__workers__max=9, scaling__reserve="1GiB")
    site.forecast.learn(site.setup(), {"memory": 4 * GIB})
    for _ in range(9):
        site.job()
    assert site.look().workers == 3
    assert site.scaling.targets["stub"].reason == "memory"
    site.worker(WorkerState.BUSY)
    assert site.scaling.lacks_memory(site.setup()) is None
    site.worker(WorkerState.BUSY)
    site.worker(WorkerState.STOPPING)
    said = site.scaling.lacks_memory(site.setup())
    assert said == "waits for memory: it needs about 4.0 GiB; 2.0 GiB can be used", "one that goes still has its own"


def test_what_others_take_is_not_ours(site):
    site = site(engines__stub__workers__max=9, scaling__reserve="1GiB")
    site.forecast.learn(site.setup(), {"memory": 4 * GIB})
    site.machine.available = 3 * GIB
    site.job()
    site.look()
    assert site.scaling.lacks_memory(site.setup()) is not None
    site.machine.total = 3 * GIB
    site.look()
    assert site.scaling.lacks_memory(site.setup()) is None, "what never fits is let try alone; the engine explains it"


def test_an_idle_worker_makes_room_when_others_need_its_memory(site):
    site = site(scaling__reserve="1GiB")
    site.forecast.learn(site.setup(), {"memory": 4 * GIB})
    workers = [site.worker(WorkerState.IDLE, since=site.now) for _ in range(2)]
    site.look()
    assert site.scaling.spare(site.now) is None
    site.machine.available = 6 * GIB
    site.look()
    assert site.scaling.spare(site.now) is workers[0]
    workers[0].state = WorkerState.STOPPING
    assert site.scaling.spare(site.now) is None, "one at a time"


def test_what_a_worker_has_is_what_the_governor_saw(site):
    site = site()
    worker = site.worker(WorkerState.BUSY)
    worker.usage = Usage(memory=3 * GIB)
    site.look()
    assert site.scaling.view()["memory_committed"] == 3 * GIB, "more than was predicted"
    site.machine.available = GIB  # less than a worker needs, and the reserve
    site.look()
    assert not site.scaling.overcommitted, "it has taken what it needs"
    worker.usage = Usage(memory=0)
    site.machine.available = 1 << 20
    site.look()
    assert site.scaling.overcommitted


def test_a_peak_that_was_seen_counts_more_than_a_word(site):
    site = site()
    setup = site.setup()
    assert site.forecast.of(setup) == 200 << 20
    site.forecast.learn(setup, {"memory": 100 << 20})
    site.forecast.learn(setup, {"resources": {"peak_rss_bytes": 300 << 20}})
    site.forecast.learn(setup, {"memory": 100 << 20})
    assert site.forecast.of(setup) == 300 << 20
    assert site.forecast.of(setup, 250 << 20) == 250 << 20


def test_pressure_stops_growth_and_hovering_is_not_followed(site):
    site = site(engines__stub__workers__max=4)
    for _ in range(9):
        site.job()
    site.machine.waits = Pressure(memory=0.5)
    assert site.look().workers == 1
    site.machine.waits = Pressure()
    assert site.look().workers == 4
    site.machine.waits = Pressure(cpu=0.95)
    assert site.look().workers == 1
    site.machine.waits = Pressure()
    assert [site.look().workers for _ in range(3)] == [1, 4, 4]
    site.board.config = load(None, {"spool": str(site.spool.root), "scaling.cpu_pressure": 1}, {}).config
    site.machine.waits = Pressure(cpu=0.95)
    assert site.look().workers == 4


def test_each_running_job_holds_its_cores(site):
    site = site()
    single = site.job()
    site.look()
    assert site.scaling.share(single) == 4
    assert site.scaling.share(site.job(cpu=2.5)) == 2
    site.worker(WorkerState.BUSY, threads=3)
    site.worker(WorkerState.IDLE, threads=4)
    site.worker(WorkerState.STARTING, threads=1)
    assert site.scaling.free_cores == 0


def checkpoint(live, threads, chunks=({"name": "000000.f32"},)):
    live.work.chunks.mkdir(parents=True)
    record = {"header": {"facts": {"threads": threads}}, "chunks": list(chunks)}
    (live.work.chunks / "index.json").write_text(json.dumps(record))


def test_a_resumed_job_asks_for_the_threads_of_its_checkpoints(site):
    site = site()
    live, fresh, wide, empty = (site.job() for _ in range(4))
    checkpoint(live, 3)
    checkpoint(wide, 64)
    checkpoint(empty, 3, ())
    site.look()
    assert site.scaling.asked_cores(live, None) == 3
    assert site.scaling.asked_cores(fresh, None) is None
    assert (threads_of_checkpoints(wide), site.scaling.asked_cores(wide, None)) == (64, None), "there are no 64 cores"
    assert site.scaling.asked_cores(empty, None) is None
    fixed = site.worker(WorkerState.IDLE, threads=2)
    fixed.threaded = False
    assert site.scaling.asked_cores(fresh, fixed) == 2


def test_an_engine_on_a_gpu_has_one_worker_unless_told_otherwise(site):
    site = site()
    for _ in range(40):
        site.job()
    assert site.look().workers == 4
    site.worker(WorkerState.BUSY, device="cuda")
    assert site.look().workers == 1


def test_what_is_kept_is_started_without_a_job_and_not_again_and_again(site):
    site = site(engines__stub__workers__min=2)
    site.look()
    assert site.scaling.to_keep(site.now) == site.setup()
    assert site.scaling.to_keep(site.now) is None, "it may have failed"
    site.worker(WorkerState.IDLE)
    site.look()
    assert site.scaling.to_keep(site.now) == site.setup(), "the first came, so the second is tried at once"
    site.worker(WorkerState.IDLE)
    site.look(61)
    assert site.scaling.to_keep(site.now) is None
    assert site.scaling.spare(site.now + 9999) is None
    site.scaling.keeps = False
    site.pool.workers.clear()
    site.look(61)
    assert site.scaling.to_keep(site.now) is None


def test_people_see_targets_and_reasons(site):
    site = site(engines__stub__workers__max=2)
    for _ in range(3):
        site.job()
    site.worker(WorkerState.BUSY, threads=2)
    site.look()
    view = site.scaling.view()
    (stub,) = [each for each in view["engines"] if each["engine"] == "stub"]
    assert {key: stub[key] for key in ("workers", "busy", "desired", "reason", "jobs")} == {
        "workers": 1, "busy": 1, "desired": 2, "reason": "maximum", "jobs": 3,
    }  # fmt: skip
    assert (view["cores"], view["cores_free"]) == (4, 2)
    assert view["memory_committed"] == 200 << 20
    (change,) = view["changes"]
    assert {**change, "at": ""} == {"at": "", "engine": "stub", "before": 0, "workers": 2, "reason": "maximum"}
    json.dumps(view)
