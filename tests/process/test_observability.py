"""What the real daemon tells of a small day: songs done and failed, files left alone, and the room there is."""

import json
import re
import time

import pytest

from tests.support.audio import write_wav
from tests.support.daemon import Daemon, eventually

STUB = {"engine": "stub", "model": "stub"}


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """A daemon that has had a small day, its metrics as text, and its finished folder's log."""
    home = tmp_path_factory.mktemp("day")
    with Daemon(home, defaults=STUB, log={"names": "clear"}) as daemon:
        (daemon.spool.inbox / ".hidden.wav").write_bytes(b"x")
        (daemon.spool.inbox / "half.wav.part").write_bytes(b"x")
        daemon.drop(write_wav(home / "song.wav", seconds=1.0))
        noise = home / "noise.wav"
        noise.write_bytes(b"this is no recording")
        daemon.drop(noise, "evil \x1b[2J\n\u202e.wav")
        (daemon.spool.inbox / "link.wav").symlink_to(noise)
        eventually(lambda: len(daemon.events("job_ended")) == 2, what="one is done and one has failed")
        eventually(lambda: daemon.events("entry_refused"), what="the link has been seen")
        eventually(lambda: 'stemd_orphan_jobs{class="decode"} 1.0' in daemon.http("/metrics")[1], 60, "it is counted")
        yield daemon


SHOWN = {
    "stemd_build_info{": 1,
    "stemd_ready": 1,
    "stemd_config_last_reload_successful": 1,
    'stemd_inbox_files{state="refused"}': 1,
    'stemd_inbox_ignored_files_total{reason="hidden"}': 1,
    'stemd_inbox_ignored_files_total{reason="temporary"}': 1,
    "stemd_inbox_oldest_file_timestamp_seconds": 0,
    'stemd_claims_total{result="claimed"}': 2,
    'stemd_claims_total{result="refused"}': 1,
    'stemd_jobs{state="running"}': 0,
    'stemd_jobs_completed_total{engine="stub",outcome="done"}': 1,
    'stemd_jobs_completed_total{engine="stub",outcome="failed"}': 1,
    'stemd_attempts_total{engine="stub",outcome="done"}': 1,
    'stemd_attempts_total{engine="stub",outcome="decode"}': 1,
    'stemd_retries_scheduled_total{class="decode"}': 0,
    "stemd_job_wait_seconds_count": 2,
    "stemd_job_end_to_end_seconds_count": 2,
    'stemd_stage_duration_seconds_count{engine="stub",stage="separate"}': 1,
    'stemd_audio_processed_seconds_total{engine="stub"}': 1,
    'stemd_orphaned_jobs_total{class="decode"}': 1,
    'stemd_orphan_jobs{class="decode"}': 1,
    'stemd_workers{engine="stub",state="idle"}': 1,
    'stemd_engine_up{engine="stub"}': 1,
    'stemd_model_present{engine="demucs",model="nano"}': 1,
    'stemd_model_present{engine="demucs",model="htdemucs"}': 0,
    "stemd_fsync_errors_total": 0,
}
MORE_THAN_NOTHING = (
    "stemd_start_timestamp_seconds",
    "stemd_scan_duration_seconds_count",
    "stemd_scan_last_success_timestamp_seconds",
    'stemd_realtime_factor{engine="stub"}',
    'stemd_filesystem_free_bytes{role="spool"}',
    'stemd_filesystem_free_inodes{role="state"}',
    "stemd_fsync_duration_seconds_count",
)


def value(text, series):
    found = re.search(rf"^{re.escape(series)}\S* (\S+)$", text, re.MULTILINE)
    assert found, series
    return float(found[1])


def test_the_metrics_of_a_day(day):
    eventually(lambda: value(day.http("/metrics")[1], 'stemd_workers{engine="stub",state="idle"}') == 1, 30)
    text = day.http("/metrics")[1]
    assert {series: value(text, series) for series in SHOWN} == SHOWN
    for series in MORE_THAN_NOTHING:
        assert value(text, series) > 0, series
    assert 'stemd_watch_mode{inbox="' in text
    assert "noise" not in text
    assert "evil" not in text
    assert "everyone" not in text


