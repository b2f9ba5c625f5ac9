"""Quotas on the real daemon: who is over waits and goes on by itself, or is refused; the account survives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stemd.spool import usage
from tests.support.audio import write_wav
from tests.support.daemon import Daemon, eventually

SONG = 2.0
STUB = {"engine": "stub", "model": "stub", "settle": "300ms", "settle_unprobed": "500ms"}


def governed(path: Path, **quota) -> Daemon:
    users = {"ana": {"quota": "small"}, "ben": {}}
    daemon = Daemon(path, users=users, quotas={"small": quota}, defaults=STUB)
    for user in users:
        (daemon.spool.inbox / user).mkdir()
    return daemon


@pytest.fixture
def song(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "song.wav", seconds=SONG)


def why(daemon: Daemon, path: Path) -> str | None:
    return daemon.ask("why", str(path))["code"]


def quota_of(daemon: Daemon, user: str) -> dict:
    (row,) = daemon.ask("quota", user)["users"]
    return row


def cpu_of_workers(daemon: Daemon) -> float:
    """Seconds that their jobs have taken so far."""
    workers = json.loads(daemon.http("/health")[1])["workers"]
    return sum(worker["usage"]["cpu_seconds"] for worker in workers if worker["state"] == "busy")


def test_audio_of_a_day(tmp_path: Path, song: Path):
    daemon = governed(tmp_path, audio_per_day=f"{2 * SONG + 1}s")
    with daemon:
        for number in range(3):
            daemon.drop(song, f"ana/{number}.wav")
        daemon.drop(song, "ben/his.wav")
        eventually(lambda: len(daemon.results()) == 3, 60, "two of hers, and his, who has no quota")
        waiting = eventually(lambda: daemon.in_state("deferred"), 30, "her third is deferred")
        assert (waiting["user_id"], waiting["reason"]["code"]) == ("ana", "STEMD-P005")
        assert "audio_per_day" in waiting["reason"]["message"]
        row = quota_of(daemon, "ana")
        assert (row["audio_per_day"], row["waiting"]["used"]) == ({"used": 2 * SONG, "limit": 2 * SONG + 1}, 1)
        assert "of 0.0 h" in daemon.stemd("quota", check=True).stdout
        assert daemon.metric('stemd_quota_rejections_total{quota="audio_per_day"}') == 1
        # a day passes: as the ledger sees it
        daemon.stop()
        ledger = usage.place(daemon.spool.root / ".state", daemon.spool.root)
        aged = [{**record, "at": record["at"] - usage.WINDOW} for record in map(json.loads, ledger.open())]
        ledger.write_text("".join(json.dumps(record) + "\n" for record in aged))
        daemon.start()
        eventually(lambda: len(daemon.results()) == 4, 60, "it goes on by itself")


def test_the_account_survives_a_restart_and_the_loss_of_its_file(tmp_path: Path, song: Path):
    daemon = governed(tmp_path, audio_per_day=f"{SONG}s")
    with daemon:
        daemon.drop(song, "ana/one.wav")
        eventually(daemon.results, 60, "one is done")
        for lost in (False, True):
            daemon.stop()
            if lost:
                usage.place(daemon.spool.root / ".state", daemon.spool.root).unlink()
            daemon.start()
            second = daemon.drop(song, f"ana/after{lost}.wav")
            assert eventually(lambda path=second: why(daemon, path) == "STEMD-P005", 30, "it stays in the inbox")
            assert quota_of(daemon, "ana")["audio_per_day"]["used"] == SONG
        assert daemon.metric('stemd_admission_paused{reason="quota"}') == 1
        # the operator gives more
        daemon.configure(users={"ana": {}, "ben": {}}, defaults=STUB)
        assert daemon.stemd("reload").returncode == 0
        eventually(lambda: len(daemon.results()) == 3, 60, "what waited is taken")


def test_an_outbox_that_is_full_until_somebody_empties_it(tmp_path: Path, song: Path):
    daemon = governed(tmp_path, outbox="100KiB")
    with daemon:
        eventually(lambda: quota_of(daemon, "ana")["outbox"]["used"] == 0, 30, "it has been counted")
        daemon.drop(song, "ana/one.wav")
        eventually(lambda: quota_of(daemon, "ana")["outbox"]["used"] > 100 << 10, 60, "it is full at once")
        second = daemon.drop(song, "ana/two.wav")
        assert eventually(lambda: why(daemon, second) == "STEMD-P005", 30, "it stays in the inbox")
        (daemon.spool.outbox / "ana" / "one").rename(tmp_path / "collected")
        eventually(lambda: "two" in daemon.results(), 90, "it goes on by itself")


def test_who_may_have_so_many_waiting_and_no_more(tmp_path: Path, song: Path):
    daemon = governed(tmp_path, waiting=1, over="refuse")
    daemon.configure(
        users={"ana": {"quota": "small"}, "ben": {}},
        quotas={"small": {"waiting": 1, "over": "refuse"}},
        defaults={**STUB, "engine": "demucs", "model": "htdemucs"},
    )
    with daemon:
        daemon.drop(song, "ana/one.wav")
        eventually(lambda: daemon.in_state("deferred"), 60, "its model is not there")
        daemon.drop(song, "ana/two.wav")
        report = eventually(lambda: daemon.failures().get("two.wav"), 60, "the second is refused")
        assert (report["code"], report["class"], report["user_id"]) == ("STEMD-P005", "quota", "ana")
        assert (daemon.spool.orphan / "ana").is_dir()
        assert list(daemon.failures()) == ["two.wav"]


def test_a_run_that_is_cancelled_costs_its_user_what_it_took(tmp_path: Path, song: Path):
    daemon = governed(tmp_path, cpu_per_day="1h")
    with daemon:
        folder = daemon.home / "long"
        folder.mkdir()
        write_wav(folder / "song.wav", 60.0)
        (folder / "job.json").write_text(json.dumps({"input": "song.wav", "options": {"pace": 1, "spin": 1}}))
        folder.rename(daemon.spool.inbox / "ana" / "long")
        job = eventually(lambda: daemon.in_state("running"), 60, "it runs")
        eventually(lambda: cpu_of_workers(daemon) > 0.6, what="it has worked for more than half a second")
        assert quota_of(daemon, "ana")["cpu_per_day"]["used"] == 0
        assert daemon.stemd("cancel", job["job_uuid"]).returncode == 0
        eventually(lambda: daemon.states()[job["job_uuid"]]["state"] == "cancelled", 60, "it is cancelled")
        assert quota_of(daemon, "ana")["cpu_per_day"]["used"] > 0.5
