"""Albums in the daemon: the split on the sealer's threads, what becomes of its jobs, and when the album is complete."""

from __future__ import annotations

import json
import os

import pytest
from structlog.testing import capture_logs

from stemd.core.errors import StemdError
from stemd.core.job import JobState, new_job_id
from stemd.daemon.aftermath import settle_statuses
from stemd.daemon.live import Live
from stemd.ops import snapshot
from stemd.spool import album, claim, deliver, durable, intake, ledger, sidecar
from stemd.spool.intake import Candidate, Door, Kind
from tests.support.daemon import eventually
from tests.support.spools import violations
from tests.unit.daemon.test_fate import UUID, Site, orphans

FILES = {"CD1/a.wav": b"one", "CD1/b.wav": b"two", "c.wav": b"three", "cover.jpg": b"picture"}


class AlbumSite(Site):
    """The daemon's parts, with an album."""

    def dropped(self, files=FILES):
        folder = self.spool.inbox / "Album"
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        candidate = Candidate(folder, Door(None, self.spool.inbox), Kind.ALBUM, intake.identity(folder))
        live = Live(self.spool, claim.claim(self.spool, candidate, new_job_id()), "everyone")
        self.board.add(live)
        live.write_status()
        return live

    def settle(self):
        """Turn until the sealer has nothing to do."""

        def idle():
            self.sealer.tick(0.0)
            return not self.sealer._running

        eventually(idle, 30)

    def split(self, live):
        self.sealer.start(live)
        self.settle()

    @property
    def jobs(self):
        return {live.job.source.path: live for live in self.board.jobs.values() if live.job}

    @property
    def summary(self):
        return durable.read_json(self.spool.outbox / "everyone" / "Album" / "album.json")


@pytest.fixture
def site(spool):
    site = AlbumSite(spool)
    yield site
    site.sealer.close()


def refuse_after(monkeypatch, jobs):
    """The disk fails once so many jobs are out; returns what mends it."""
    really = claim.prepare
    made = []

    def prepare(*arguments):
        if len(made) == jobs:
            raise StemdError("STEMD-S014", "the disk does not want to")
        made.append(1)
        really(*arguments)

    monkeypatch.setattr(claim, "prepare", prepare)
    return lambda: monkeypatch.setattr(claim, "prepare", really)


def test_an_album_leaves_the_board_and_its_jobs_are_queued(site, spool):
    live = site.dropped()
    site.split(live)
    assert sorted(site.jobs) == ["a.wav", "b.wav", "c.wav"]
    assert {job.state for job in site.board.jobs.values()} == {JobState.WAITING}
    assert site.status(live.id) is None
    assert all(site.status(job)["stage"] == "queued" for job in site.board.jobs)
    assert {job.claimed_at for job in site.jobs.values()} == {live.claimed_at}


def test_an_album_at_work_is_not_listed_as_a_job(site, spool):
    live = site.dropped()
    assert [job.job_uuid for job in snapshot.snapshot(site.board.config).jobs] == [live.id]
    site.split(live)
    assert {job.job_uuid for job in snapshot.snapshot(site.board.config).jobs} == set(site.board.jobs)
    with pytest.raises(StemdError) as caught:
        snapshot.find_job(site.board.config, live.id)
    assert caught.value.code == "STEMD-S015"


def test_a_status_that_a_crash_left_of_a_split_album_goes(site, spool):
    live = site.dropped()
    site.split(live)
    live.write_status()
    settle_statuses(spool, site.board.jobs)
    assert site.status(live.id) is None
    assert live.work.path.is_dir()


def test_while_somebody_writes_to_one_of_its_files_an_album_waits(site):
    live = site.dropped()
    with (live.work.src / "Album" / "c.wav").open("ab"):
        site.split(live)
        assert live.stage == "still open for writing"
        assert list(site.board.jobs) == [live.id]
    site.split(live)
    assert len(site.jobs) == 3


def test_the_disks_trouble_is_waited_out_and_what_is_out_goes_on(site, monkeypatch):
    live = site.dropped()
    mend = refuse_after(monkeypatch, 1)
    site.split(live)
    assert live.state is JobState.WAITING
    assert "does not want to" in live.stage
    assert sorted(site.jobs) == ["a.wav"]
    mend()
    site.split(live)
    assert sorted(site.jobs) == ["a.wav", "b.wav", "c.wav"]
    assert live.id not in site.board.jobs


