"""What becomes of a job: seals, runs, failures and cancellations against a real spool, without engine processes."""

import errno
import math
import os
import selectors
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from stemd.core.config import load
from stemd.core.errors import StemdError
from stemd.core.job import Job, JobState, Outcome, new_job_id
from stemd.daemon.board import Board
from stemd.daemon.dispatcher import Dispatcher
from stemd.daemon.live import Live
from stemd.daemon.pool import Pool
from stemd.daemon.prober import Prober
from stemd.daemon.runs import Runs
from stemd.daemon.sealing import Sealer
from stemd.ops.metrics import Metrics
from stemd.spool import attempts, claim, durable, intake, sidecar, sources
from stemd.spool.intake import Candidate, Door, Kind
from tests.support.daemon import eventually
from tests.support.spools import make_spool, violations
from tests.support.system import fill, in_child, needs_root, tiny_disk

SOURCE = b"a recording" * 100
UUID = "0192f0c1-0000-7000-8000-000000000001"


class Site:
    """The daemon's parts that decide about jobs."""

    def __init__(self, spool):
        self.spool = spool
        flags = {"spool": str(spool.root), "retry.tries": 3, "retry.base": "1h", "retry.cap": "1h"}
        self.board = Board(load(None, flags, {}).config, Metrics(("demucs",)))
        self.sealer = Sealer(self.board, Prober(), lambda: None)
        self.runs = Runs(self.board)
        self.runs.pool = Pool(selectors.DefaultSelector(), self.runs)

    def claimed(self, job=""):
        """A claimed staged job."""
        folder = self.spool.inbox / "song"
        folder.mkdir()
        (folder / "song.wav").write_bytes(SOURCE)
        (folder / "job.yaml").write_text(f"input: song.wav\n{job}")
        candidate = Candidate(folder, Door(None, self.spool.inbox), Kind.STAGED, intake.identity(folder))
        work = claim.claim(self.spool, candidate, new_job_id())
        live = Live(self.spool, work, "everyone")
        self.board.add(live)
        return live

    def seal(self, live):
        """Seal on a thread, and take what comes of it."""
        self.sealer.start(live)
        eventually(lambda: all(future.done() for future in self.sealer._running.values()), 10)
        self.sealer.tick(0.0)

    def running(self):
        live = self.claimed()
        self.seal(live)
        attempts.record_start(live.work.attempts, "demucs")
        live.enter(JobState.RUNNING, "separate")
        return live

    def status(self, job_id):
        """As it is after the loop's turn."""
        self.board.write_statuses(math.inf)
        return sidecar.read_status(self.spool.status_file(job_id))


def orphans(spool):
    return {folder: durable.read_json(folder / "error.json")["code"] for folder in spool.orphan.glob("*/*")}


def test_a_sealed_job_is_queued_under_the_id_it_asks_for(site):
    live = site.claimed(f"job_uuid: {UUID}\n")
    provisional = live.id
    site.seal(live)
    assert list(site.board.jobs) == [UUID]
    assert site.status(UUID)["stage"] == "queued"
    assert site.status(provisional) is None


@pytest.mark.parametrize("job", ["", f"job_uuid: {UUID}\n"])
def test_a_job_cancelled_while_it_is_sealed_goes_to_orphan(site, spool, job):
    live = site.claimed(job)
    live.cancelling = True
    site.seal(live)
    assert list(orphans(spool).values()) == ["STEMD-P002"]
    assert site.board.jobs == {}
    assert violations(spool, [SOURCE]) == []


def test_a_faulty_description_costs_the_job_not_the_daemon(site, spool):
    site.seal(site.claimed("modle: nano\n"))
    assert list(orphans(spool).values()) == ["STEMD-S010"]
    assert site.board.ended[Outcome.FAILED] == 1


def test_a_bug_while_sealing_costs_the_job_not_the_daemon(site, spool, monkeypatch):
    monkeypatch.setattr(sources, "sha256", lambda _: 1 / 0)
    with capture_logs() as told:
        site.seal(site.claimed())
    assert list(orphans(spool).values()) == ["STEMD-X001"]
    assert "ZeroDivisionError" in next(line["trace"] for line in told if line["event"] == "seal_crashed")


