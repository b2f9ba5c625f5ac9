"""Room on the disk, and what people decide about files that still lie in the inbox: on the real daemon."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.audio import write_wav
from tests.support.daemon import Daemon, eventually
from tests.support.spools import violations
from tests.support.system import needs_root, tiny_disk

STUB = {"engine": "stub", "model": "stub", "stems": 4}


def why(daemon: Daemon, path: Path) -> str:
    done = daemon.stemd("why", str(path))
    return done.stdout + done.stderr


def logged(folder: Path, daemon: Daemon) -> Daemon:
    """Its log is not on the disk that will be full."""
    daemon.log = folder / "daemon.log"
    return daemon


@needs_root
def test_what_does_not_fit_stays_in_the_inbox_and_goes_on_when_there_is_room(tmp_path):
    large, small = write_wav(tmp_path / "large.wav", seconds=20.0), write_wav(tmp_path / "small.wav", seconds=1.0)
    with tiny_disk(tmp_path / "disk", "64m") as disk, Daemon(disk, defaults=STUB) as daemon:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(30 << 20))
        shutil.copyfile(large, daemon.spool.inbox / "large.wav")
        shutil.copyfile(small, daemon.spool.inbox / "small.wav")
        eventually(lambda: "small" in daemon.results(), 30, "what fits goes on")
        eventually(lambda: "STEMD-R004" in why(daemon, daemon.spool.inbox / "large.wav"), 30, "the reason is visible")
        listed = next(job for job in daemon.ask("list")["jobs"] if job["path"])
        assert listed["reason"]["code"] == "STEMD-R004"
        eventually(lambda: daemon.metric('stemd_inbox_files{state="kept"}') == 1, 10)
        assert daemon.metric('stemd_admission_paused{reason="room"}') == 1
        assert daemon.events("kept_back")[0]["code"] == "STEMD-R004"
        assert (daemon.spool.inbox / "large.wav").exists()
        ballast.unlink()
        eventually(lambda: "large" in daemon.results(), 60, "there is room now")
        held = [large.read_bytes(), small.read_bytes()]
        eventually(lambda: not any(daemon.spool.work.glob("[!.]*")), 30, "its folder in work/ goes a moment later")
        assert violations(daemon.spool, held) == []


@needs_root
def test_once_says_that_something_waits_for_room(tmp_path):
    large = write_wav(tmp_path / "large.wav", seconds=20.0)
    with tiny_disk(tmp_path / "disk", "24m") as disk:
        daemon = Daemon(disk, defaults=STUB)
        (daemon.spool.root / "inbox").mkdir(exist_ok=True)
        shutil.copyfile(large, daemon.spool.root / "inbox" / "large.wav")
        assert daemon.once() == 75
        assert (daemon.spool.inbox / "large.wav").exists()


@needs_root
def test_a_job_that_met_a_full_disk_goes_on_where_it_was(tmp_path):
    song = write_wav(tmp_path / "song.wav", seconds=20.0)
    settings = {"chunking": {"threshold": "1s", "checkpoint": "2s"}, "inboxes": {"slow": {"options": {"pace": 0.3}}}}
    with (
        tiny_disk(tmp_path / "disk", "64m") as disk,
        logged(tmp_path, Daemon(disk, defaults=STUB, **settings)) as daemon,
    ):
        daemon.drop(song, "slow/song.wav")
        eventually(lambda: daemon.events("checkpoint"), 60, "a chunk is on the disk")
        ballast = disk / "ballast"
        with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(1 << 16))
        failed = eventually(lambda: daemon.events("attempt_failed"), 60, "its write failed")
        assert failed[0]["code"] == "STEMD-R003"
        eventually(lambda: daemon.events("deferred"), 60, "it waits for room")
        assert daemon.events("deferred")[0]["code"] == "STEMD-R004"
        assert daemon.ask("list")["jobs"], "the command line goes on answering"
        ballast.unlink()
        manifest = eventually(daemon.results, 60, "there is room now")["song"]
        assert manifest["chunks"]["reused"] >= 1
        assert manifest["chunks"]["resumes"] == 1
        held = [song.read_bytes()]
        eventually(lambda: not any(daemon.spool.work.glob("[!.]*")), 30, "its folder in work/ goes a moment later")
        assert violations(daemon.spool, held) == []


def test_hold_release_and_cancel_of_a_file_in_the_inbox(tmp_path):
    song = write_wav(tmp_path / "song.wav", seconds=1.0)
    with Daemon(tmp_path, defaults={**STUB, "settle": "1h"}) as daemon:
        held, cancelled = daemon.spool.inbox / "held.wav", daemon.spool.inbox / "cancelled.wav"
        for path in (held, cancelled):
            shutil.copyfile(song, path)
        assert daemon.stemd("hold", str(held)).returncode == 0
        assert daemon.stemd("cancel", str(cancelled)).returncode == 0
        daemon.configure(defaults=STUB)  # what was decided while they were not complete is carried out once they are
        daemon.stemd("reload", check=True)
        eventually(lambda: daemon.failures().get("cancelled.wav"), 30, "it was cancelled once complete")
        assert daemon.failures()["cancelled.wav"]["class"] == "cancelled"
        eventually(lambda: "release" in why(daemon, held), 30, "the reason is visible")
        assert daemon.ask("status", str(held))["state"] == "held"
        daemon.stop()
        daemon.start()
        eventually(lambda: "release" in why(daemon, held), 30, "a restart remembers")
        assert daemon.stemd("release", str(held)).returncode == 0
        eventually(lambda: "held" in daemon.results(), 30, "it was released")
        assert daemon.stemd("release", str(held)).returncode != 0
    assert violations(daemon.spool, [song.read_bytes()], idle=True)[0].startswith("I1: a source exists 2")


def test_without_a_daemon_the_next_one_follows(tmp_path):
    song = write_wav(tmp_path / "song.wav", seconds=1.0)
    daemon = Daemon(tmp_path, defaults=STUB)
    (daemon.spool.root / "inbox").mkdir(exist_ok=True)
    held, cancelled, plain = (daemon.spool.inbox / name for name in ("held.wav", "cancelled.wav", "plain.wav"))
    for path in (held, cancelled, plain):
        shutil.copyfile(song, path)
    assert daemon.stemd("hold", str(held)).returncode == 0
    assert daemon.stemd("cancel", str(cancelled)).returncode == 0
    assert daemon.ask("status", str(held))["state"] == "held"
    assert daemon.once() == 75, "one waits to be released"
    assert set(daemon.results()) == {"plain"}
    assert set(daemon.failures()) == {"cancelled.wav"}
    assert held.exists()
    assert daemon.stemd("release", str(held)).returncode == 0
    assert daemon.once() == 0
    assert set(daemon.results()) == {"plain", "held"}
    assert not list((daemon.spool.root / ".state").glob("intents*"))


def test_a_job_is_held_without_a_daemon_too(tmp_path):
    song = write_wav(tmp_path / "song.wav", seconds=20.0)
    settings = {"inboxes": {"slow": {"options": {"pace": 0.2}}}, "shutdown": {"drain": "100ms"}}
    with Daemon(tmp_path, defaults=STUB, **settings) as daemon:
        daemon.drop(song, "slow/song.wav")
        job = eventually(daemon.running, 60, "it separates")["job_uuid"]
        assert daemon.stop() == 0
        assert daemon.stemd("hold", job).returncode == 0
        assert daemon.once() == 75
        assert daemon.ask("status", job)["state"] == "held"
        assert daemon.stemd("release", job).returncode == 0
        assert daemon.once() == 0


def test_what_nobody_can_look_into_is_taken_all_the_same(tmp_path):
    """What nobody can look into has the need of its bytes, and the worker says what is wrong with it."""
    with Daemon(tmp_path, defaults=STUB) as daemon:
        (daemon.spool.inbox / "noise.wav").write_bytes(b"no audio")
        report = eventually(lambda: daemon.failures().get("noise.wav"), 30, "it is explained")
        assert report["code"] == "STEMD-A001"
        job = json.loads(next(daemon.spool.orphan.glob("*/*/job.json")).read_text())
        assert job["source"]["length"] is None
