"""The spool as one truth, read from the folders."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from stemd.core.errors import StemdError
from stemd.core.job import new_job_id
from stemd.ops.jobs import _listed_owner
from stemd.ops.snapshot import find_job, read_job, snapshot
from stemd.spool import probes, sidecar
from stemd.spool.layout import Spool


@dataclass
class Where:
    spool: tuple[Path, ...]
    inboxes: frozenset[str] = frozenset({"karaoke"})
    users: frozenset[str] = frozenset({"ana"})

    def state_of(self, root: Path) -> Path:
        return root / ".state"


@pytest.fixture
def where(spool: Spool) -> Where:
    probes.prepare(spool, ("karaoke", "ana"))
    return Where((spool.root,))


def status(spool: Spool, state: str = "done", **fields: object) -> str:
    job_id = new_job_id()
    sidecar.write_status(spool, job_id, {"user_id": "ana", "state": state, "title": "song", **fields})
    return job_id


def orphan(spool: Spool, title: str, code: str = "STEMD-A001", error_class: str = "decode") -> str:
    job_id = new_job_id()
    folder = spool.orphan / "ana" / f"{title}.{job_id[-8:]}"
    folder.mkdir(parents=True)
    report = {"job_uuid": job_id, "user_id": "ana", "code": code, "class": error_class, "message": "m", "remedy": "r"}
    (folder / "error.json").write_text(json.dumps(report))
    return job_id


def test_an_empty_spool_has_no_jobs(where: Where):
    now = snapshot(where)
    assert now.jobs == ()
    assert not now.running


def test_a_missing_root_says_so(tmp_path: Path):
    with pytest.raises(StemdError) as caught:
        snapshot(Where((tmp_path / "nowhere",)))
    assert caught.value.code == "STEMD-S005"


def test_status_files_become_jobs(where: Where, spool: Spool):
    job_id = status(spool, "done", engine="demucs", progress=1.0, result="/x/outbox/ana/song", attempts=2)
    (job,) = snapshot(where).jobs
    assert (job.job_uuid, job.state, job.engine, job.attempts) == (job_id, "done", "demucs", 2)
    assert job.result == "/x/outbox/ana/song"
    assert job.ended


def test_a_torn_status_file_is_skipped(where: Where, spool: Spool):
    (spool.status / f"{new_job_id()}.json").write_bytes(b'{"state": "run')
    assert snapshot(where).jobs == ()


def test_running_is_not_believed_without_a_daemon(where: Where, spool: Spool):
    job_id = status(spool, "running", progress=0.5, eta_seconds=9.0)
    job = find_job(where, job_id)
    assert (job.state, job.progress, job.eta_seconds) == ("waiting", 0.5, None)
    assert job.reason and job.reason["code"] == "STEMD-S017"


def test_running_is_believed_with_one(where: Where, spool: Spool):
    job_id = status(spool, "running", progress=0.5, eta_seconds=9.0)
    descriptor = probes.take_lock(spool)
    try:
        now = snapshot(where)
        assert (now.running, now.roots[0].owner) == (True, os.getpid())
        job = find_job(where, job_id)
        assert (job.state, job.eta_seconds, job.reason) == ("running", 9.0, None)
    finally:
        os.close(descriptor)


def test_what_a_job_waits_for_is_kept_when_the_daemon_stops(where: Where, spool: Spool):
    reason = {"code": "STEMD-M001", "message": "no weights", "remedy": "fetch"}
    job_id = status(spool, "deferred", reason=reason)
    job = find_job(where, job_id)
    assert (job.state, job.reason) == ("deferred", reason)


def test_a_job_without_status_is_read_from_work(where: Where, spool: Spool):
    job_id = new_job_id()
    work = spool.job(job_id)
    work.path.mkdir()
    work.origin.write_text(json.dumps({"name": "song.mp3", "claimed_at": 1_000_000_000.0}))
    job = read_job(spool, job_id)
    assert job is not None
    assert (job.state, job.title, job.claimed_at) == ("waiting", "song.mp3", "2001-09-09T01:46:40.000Z")


def test_an_orphan_outlives_its_status(where: Where, spool: Spool):
    failed, cancelled = orphan(spool, "a"), orphan(spool, "b", "STEMD-P002", "cancelled")
    states = {job.job_uuid: (job.state, job.title) for job in snapshot(where).jobs}
    assert states == {failed: ("failed", "a"), cancelled: ("cancelled", "b")}


def test_an_orphan_with_status_counts_once(where: Where, spool: Spool):
    job_id = orphan(spool, "a")
    sidecar.write_status(spool, job_id, {"state": "failed", "user_id": "ana"})
    assert [job.job_uuid for job in snapshot(where).jobs] == [job_id]


def test_what_is_of_unknown_origin_is_no_job(where: Where, spool: Spool):
    (spool.orphan / "_unknown" / "thing").mkdir(parents=True)
    (spool.orphan / "_unknown" / "thing" / "error.json").write_text('{"job_uuid": "x"}')
    assert snapshot(where).jobs == ()


def test_inbox_files_wait_with_a_reason(where: Where, spool: Spool):
    (spool.inbox / "song.mp3").write_bytes(b"x")
    (spool.inbox / "ana" / "hers.wav").write_bytes(b"x")
    (spool.inbox / "notes.txt").write_bytes(b"x")
    (spool.inbox / "link.wav").symlink_to("song.mp3")
    (spool.inbox / ".hidden.mp3").write_bytes(b"x")
    (spool.inbox / "half.mp3.part").write_bytes(b"x")
    (spool.inbox / "song.mp3.job.yaml").write_bytes(b"{}")
    found = {job.title: (job.user_id, job.reason and job.reason["code"]) for job in snapshot(where).jobs}
    assert found == {
        "song.mp3": (None, "STEMD-S017"),
        "hers.wav": ("ana", "STEMD-S017"),
        "notes.txt": (None, "STEMD-S009"),
        "link.wav": (None, "STEMD-S007"),
    }


def test_hostile_names_are_safe_to_print(where: Where, spool: Spool):
    path = os.fsencode(spool.inbox) + b"/a\nb\xff\x1b[31m.mp3"
    Path(os.fsdecode(path)).write_bytes(b"x")
    (job,) = snapshot(where).jobs
    assert job.title == "a\\nb\\udcff\\x1b[31m.mp3"
    text = json.dumps(job.to_dict(), ensure_ascii=False)
    text.encode("utf-8")
    assert "\x1b" not in text


def test_an_id_may_be_shortened_at_either_end(where: Where, spool: Spool):
    job_id = status(spool)
    assert find_job(where, job_id[:13]).job_uuid == job_id
    assert find_job(where, job_id[-4:].upper()).job_uuid == job_id


@pytest.mark.parametrize("text", ["abc", "", "no such job", "ffffffff", "/nowhere/x.mp3"])
def test_no_such_job(where: Where, spool: Spool, text: str):
    status(spool)
    with pytest.raises(StemdError) as caught:
        find_job(where, text)
    assert caught.value.code == "STEMD-S015"


def test_an_ambiguous_id_names_the_jobs(where: Where, spool: Spool):
    one, two = "01a20000-0000-7000-8000-000000000001", "01a20000-0000-7000-8000-000000000002"
    for job_id in (one, two):
        sidecar.write_status(spool, job_id, {"state": "done"})
    with pytest.raises(StemdError, match="fits 2 jobs") as caught:
        find_job(where, "01a2")
    assert caught.value.code == "STEMD-S015"
    assert one in caught.value.message and two in caught.value.message


def test_an_orphan_is_found_by_its_folder(where: Where, spool: Spool):
    job_id = orphan(spool, "My Song")
    name = f"My Song.{job_id[-8:]}"
    assert find_job(where, name).job_uuid == job_id
    assert find_job(where, str(spool.orphan / "ana" / name)).job_uuid == job_id


def test_an_orphan_with_status_is_found_by_its_folder(where: Where, spool: Spool):
    job_id = orphan(spool, "My Song")
    sidecar.write_status(spool, job_id, {"state": "failed"})
    assert find_job(where, f"My Song.{job_id[-8:]}").job_uuid == job_id


def test_an_inbox_file_is_found_by_its_path(where: Where, spool: Spool, monkeypatch: pytest.MonkeyPatch):
    (spool.inbox / "ana" / "song.mp3").write_bytes(b"x")
    monkeypatch.chdir(spool.inbox)
    job = find_job(where, "ana/song.mp3")
    assert (job.job_uuid, job.state, job.path) == (None, "waiting", str(spool.inbox / "ana" / "song.mp3"))


def test_a_thousand_jobs_are_read_quickly(where: Where, spool: Spool):
    for number in range(1000):
        document = {"state": "done", "user_id": "ana", "title": f"song {number}", "engine": "demucs", "model": "nano"}
        (spool.status / f"{new_job_id()}.json").write_text(json.dumps(document))
    best = min(_seconds(where) for _ in range(3))
    assert best < 0.3
    assert len(snapshot(where).jobs) == 1000


def _seconds(where: Where) -> float:
    started = time.process_time()  # of our own, however busy the machine is
    snapshot(where)
    return time.process_time() - started


def test_the_kernels_list_of_locks_names_the_owner_too(spool: Spool):
    descriptor = probes.take_lock(spool)
    assert _listed_owner(spool) == os.getpid()
    os.close(descriptor)
    assert _listed_owner(spool) is None