def test_a_disk_error_while_sealing_is_tried_again(site, spool, monkeypatch):
    live = site.claimed()
    real = sources.sha256

    def fails_once(path):
        monkeypatch.setattr(sources, "sha256", real)
        raise StemdError("STEMD-S014", "read 'song.wav': Input/output error")

    monkeypatch.setattr(sources, "sha256", fails_once)
    site.seal(live)
    assert orphans(spool) == {}, "an error of the disk may pass: the contract tries those again"


def test_a_duplicate_is_let_go(site, spool):
    site.seal(site.claimed(f"job_uuid: {UUID}\n"))
    again = site.claimed(f"job_uuid: {UUID}\n")
    site.seal(again)
    assert list(site.board.jobs) == [UUID]
    assert [work.job_id for work in spool.jobs()] == [UUID]
    assert site.status(again.id) is None


def test_a_failure_that_may_pass_is_waited_out_and_remembered(site):
    live = site.running()
    site.runs._run_failed(live, StemdError("STEMD-S014", "the disk"), None)
    assert live.state is JobState.RETRY_WAIT
    status = site.status(live.id)
    assert (status["state"], status["reason"]["code"], status["attempts"]) == ("retry_wait", "STEMD-S014", 1)
    assert status["next_attempt_at"] is not None
    assert durable.read_json(live.work.not_before)["state"] == "retry_wait"


def test_a_failure_for_good_ends_the_job(site, spool):
    live = site.running()
    site.runs._run_failed(live, StemdError("STEMD-A001", "no audio"), None)
    assert list(orphans(spool).values()) == ["STEMD-A001"]
    status = site.status(live.id)
    assert (status["state"], status["stage"]) == ("failed", "ended")
    assert violations(spool, [SOURCE]) == []


def test_a_job_that_was_to_be_cancelled_is_not_tried_again_when_it_fails_first(site, spool):
    live = site.running()
    live.cancelling = True
    site.runs._run_failed(live, StemdError("STEMD-E005", "it died"), None)
    assert list(orphans(spool).values()) == ["STEMD-P002"]


def test_a_stop_is_no_attempt(site):
    live = site.running()
    site.runs._stopped(live, 0.0)
    count = attempts.read(live.work.attempts)
    assert (live.state, count.attempts, count.interruptions) == (JobState.WAITING, 0, 0)


def test_the_daemon_survives_a_status_it_cannot_write(site, spool):
    live = site.running()
    spool.status.rename(spool.root / "elsewhere")
    with capture_logs() as told:
        live.enter(JobState.WAITING, "queued again")
        site.board.write_statuses(math.inf)
    assert {line["event"] for line in told} == {"status_not_written"}
    (spool.root / "elsewhere").rename(spool.status)


def test_of_many_changes_in_a_row_the_status_shows_the_last(site, spool, monkeypatch):
    live, written = site.running(), []
    write = sidecar.write_status
    monkeypatch.setattr(sidecar, "write_status", lambda *words: written.append(words[2]["stage"]) or write(*words))
    now = time.monotonic()
    for stage in ("decode", "separate", "encode"):
        live.advance_progress(stage, 0.5)
    assert site.board.write_statuses(now) > now + 1e9, "nothing is left to write"
    assert written == ["encode"]
    live.advance_progress("verify", 0.9)
    due = site.board.write_statuses(now)
    assert now < due < now + 5, "so soon after the last one it waits"
    live.advance_progress("publishing", 0.9)
    assert site.board.write_statuses(due) > now + 1e9
    assert written == ["encode", "publishing"]
    assert site.status(live.id)["stage"] == "publishing"
    live.advance_progress("publishing", 0.95)
    assert live.status_due is None, "progress alone is told of once a second"