def test_the_oldest_file_has_a_time_until_it_is_taken(tmp_path):
    before = time.time()
    with Daemon(tmp_path, defaults={**STUB, "settle": "1h"}) as daemon:
        write_wav(daemon.spool.inbox / "slow.wav", seconds=0.5)
        since = eventually(lambda: daemon.metric("stemd_inbox_oldest_file_timestamp_seconds"), 30, "it is seen")
        assert before <= since <= time.time()
        daemon.configure(defaults=STUB)
        daemon.stemd("reload", check=True)
        eventually(daemon.results, 60, "it is done")
        eventually(lambda: daemon.metric("stemd_inbox_oldest_file_timestamp_seconds") == 0, 30, "nothing waits")


def test_a_drain_looks_at_the_inboxes_and_takes_nothing(tmp_path):
    oldest, files = "stemd_inbox_oldest_file_timestamp_seconds", 'stemd_inbox_files{{state="{}"}}'.format
    with Daemon(tmp_path, defaults=STUB) as daemon:
        daemon.stemd("drain", check=True)
        status, said = daemon.http("/readyz")
        assert (status, said.strip()) == (503, "draining: 0 running, 0 waiting")
        song = write_wav(daemon.spool.inbox / "song.wav", seconds=0.5)
        eventually(lambda: daemon.metric(files("kept")) == 1, 30, "it is seen, and stays")
        assert daemon.metric(oldest) > 0
        assert "stemd resume" in daemon.stemd("why", str(song)).stdout
        song.unlink()
        eventually(lambda: (daemon.metric(oldest), daemon.metric(files("kept"))) == (0, 0), 60, "and seen to be gone")
        write_wav(daemon.spool.inbox / "other.wav", seconds=0.5)
        eventually(lambda: daemon.metric(files("kept")) == 1, 30)
        assert daemon.metric('stemd_claims_total{result="claimed"}') == 0
        daemon.stemd("resume", check=True)
        eventually(daemon.results, 60, "it is let in")


def test_the_last_line_of_a_job_says_all_there_is_to_say(day):
    ended = {line["outcome"]: line for line in day.events("job_ended")}
    done, failed = ended["done"], ended["failed"]
    wanted = {"job_uuid", "user_id", "engine", "model", "stems", "format", "audio_seconds", "wait_seconds", "seconds",
              "wall_seconds", "cpu_seconds", "peak_rss_bytes", "realtime", "attempts", "result"}  # fmt: skip
    assert wanted <= set(done)
    assert (done["engine"], done["model"], done["audio_seconds"], done["attempts"]) == ("stub", "stub", 1.0, 1)
    assert done["realtime"] == pytest.approx(1.0 / done["wall_seconds"], abs=0.01)
    assert (failed["class"], failed["result"].endswith(failed["job_uuid"][-8:])) == ("decode", True)
    assert failed["code"].startswith("STEMD-A")


def test_the_jobs_own_log_goes_with_it(day):
    for folder in (next(day.spool.outbox.glob("*/*")), next(day.spool.orphan.glob("*/*"))):
        lines = [json.loads(line) for line in (folder / "job.log.jsonl").read_text().splitlines()]
        told = [line["event"] for line in lines]
        assert told[:3] == ["claimed", "queued", "started"]
        assert told[-2:] in (["separated", "job_ended"], ["giving_up", "job_ended"])
        assert {line["job_uuid"] for line in lines} == {lines[0]["job_uuid"]}
        assert all(line["user_id"] == "everyone" for line in lines)
        (canonical,) = [line for line in day.events("job_ended") if line["job_uuid"] == lines[0]["job_uuid"]]
        assert told.count("job_ended") == 1
        assert set(canonical) - set(lines[-1]) == {"level", "timestamp", "result"}
        assert lines[-1]["seconds"] == pytest.approx(canonical["seconds"], abs=60)


def test_what_is_never_taken_is_told_of(day):
    (refused,) = day.events("entry_refused")
    assert (refused["path"].endswith("link.wav"), refused["code"]) == (True, "STEMD-S007")


def test_hostile_names_are_text_in_the_log(day):
    text = day.log.read_text()
    assert "evil" in text
    for bad in ("\x1b[2J", "\u202e"):
        assert bad not in text