def test_what_is_left_of_an_album_goes_to_orphan_and_a_retry_goes_on_with_it(site, spool, monkeypatch):
    live = site.dropped()
    mend = refuse_after(monkeypatch, 1)
    for _ in range(3):
        site.split(live)
    ((folder, code),) = orphans(spool).items()
    assert code == "STEMD-S014"
    assert sorted(path.name for path in folder.rglob("source/Album/**/*.wav")) == ["b.wav", "c.wav"]
    site.board.give_up(site.jobs["a.wav"], StemdError("STEMD-A002"))
    mend()
    again = Live(spool, deliver.retry(spool, folder, live.id), "everyone")
    site.board.add(again)
    site.split(again)
    assert sorted(site.jobs) == ["b.wav", "c.wav"]
    for job in list(site.jobs.values()):
        site.board.give_up(job, StemdError("STEMD-A002"))
    assert [job["state"] for job in site.summary["jobs"]] == ["failed"] * 3
    assert violations(spool, list(FILES.values())) == []


@pytest.mark.parametrize("jobs", [0, 1, 3])
def test_an_album_cancelled_while_it_is_split_is_cancelled_with_all_its_jobs(site, spool, monkeypatch, jobs):
    live = site.dropped()
    refuse_after(monkeypatch, jobs)
    live.cancelling = True
    site.split(live)
    assert site.board.jobs == {}
    assert set(orphans(spool).values()) == {"STEMD-P002"}
    assert len(orphans(spool)) == jobs + (jobs < 3)
    assert (site.summary is not None) == (jobs == 3)
    assert violations(spool, list(FILES.values())) == []


def test_album_json_is_written_when_the_last_job_ends_even_if_that_is_a_duplicate(site, spool):
    known = site.claimed(f"job_uuid: {UUID}\n")
    site.seal(known)
    content = (known.work.src / "song" / "song.wav").read_bytes()
    live = site.dropped({"a.wav": b"one", "b.wav": content, "b.wav.job.yaml": f"job_uuid: {UUID}\n".encode()})
    site.split(live)
    assert site.summary is None
    site.board.give_up(site.jobs["a.wav"], StemdError("STEMD-A002"))
    assert [job["state"] for job in site.summary["jobs"]] == ["failed", "duplicate"]
    assert site.board.albums == {}
    assert not live.work.path.exists()


def test_an_album_of_duplicates_is_complete_when_the_last_is_let_go(site):
    site.seal(site.claimed(f"job_uuid: {UUID}\n"))
    content = next(iter(site.jobs.values())).work.src / "song" / "song.wav"
    live = site.dropped({"b.wav": content.read_bytes(), "b.wav.job.yaml": f"job_uuid: {UUID}\n".encode()})
    site.split(live)
    assert [job["job_uuid"] for job in site.summary["jobs"]] == [UUID]


def test_what_the_disk_refuses_at_the_end_is_tried_again(site, monkeypatch):
    live = site.dropped({"a.wav": b"one"})
    site.split(live)
    with monkeypatch.context() as patch:
        patch.setattr(album.deliver, "open_place", lambda *_: (_ for _ in ()).throw(StemdError("STEMD-R003")))
        with capture_logs() as told:
            site.board.give_up(site.jobs["a.wav"], StemdError("STEMD-A002"))
    assert "album_not_finished" in [line["event"] for line in told]
    assert site.summary is None
    assert list(site.board.albums) == [live.id]
    site.board.close_albums()
    assert site.summary["job_uuid"] == live.id


def test_a_fault_in_the_split_costs_the_album_not_the_daemon(site, spool, monkeypatch):
    live = site.dropped()
    (live.work.src / "Album" / "link.wav").symlink_to("/etc/passwd")
    site.split(live)
    assert list(orphans(spool).values()) == ["STEMD-S007"]
    assert site.board.jobs == {}
    assert site.summary is None


def test_its_log_tells_where_a_job_came_from(site):
    live = site.dropped({os.fsdecode(b"\xff.wav"): b"one"})
    site.split(live)
    (job,) = site.board.jobs.values()
    events = [json.loads(line) for line in job.work.log.read_text().splitlines()]
    assert [event.get("album") for event in events if event["event"] == "claimed"] == [live.id]
    assert ledger.is_split(live.work)
    assert sidecar.log_tail(live.work)
