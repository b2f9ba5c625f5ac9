"""The pool with real processes: what they say is heard, what they break is noticed, none is left behind."""

import gc
import json
import os
import selectors
import signal
import sys
from pathlib import Path

import psutil
import pytest

from stemd.daemon import pool as pool_module
from stemd.daemon.pool import Pool, WorkerState
from stemd.worker import wire
from stemd.worker.setup import Setup
from tests.support.daemon import ended, eventually

SETUP = Setup("demucs", "nano", "/nonexistent", "cpu")

#: A stand-in for a worker: says what it was told to say, then waits for its end.
_SPEAKER = """
import os, sys
for piece in {pieces!r}:
    os.write(1, piece)
{rest}
sys.stdin.buffer.read()
"""


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


class Hearer:
    """The pool's owner: remembers what it is told."""

    def __init__(self):
        self.said, self.died = [], []

    def worker_said(self, worker, message):
        self.said.append(message)

    def worker_died(self, worker, how):
        self.died.append((worker.job_id, worker.killed_for, how))


class Site:
    """A pool, its owner, and the loop between them."""

    def __init__(self, home):
        self.home = home
        self.selector, self.owner = selectors.DefaultSelector(), Hearer()
        self.pool = Pool(self.selector, self.owner)

    def hear(self, condition, seconds=30.0):
        def turn():
            for key, _ in self.selector.select(0.05):
                if self.selector.get_map().get(key.fd) == key:
                    key.data()
            return condition()

        return eventually(turn, seconds)

    def speaking(self, monkeypatch, *pieces, rest=""):
        """A worker process that runs ``_SPEAKER`` instead of an engine."""
        program = self.home / f"speaker{len(list(self.home.iterdir()))}.py"
        program.write_text(_SPEAKER.format(pieces=pieces, rest=rest))
        real = pool_module.subprocess.Popen
        with monkeypatch.context() as patch:
            patch.setattr(
                pool_module.subprocess, "Popen", lambda _, **how: real([sys.executable, "-I", str(program)], **how)
            )
            return self.pool.start(SETUP, 1, "job")


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    yield site
    for worker in list(site.pool.workers):
        site.pool.kill(worker, "end of test")
    site.hear(lambda: not site.pool.workers)
    site.selector.close()


def test_a_real_worker_loads_its_model_and_ends_when_told_to(site):
    worker = site.pool.start(SETUP, 1, "job")
    assert (worker.state, worker.job_id) == (WorkerState.STARTING, "job")
    site.hear(lambda: site.owner.said, 60)
    (ready,) = site.owner.said
    assert (ready["event"], ready["engine"], ready["model"]) == ("ready", "demucs", "nano")
    assert ready["facts"].keys() >= {"version", "device", "threads", "precision"}
    assert ready["facts"]["threads"] == 1
    site.pool.done(worker)
    assert site.pool.idle(SETUP) is worker
    assert site.pool.idle(Setup("demucs", "htdemucs", "/nonexistent", "cpu")) is None
    site.pool.stop(worker)
    assert site.pool.of_engine("demucs") == []
    site.hear(lambda: not site.pool.workers)
    assert site.owner.died == [(None, None, "exit status 0")]


def test_a_worker_that_cannot_load_says_why(site):
    site.pool.start(Setup("karaokomat", "one", "/nonexistent", "cpu"), 1, "job")
    site.hear(lambda: site.owner.died, 60)
    assert site.owner.said[0]["event"] == "unready"
    assert site.owner.said[0]["error"]["code"] == "STEMD-E001"


def test_messages_come_through_in_any_pieces(site, monkeypatch):
    stream = b"".join(wire.encode({"event": "progress", "fraction": number}) for number in range(5))
    site.speaking(monkeypatch, stream[:7], stream[7:8], stream[8:])
    site.hear(lambda: len(site.owner.said) == 5)
    assert [message["fraction"] for message in site.owner.said] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "garbage",
    [
        b"Traceback (most recent call last):\n",
        b"\x00\xff\n",
        b"[]\n",
        b'{"op": "run"}\n',
        b"[" * 60_000 + b"\n",
        b"x" * (wire.MAX_LINE + 1),
    ],
    ids=["text", "bytes", "no object", "no event", "nested", "endless"],
)
def test_a_worker_that_speaks_nonsense_is_killed_and_only_it(site, monkeypatch, garbage):
    good = site.speaking(monkeypatch, wire.encode({"event": "ready"}))
    site.hear(lambda: site.owner.said)
    bad = site.speaking(monkeypatch, garbage)
    site.hear(lambda: site.owner.died)
    ((job, why, how),) = site.owner.died
    assert (job, how) == ("job", "signal SIGKILL")
    assert "nonsense" in why
    assert site.pool.workers == [good]
    assert bad.process.returncode == -signal.SIGKILL


def test_what_a_killed_worker_had_said_does_not_make_it_idle(site, monkeypatch):
    worker = site.speaking(monkeypatch, wire.encode({"event": "ready"}))
    site.hear(lambda: site.owner.said)
    site.pool.run(worker, "one", "/spool/work/one", 1)
    site.pool.kill(worker, "time limit")
    site.pool.done(worker)
    assert site.pool.idle(SETUP) is None, "the next job would be given to a dead process and blamed for its end"


