"""What the governor sees of real processes, and that what they took is known once they are gone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from stemd.core.job import Limits
from stemd.daemon import sampling
from stemd.daemon.governor import Governor
from stemd.daemon.pool import Worker, WorkerState
from stemd.worker.setup import Setup
from tests.support.daemon import eventually

MIB = 1 << 20
CHILD = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass\ntime.sleep(600)"
PROGRAM = "import subprocess, sys; x = bytearray(80 << 20); subprocess.run([sys.executable, '-c', sys.argv[1]])"


@pytest.fixture
def worker() -> Iterator[Worker]:
    """A process that holds memory, with a child that uses 0.3 s of CPU time."""
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, CHILD], start_new_session=True)
    yield Worker(Setup("stub", "stub", "", "cpu"), process, WorkerState.BUSY)
    if process.poll() is None:
        os.killpg(process.pid, 9)
        process.wait()


@pytest.mark.parametrize("tree", [lambda pid: sampling.tree(pid, None), sampling.tree_now], ids=["all", "now"])
def test_a_process_counts_with_its_children(worker, tree):
    def memory(pid):
        return sampling.counted(tree(pid)).memory

    eventually(lambda: memory(worker.pid) > 80 * MIB, 20)
    eventually(lambda: memory(os.getpid()) > memory(worker.pid), 20)


def test_what_a_killed_worker_took_is_counted_to_the_end(worker):
    governor = Governor("never", lambda engine: Limits())
    governor.born(worker)
    eventually(lambda: sampling.counted(sampling.tree(worker.pid, None)).cpu_seconds > 0.3, 20)
    assert worker.usage.cpu_seconds == 0, "nobody has looked yet"
    governor.kill(worker)
    worker.process.wait()
    assert worker.usage.cpu_seconds > 0.3
    took = worker.usage.cpu_seconds
    governor.measure(worker)
    governor.buried(worker)
    assert worker.usage.cpu_seconds == took, "a process that is gone says 0"


def test_without_the_kernels_lists_all_processes_are_looked_at(worker, monkeypatch):
    monkeypatch.setattr(sampling, "_LISTS_CHILDREN", False)
    eventually(lambda: len(sampling.tree_now(worker.pid)) == 2, 20)


def test_a_name_cannot_hide_a_child(worker):
    """``/proc/PID/stat`` gives the name as it is, parentheses and spaces too."""
    rename = "import ctypes; ctypes.CDLL(None).prctl(15, b') S 1 (x'); import time; print(flush=True); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", rename], stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child.stdout:
        child.stdout.readline()
        assert child.pid in sampling.children_of_all()[os.getpid()]
        assert child.pid not in sampling.children_of_all().get(1, [])
        child.kill()
        child.wait()
