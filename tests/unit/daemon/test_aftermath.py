"""Statuses that a crash left behind."""

import json

from stemd.core.errors import StemdError
from stemd.core.job import new_job_id
from stemd.daemon.aftermath import settle_statuses
from stemd.spool import deliver, durable, sidecar
from tests.support.daemon import Daemon
from tests.unit.spool.conftest import Way


def status(spool, job_id):
    return durable.read_json(spool.status_file(job_id))


def test_each_is_settled_by_where_its_job_is(spool, tmp_path):
    way = Way(spool, None)
    way.configure()
    work, failed = way.seal(way.claim(way.drop("failed.wav")))
    orphan = deliver.to_orphan(spool, work, StemdError("STEMD-A001"), "everyone")
    done, gone, running = new_job_id(), new_job_id(), new_job_id()
    result = spool.outbox / "everyone" / "song"
    result.mkdir(parents=True)
    (result / "manifest.json").write_text(json.dumps({"job_uuid": done}))
    for job_id in (failed.job_uuid, done, gone, running):
        sidecar.write_status(spool, job_id, {"state": "running", "title": "x"})
    (spool.status / "strange.json").write_text('{"state": 5}')
    settle_statuses(spool, {running})
    assert (status(spool, failed.job_uuid)["state"], status(spool, failed.job_uuid)["result"]) == (
        "failed",
        str(orphan),
    )
    assert (status(spool, done)["state"], status(spool, done)["result"]) == ("done", str(result))
    assert status(spool, gone) is None
    assert status(spool, running)["state"] == "running"
    assert status(spool, "strange") == {"state": 5}


def test_one_that_cannot_be_read_keeps_nothing_from_going_on(spool, told):
    gone, unreadable = new_job_id(), new_job_id()
    sidecar.write_status(spool, gone, {"state": "running", "title": "x"})
    spool.status_file(unreadable).mkdir()
    settle_statuses(spool, set())
    assert status(spool, gone) is None
    assert [(each["event"], each["job_uuid"], each["reason"]) for each in told] == [
        ("status_not_settled", unreadable, "Is a directory")
    ]


def test_an_errand_that_leaves_a_job_it_could_not_recover_says_that_something_waits(tmp_path):
    daemon = Daemon(tmp_path, defaults={"engine": "stub", "model": "stub"})
    work = daemon.spool.job(new_job_id())
    work.src.mkdir(parents=True)
    (work.src / "song.wav").write_bytes(b"x")
    work.job.mkdir()  # of the errors that a disk may have
    assert daemon.once() == 75
    assert daemon.events("recovery_failed")
    assert work.path.is_dir()
