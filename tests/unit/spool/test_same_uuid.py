"""One job_uuid is one job, however often it is dropped: into any of the daemon's spools, and at one moment too."""

from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from stemd.core.config import load
from stemd.core.errors import StemdError
from stemd.spool import deliver, sidecar, steps
from stemd.spool.claim import AcknowledgedError
from tests.support.spools import make_spool
from tests.unit.spool.conftest import Way

UUID = "0192f0c1-0000-7000-8000-000000000001"
JOB = f"input: song.wav\njob_uuid: {UUID}\n"


@pytest.fixture
def ways(tmp_path):
    """Two spools of one daemon."""
    spools = [make_spool(tmp_path / name) for name in ("a", "b")]
    config = load(None, {"spool": [str(spool.root) for spool in spools]}, {}).config
    return [Way(spool, config) for spool in spools]


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
