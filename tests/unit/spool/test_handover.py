"""What is to be handed over is on the disk before anything is visible, and counts once the end is certain."""

import json
import os

import pytest

from stemd.core.errors import StemdError
from stemd.core.job import Job, new_job_id
from stemd.spool import deliver, handover, recover, steps
from tests.unit.spool.conftest import Way


@pytest.fixture(autouse=True)
def queue(spool):
    handover.folder(spool).mkdir()


def documents(spool):
    return [document for _, document in handover.pending(spool)]


def due(spool):
    return [document["state"] for document in documents(spool) if handover.due(spool, document)]


def test_nothing_is_written_where_nobody_is_to_be_told(spool, way: Way):
    handover.folder(spool).rmdir()
    way.published()
    assert not handover.folder(spool).exists()


def test_a_failure_is_told_with_its_reason(spool, way: Way):
    work, _ = way.sealed()
    target = deliver.to_orphan(spool, work, StemdError("STEMD-A001", "no audio"), "everyone")
    (document,) = documents(spool)
    assert (document["state"], document["error"]["code"]) == ("failed", "STEMD-A001")
    assert spool.root / document["result"] == target
    assert due(spool) == ["failed"]


def test_a_failure_before_the_description_is_told_too(spool, way: Way):
    work = way.claim(way.drop())
    deliver.to_orphan(spool, work, StemdError("STEMD-P002"), "ana")
    (document,) = documents(spool)
    assert (document["state"], document["user_id"], document["handoff"]) == ("cancelled", "ana", {})


def test_a_retried_job_is_handed_over_once_for_each_end(spool, way: Way):
    work, job = way.sealed()
    orphan = deliver.to_orphan(spool, work, StemdError("STEMD-A001"), "everyone")
    work = deliver.retry(spool, orphan, job.job_uuid)
    assert due(spool) == ["failed"]  # the first end stays told, though the job is at work again
    again = Job.from_dict(json.loads(work.job.read_text()))
    way.stage(work, again)
    deliver.to_outbox(spool, work, again)
    assert [document["key"] for document in documents(spool)] == [f"{job.job_uuid}.0", f"{job.job_uuid}.1"]
    assert due(spool) == ["failed", "done"]


def test_so_is_one_that_was_put_back_before_it_was_sealed(spool, way: Way):
    work = way.claim(way.drop())
    first = f"{work.job_id}.0"
    for _ in range(2):
        orphan = deliver.to_orphan(spool, work, StemdError("STEMD-P004"), "everyone")
        work = deliver.retry(spool, orphan, work.job_id)
    assert due(spool) == ["failed", "failed"]
    work, job = way.seal(work)
    assert job.epoch == 2
    way.stage(work, job)
    deliver.to_outbox(spool, work, job)
    keys = [document["key"] for document in documents(spool)]
    assert keys == [first, f"{job.job_uuid}.1", f"{job.job_uuid}.2"]
    assert due(spool) == ["failed", "failed", "done"]


@pytest.mark.parametrize("end", ["done", "failed"])
def test_a_crash_at_any_step_of_the_end_forgets_no_hand_over(spool, way: Way, tmp_path, end):
    """In a child that dies at its k-th step; the parent recovers and finishes the job as a restart does."""
    for step in range(1, 60):
        work, job = way.staged(way.drop(f"song {step}.wav"))
        child = os.fork()
        if child == 0:
            seen = []
            steps.install(lambda name, seen=seen, step=step: seen.append(name) or (len(seen) == step and os._exit(77)))
            if end == "done":
                deliver.to_outbox(spool, work, job)
            else:
                deliver.to_orphan(spool, work, StemdError("STEMD-A001"), "everyone")
            os._exit(0)
        survived = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        visible = any(spool.outbox.glob("*/*/manifest.json")) or any(spool.orphan.glob("*/*/error.json"))
        if visible:
            assert documents(spool), f"visible without its hand-over after step {step}"
        for found in recover.recover(spool):
            if found.found is recover.Found.STAGED:
                deliver.to_outbox(spool, found.work, found.job)
            elif found.job is not None and found.result is None:
                deliver.to_orphan(spool, found.work, StemdError("STEMD-A001"), "everyone")
        (document,) = documents(spool)
        assert handover.due(spool, document), f"after step {step}"
        assert (spool.root / document["result"]).is_dir()
        assert handover.forget(spool, jobs={job.job_uuid}) == [document["key"]]
        for area in (spool.outbox, spool.orphan):
            for folder in area.glob("*/*"):
                folder.rename(tmp_path / f"{area.name}-{step}")
        if survived:
            assert step > 5
            return
    raise AssertionError("it never came through")


def test_it_is_not_due_before_the_end_is_certain(spool, way: Way):
    work, job = way.staged()
    seen = []
    steps.install(lambda name: seen.append((name, due(spool))))
    try:
        deliver.to_outbox(spool, work, job)
    finally:
        steps.install(None)
    known = dict(seen)
    assert (known["H1"], known["P2"], known["P3"]) == ([], [], ["done"])


def test_a_persons_hand_overs_can_be_forgotten(spool, way: Way):
    way.published(way.drop("one.wav"))
    way.published(way.drop("two.wav"))
    assert handover.forget(spool, user="nobody") == []
    assert len(handover.forget(spool, user="everyone")) == 2
    assert documents(spool) == []


def test_what_a_kill_left_of_a_rewrite_is_forgotten_too(spool, way: Way):
    job, others = new_job_id(), new_job_id()
    for each in (job, others):
        (handover.folder(spool) / f".{each}.0.json.tmp").write_text('{"half of')
    handover.forget(spool, jobs={job})
    assert [path.name for path in handover.folder(spool).iterdir()] == [f".{others}.0.json.tmp"]