def test_a_killed_worker_takes_its_children_with_it(site, monkeypatch):
    says = 'os.write(1, b\'{"event": "child", "pid": %d}\\n\' % child.pid)'
    child = f"import subprocess; child = subprocess.Popen(['sleep', '60']); {says}"
    worker = site.speaking(monkeypatch, rest=child)
    site.hear(lambda: site.owner.said)
    child = psutil.Process(site.owner.said[0]["pid"])
    site.pool.kill(worker, "test")
    site.hear(lambda: site.owner.died)
    assert site.owner.died == [("job", "test", "signal SIGKILL")]
    eventually(lambda: ended(child), what="its child has ended")


def test_how_a_worker_ended_is_told(site, monkeypatch):
    site.speaking(monkeypatch, rest="os._exit(3)")
    site.hear(lambda: site.owner.died)
    site.speaking(monkeypatch, rest="os.kill(os.getpid(), 11)")
    site.hear(lambda: len(site.owner.died) == 2)
    assert [how for _, _, how in site.owner.died] == ["exit status 3", "signal SIGSEGV"]


def test_a_worker_that_closes_its_wire_and_lives_on_is_ended(site, monkeypatch):
    worker = site.speaking(monkeypatch, rest="os.close(1)")
    site.hear(lambda: site.owner.died)
    assert worker.process.returncode == -signal.SIGKILL


def test_the_end_of_its_standard_error_is_kept(site, monkeypatch):
    noise = "os.write(2, b'x' * 100_000 + b'the last words')"
    worker = site.speaking(monkeypatch, rest=noise)
    site.hear(lambda: worker.stderr_tail().endswith("the last words"))
    assert len(worker.stderr_tail()) <= 8192
    assert sum(map(len, worker.stderr)) <= 2 * 8192 + 65_536


def test_a_message_to_the_dead_is_not_an_error(site, monkeypatch):
    worker = site.speaking(monkeypatch)
    worker.process.kill()
    worker.process.wait()
    site.pool.cancel(worker)
    site.pool.stop(worker)
    site.pool.kill(worker, "late")
    site.hear(lambda: not site.pool.workers)


def test_a_worker_that_does_not_listen_holds_nobody_up(site, monkeypatch):
    worker = site.speaking(monkeypatch, rest="import time; time.sleep(600)")
    for _ in range(10_000):  # more than a pipe holds
        site.pool.cancel(worker)
    site.hear(lambda: site.owner.died)
    assert site.owner.died == [("job", "did not listen", "signal SIGKILL")]


def test_a_worker_that_hears_nonsense_ends(site):
    worker = site.pool.start(SETUP, 1, "job")
    site.hear(lambda: site.owner.said, 60)
    worker.process.stdin.write(b"nonsense\n")
    worker.process.stdin.flush()
    site.hear(lambda: site.owner.died)
    assert site.owner.died == [("job", None, "exit status 1")]


def test_a_worker_sees_only_what_it_needs_of_the_environment(site, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("STEMD_HTTP__LISTEN", "null")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    rest = "import json; os.write(1, json.dumps({'event': 'env', 'env': dict(os.environ)}).encode() + b'\\n')"
    site.speaking(monkeypatch, rest=rest)
    site.hear(lambda: site.owner.said)
    environment = site.owner.said[0]["env"]
    assert not {"AWS_SECRET_ACCESS_KEY", "PYTHONPATH", "STEMD_HTTP__LISTEN"} & environment.keys()
    assert environment["PATH"] == os.environ["PATH"]
    assert environment["OMP_NUM_THREADS"] == "1"
    assert environment["OPENBLAS_CORETYPE"] == "Haswell"
    assert environment["HF_HUB_OFFLINE"] == "1"


def test_a_worker_hears_its_job(site, monkeypatch):
    echo = 'line = sys.stdin.buffer.readline(); os.write(1, b\'{"event": "heard", \' + line[1:])'
    worker = site.speaking(monkeypatch, rest=echo)
    site.pool.run(worker, "one", "/spool/work/Ø", 2)
    assert (worker.state, worker.job_id) == (WorkerState.BUSY, "one")
    site.hear(lambda: site.owner.said)
    assert site.owner.said == [
        {
            "event": "heard",
            "op": "run",
            "job_uuid": "one",
            "work": "/spool/work/Ø",
            "attempt": 2,
            "ease": 0,
            "threads": 1,
        }
    ]
    site.pool.done(worker)
    assert (worker.state, worker.job_id, worker.jobs_done) == (WorkerState.IDLE, None, 1)


def test_no_descriptor_is_left_when_workers_end(site, monkeypatch):
    gc.collect()  # what earlier tests left is closed now, not in between
    before = descriptors()
    for _ in range(5):
        site.speaking(monkeypatch, json.dumps({"event": "hello"}).encode() + b"\n", rest="os._exit(0)")
    site.hear(lambda: len(site.owner.died) == 5)
    assert descriptors() == before
    assert len(site.owner.said) == 5
