"""A crash after every step of the protocol, then recovery, then the invariants.

Each scenario runs in a forked child that ends without any clean-up at its k-th step; the parent recovers as a
restarted daemon does, finishes what is left, and checks the spool. k goes up until the scenario survives.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stemd.spool import recover, steps
from stemd.spool.layout import Spool
from tests.crash.scenarios import (
    EXTRA,
    SOURCE,
    Pipeline,
    drop,
    drop_staged,
    failing,
    failing_late,
    restart,
    retried,
    whole,
)
from tests.support.spools import make_spool, violations


def run_until(step: int, scenario: Callable[[Pipeline], None], spool: Spool) -> str:
    """Run the scenario in a child that dies right after its ``step``-th step; ``"end"`` if it came through."""
    child = os.fork()
    if child == 0:
        seen = 0

        def hook(name: str) -> None:
            nonlocal seen
            seen += 1
            if seen == step:
                os._exit(77)

        try:
            steps.install(hook)
            scenario(Pipeline(spool))
            os._exit(0)
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {0, 77}, f"the scenario itself failed after step {step}"
    return "end" if status == 0 else "crash"


@pytest.mark.parametrize("arrive", [drop, drop_staged])
@pytest.mark.parametrize("keep", ["keep", "delete"])
@pytest.mark.parametrize("scenario", [whole, failing, failing_late, retried])
def test_a_crash_after_any_step_loses_nothing(tmp_path: Path, arrive, scenario, keep, monkeypatch, tally):
    monkeypatch.setitem(EXTRA, "defaults.source", keep)
    step, points = 0, 0
    while True:
        step += 1
        spool = make_spool(tmp_path / str(step))
        arrive(spool)
        ended = run_until(step, scenario, spool)
        between = violations(spool, [SOURCE] if keep == "keep" else [], idle=False)
        # recovered twice in a row: recovery itself must be repeatable
        restart(spool)
        restart(spool)
        after = violations(spool, [SOURCE] if keep == "keep" else [])
        assert (between, after) == ([], []), f"crash after step {step}"
        done = list(spool.outbox.glob("*/*/manifest.json"))
        failed = list(spool.orphan.glob("*/*/error.json"))
        assert len(done) + len(failed) == 1, f"crash after step {step}"
        if ended == "end":
            break
        points += 1
    tally("steps", points=points, violations=0)
    assert points >= 10


def test_recovery_crashing_at_every_step_is_recovered_too(tmp_path: Path):
    for first in (4, 8, 11, 14, 16):
        for second in range(1, 30):
            spool = make_spool(tmp_path / f"{first}-{second}")
            drop(spool)
            run_until(first, whole, spool)
            ended = run_until(second, lambda pipeline: restart(pipeline.spool), spool)
            restart(spool)
            assert violations(spool, [SOURCE]) == [], f"crash after {first}, then after {second} of recovery"
            if ended == "end":
                break


def test_a_damaged_stage_is_done_again_never_published(tmp_path: Path):
    spool = make_spool(tmp_path / "spool")
    drop(spool)
    pipeline = Pipeline(spool)
    work, job = pipeline.seal(pipeline.claim())
    pipeline.separate(work, job)
    (work.partial / "vocals.flac").write_bytes(b"bit rot")
    (found,) = recover.recover(spool)
    assert found.found is recover.Found.WORKING
    assert list(spool.outbox.glob("*/*")) == []
    pipeline.finish(found)
    assert violations(spool, [SOURCE]) == []


def test_a_folder_in_no_known_state_is_put_aside_never_deleted(tmp_path: Path):
    spool = make_spool(tmp_path / "spool")
    (spool.work / "strange").mkdir()
    (spool.work / "strange" / "file").write_text("somebody's")
    (spool.work / "stray.txt").write_text("somebody's too")
    assert list(recover.recover(spool)) == []
    aside = spool.orphan / "_unknown"
    assert (aside / "strange" / "file").read_text() == "somebody's"
    assert (aside / "stray.txt").read_text() == "somebody's too"
    assert (aside / "strange.reason.txt").read_text()
    assert list(spool.work.iterdir()) == []


def test_a_worker_that_outlived_its_daemon_is_waited_for_then_killed(tmp_path: Path):
    from stemd.spool import joblock

    spool = make_spool(tmp_path / "spool")
    drop(spool)
    work = Pipeline(spool).claim()
    child = os.fork()
    if child == 0:
        with joblock.hold(work):
            time.sleep(60)
        os._exit(0)
    while not joblock.held(work):
        time.sleep(0.01)
    assert joblock.holders(work) == {child}
    joblock.release(work, patience=0.2)
    assert not joblock.held(work)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
