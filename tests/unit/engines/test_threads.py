"""A worker's engine computes with another number of threads for each job: as if it had been started with that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stemd.engines import base
from stemd.engines.base import Threaded

pytest.importorskip("demucs")

_PROGRAM = """
import hashlib, sys
from pathlib import Path
import numpy as np
from stemd.engines import base
from stemd.engines.base import TrackStats
engine = base.create("demucs")
model = engine.load("nano", Path(), "cpu")
for count in map(int, sys.argv[1:]):
    engine.use_threads(count)
    (lane,) = engine.lanes({}, model.stems)
    noise = np.random.default_rng(1).standard_normal((1, engine.window(lane, lane.segment), 2)).astype("f4") * 0.1
    engine.begin(TrackStats(44_100 * 60, 0.0, 1.0, 1.0))
    found = engine.separate_segments(lane, noise)
    bits = b"".join(found[stem].tobytes() for stem in model.stems)
    print(engine.facts()["threads"], hashlib.sha256(bits).hexdigest())
"""


def answers(*counts: int) -> list[str]:
    """Of one process that is started with the first number and then changes it."""
    command = [sys.executable, "-c", _PROGRAM, *map(str, counts)]
    done = subprocess.run(
        command, env={"OMP_NUM_THREADS": str(counts[0])}, capture_output=True, text=True, check=True, timeout=300
    )
    return done.stdout.splitlines()


def test_the_bits_are_those_of_a_worker_started_with_so_many_threads():
    one, two, again = answers(1, 2, 1)
    assert answers(2) == [two]
    assert (one, one.split()[0], two.split()[0]) == (again, "1", "2")


def test_engines_of_ours_can_change_it_from_job_to_job(tmp_path: Path):
    engines = [base.create("demucs"), base.create("mix"), base.create("stub"), base.create("spleeter", tmp_path)]
    assert all(isinstance(engine, Threaded) for engine in engines)


def test_another_number_gives_spleeter_another_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    engine = base.create("spleeter", tmp_path)
    engine._loaded = True
    engine.use_threads(2)
    assert engine._loaded
    engine.use_threads(1)
    assert (engine._loaded, engine.facts()["threads"]) == (False, 1)