@needs_root
def test_a_full_disk_costs_a_status_not_the_daemon(tmp_path):
    with tiny_disk(tmp_path / "disk", "128k") as disk:
        site = Site(make_spool(disk / "spool"))
        live = site.running()
        fill(disk)

        def change():
            live.enter(JobState.WAITING, "queued again")
            site.board.write_statuses(math.inf)
            return live.state.value

        assert in_child(change) == "waiting"
        site.sealer.close()


def test_numbers_follow_what_happens(site):
    live = site.running()
    site.runs._run_failed(live, StemdError("STEMD-A001", "no audio"), None)
    text = site.board.metrics.render().decode()
    assert 'stemd_attempts_total{engine="demucs",outcome="decode"} 1.0' in text
    assert 'stemd_orphaned_jobs_total{class="decode"} 1.0' in text
    assert 'stemd_jobs_completed_total{engine="demucs",outcome="failed"} 1.0' in text


def test_a_job_in_memory_can_be_made_anew_from_the_spool(site):
    live = site.running()
    again = Job.from_dict(durable.read_json(live.work.job))
    assert again == live.job


def test_a_job_whose_folder_somebody_took_away_is_let_go(site, spool, told):
    gone, other = site.claimed(), site.claimed()
    site.seal(gone)
    site.seal(other)
    site.board.write_statuses(math.inf)
    dispatcher = Dispatcher.__new__(Dispatcher)
    dispatcher.board, dispatcher.sealer = site.board, site.sealer
    durable.remove_tree(gone.work.path)
    assert not dispatcher.survives(site.runs.start, gone, gone.job, None, 1)
    assert list(site.board.jobs) == [other.id]
    assert [line["job_uuid"] for line in told if line["event"] == "job_vanished"] == [gone.id]
    assert not spool.status_file(gone.id).exists()
    assert spool.status_file(other.id).exists()
    with pytest.raises(FileNotFoundError):
        dispatcher.survives((spool.root / "missing").read_bytes)


def test_results_whose_folders_are_gone_end_the_daemon_neither_now_nor_at_the_next_turn(site, told):
    gone = [site.running() for _ in range(2)]
    dispatcher = Dispatcher.__new__(Dispatcher)
    dispatcher.board, dispatcher.sealer = site.board, site.sealer
    for live in gone:
        site.runs._made.append((live, {}))
        durable.remove_tree(live.work.path)
    assert not dispatcher.survives(site.runs.finish_made)
    assert site.board.jobs == {}
    assert dispatcher.survives(site.runs.finish_made)
    assert {line["job_uuid"] for line in told if line["event"] == "job_vanished"} == {live.id for live in gone}


def test_a_spool_that_is_gone_lets_go_of_no_job(site, spool):
    live = site.claimed()
    spool.work.rename(spool.root / "elsewhere")
    assert not site.board.let_go_of_vanished(site.sealer.busy)
    assert list(site.board.jobs) == [live.id]
    (spool.root / "elsewhere").rename(spool.work)


def test_a_job_that_just_got_its_name_is_not_let_go_with_one_that_is_gone(site, spool):
    gone, named = site.claimed(), site.claimed(f"job_uuid: {UUID}\n")
    durable.remove_tree(gone.work.path)
    site.sealer.start(named)
    eventually(lambda: all(future.done() for future in site.sealer._running.values()), 10)
    assert [work.job_id for work in spool.jobs()] == [UUID], "and the board does not know it by that yet"
    assert site.board.let_go_of_vanished(site.sealer.busy)
    site.sealer.tick(0.0)
    assert list(site.board.jobs) == [UUID]
    assert site.status(UUID)["stage"] == "queued"


def test_a_disk_that_says_nothing_of_a_job_has_not_let_go_of_it(site, monkeypatch):
    live, real = site.claimed(), Path.stat

    def fails(path, **how):
        if path == live.work.path:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return real(path, **how)

    monkeypatch.setattr(Path, "stat", fails)
    monkeypatch.setattr(Path, "lstat", lambda path: fails(path, follow_symlinks=False))
    assert not site.board.let_go_of_vanished(site.sealer.busy)
    assert list(site.board.jobs) == [live.id]
