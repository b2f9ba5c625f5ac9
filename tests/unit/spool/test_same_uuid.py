"""One job_uuid is one job, however often it is dropped: into any of the daemon's spools, and at one moment too."""

import os
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from stemd.core.config import load
from stemd.core.errors import StemdError
from stemd.spool import attempts, deliver, durable, recover, sidecar, steps
from stemd.spool.claim import AcknowledgedError
from tests.support.spools import make_spool
from tests.unit.spool.conftest import SOURCE, Way

UUID = "0192f0c1-0000-7000-8000-000000000001"
JOB = f"input: song.wav\njob_uuid: {UUID}\n"


@pytest.fixture
def ways(tmp_path):
    """Two spools of one daemon."""
    spools = [make_spool(tmp_path / name) for name in ("a", "b")]
    config = load(None, {"spool": [str(spool.root) for spool in spools]}, {}).config
    return [Way(spool, config) for spool in spools]


def by_itself(way, folder, stage):
    """A job with this id as the daemon of this spool alone, which knows of no other, leaves it."""
    alone = Way(way.spool, load(None, {"spool": str(way.spool.root)}, {}).config)
    work = alone.claim(folder)
    if stage == "renamed":
        durable.rename(work.path, way.spool.job(UUID).path)
        return way.spool.job(UUID)
    work, job = alone.seal(work)
    if stage != "sealed":
        attempts.record_start(work.attempts, "stub")
    if stage == "staged":
        alone.stage(work, job)
    if stage == "waiting":
        durable.write_json(work.not_before, {"state": "held"})
    return work


def restart(here, there):
    """What the next daemon finds in the second spool when it has taken over the first."""
    (first,) = recover.recover(here.spool)
    held = {UUID: first.work}
    return list(recover.recover(there.spool, lambda: None, held.get))


def other_recording(way):
    folder = way.drop_staged(JOB)
    (folder / "song.wav").write_bytes(b"another recording")
    return folder


def test_the_same_job_in_another_spool_is_acknowledged(ways):
    here, there = ways
    here.sealed(here.drop_staged(JOB))
    with pytest.raises(AcknowledgedError) as caught:
        there.sealed(there.drop_staged(JOB))
    assert caught.value.job_id == UUID


def test_so_is_one_that_has_ended_there(ways):
    here, there = ways
    _, done = here.published(here.drop_staged(JOB))
    sidecar.write_status(here.spool, UUID, {"state": "done", "source_sha256": done.source.sha256})
    with pytest.raises(AcknowledgedError):
        there.sealed(there.drop_staged(JOB))


def test_another_recording_under_the_id_is_refused_and_kept(ways):
    here, there = ways
    here.sealed(here.drop_staged(JOB))
    work = there.claim(other_recording(there))
    with pytest.raises(StemdError) as caught:
        there.seal(work)
    assert caught.value.code == "STEMD-S011"
    assert (work.src / "staged" / "song.wav").read_bytes() == b"another recording"


def test_one_that_failed_in_another_spool_is_named(ways):
    here, there = ways
    work, _ = here.sealed(here.drop_staged(JOB))
    deliver.to_orphan(here.spool, work, StemdError("STEMD-A001"), "everyone")
    with pytest.raises(StemdError) as caught:
        there.sealed(there.drop_staged(JOB))
    assert (caught.value.code, caught.value.remedy) == ("STEMD-S011", f"`stemd retry {UUID}` tries it again.")


def test_one_that_had_its_id_before_it_was_sealed_is_looked_for_elsewhere_too(ways):
    """Its daemon died right after the rename; before it is sealed, the other spool gets the same job."""
    here, there = ways
    early = here.claim(here.drop_staged(JOB), UUID)
    with pytest.raises(StemdError, match="being claimed"):
        there.sealed(there.drop_staged(JOB))
    early.path.rename(here.spool.root / "away")
    there.sealed(there.drop_staged(JOB, "again"))
    (here.spool.root / "away").rename(early.path)
    with pytest.raises(AcknowledgedError):
        here.seal(early)


@pytest.mark.parametrize("other", [0, 1], ids=["one spool", "two spools"])
def test_the_same_job_twice_at_one_moment_is_one_job(ways, other):
    first = ways[0].claim(ways[0].drop_staged(JOB))
    second = ways[other].claim(ways[other].drop_staged(JOB, "again"))
    with ThreadPoolExecutor(1) as threads:
        meanwhile = []

        def renamed(step):
            if step == "C4a" and not meanwhile:
                meanwhile.append(threads.submit(ways[other].seal, second))
                wait(meanwhile, timeout=1)

        steps.install(renamed)
        try:
            ways[0].seal(first)
            with pytest.raises(AcknowledgedError):
                meanwhile[0].result()
        finally:
            steps.install(None)


@pytest.mark.parametrize("stage", ["renamed", "sealed", "working", "waiting", "staged"])
def test_of_two_that_became_one_daemon_s_the_second_is_acknowledged(ways, stage):
    here, there = ways
    by_itself(here, here.drop_staged(JOB), "sealed")
    sidecar.write_status(there.spool, UUID, {"state": "waiting"})
    by_itself(there, there.drop_staged(JOB), stage)
    (found,) = restart(here, there)
    assert (found.found, found.job) == (recover.Found.CLAIMED, None)
    assert found.work.job_id != UUID
    assert not there.spool.status_file(UUID).exists()
    with pytest.raises(AcknowledgedError) as caught:
        there.seal(found.work)
    assert caught.value.job_id == UUID


def test_nor_is_it_lost_where_a_status_says_that_it_is_done(ways):
    """It does not say the truth: the recording is still at work."""
    here, there = ways
    _, job = here.seal(by_itself(here, other_recording(here), "renamed"))
    work = by_itself(there, there.drop_staged(JOB), "working")
    content = durable.read_json(work.job)["source"]["sha256"]
    sidecar.write_status(there.spool, UUID, {"state": "done", "source_sha256": content})
    (found,) = restart(here, there)
    with pytest.raises(StemdError) as caught:
        there.seal(found.work)
    assert (caught.value.code, job.job_uuid) == ("STEMD-S011", UUID)
    assert (found.work.src / "staged" / "song.wav").read_bytes() == SOURCE


@pytest.mark.parametrize("stage", ["sealed", "staged"])
def test_another_recording_loses_its_id_and_nothing_else_whatever_crashes(tmp_path, stage):
    for step in range(1, 20):
        spools = [make_spool(tmp_path / f"{step}{name}") for name in ("a", "b")]
        config = load(None, {"spool": [str(spool.root) for spool in spools]}, {}).config
        here, there = (Way(spool, config) for spool in spools)
        first = by_itself(here, here.drop_staged(JOB), "sealed")
        by_itself(there, other_recording(there), stage)
        child = os.fork()
        if child == 0:
            seen = []
            steps.install(lambda name, seen=seen, step=step: seen.append(name) or (len(seen) == step and os._exit(77)))
            os._exit(0 if restart(here, there) else 1)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        (found,) = restart(here, there)
        assert first.job.exists()
        with pytest.raises(StemdError) as caught:
            there.seal(found.work)
        assert caught.value.code == "STEMD-S011", f"crash after step {step}"
        orphan = deliver.to_orphan(there.spool, found.work, caught.value, "everyone")
        assert (orphan / "source" / "staged" / "song.wav").read_bytes() == b"another recording"
        assert durable.read_json(orphan / "error.json")["job_uuid"] == found.work.job_id != UUID
        if status == 0:
            assert step > 2
            return
    raise AssertionError("it never came through")
