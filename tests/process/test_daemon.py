"""The real daemon with the real engine: drops, bad input, kills, stops, reloads."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
import soundfile as sf

from stemd.spool.layout import Spool
from tests.support.audio import write_wav
from tests.support.daemon import Daemon, ended, eventually
from tests.support.spools import violations

ENCODED = {
    "a16.wav": ("-c:a", "pcm_s16le"),
    "a24.wav": ("-c:a", "pcm_s24le"),
    "a32f.wav": ("-c:a", "pcm_f32le"),
    "a.flac": (),
    "a.mp3": (),
    "a.ogg": (),
    "a.m4a": (),
}


def encode(source: Path, target: Path, *options: str) -> Path:
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", str(source), *options, str(target)], check=True)
    return target


#: For what does not depend on the engine: a job of twelve seconds, however fast or busy the machine is.
STUB = {"engine": "stub", "model": "stub"}
PACED = {
    "inboxes": {"paced": {**STUB, "options": {"pace": 0.5}}},
    "engines": {"stub": {"workers": {"max": 1}}},
}
PACED_SECONDS = 18.0

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the ffmpeg program is not installed")
needs_rsync = pytest.mark.skipif(shutil.which("rsync") is None, reason="the rsync program is not installed")


@needs_ffmpeg
@needs_rsync
def test_every_format_by_every_way_gives_one_finished_folder(tmp_path):
    source = write_wav(tmp_path / "source.wav", seconds=3.0)
    songs = {name: encode(source, tmp_path / name, *options) for name, options in ENCODED.items()}
    with Daemon(tmp_path) as daemon:
        for name, path in songs.items():
            stem, suffix = Path(name).stem, Path(name).suffix
            shutil.copyfile(path, daemon.spool.inbox / f"{stem}{suffix[1:]} cp{suffix}")
            daemon.drop(path, f"{stem}{suffix[1:]} mv{suffix}")
            target = daemon.spool.inbox / f"{stem}{suffix[1:]} rsync{suffix}"
            subprocess.run(["rsync", "-a", str(path), str(target)], check=True)
        wanted = 3 * len(songs)
        eventually(lambda: len(daemon.results()) + len(daemon.failures()) >= wanted, 300, "all drops have ended")
        assert daemon.failures() == {}
        results = daemon.results()
    assert len(results) == wanted
    for title, manifest in results.items():
        source_file = next((daemon.spool.outbox / "everyone" / title / "source").iterdir())
        if source_file.suffix != ".m4a":
            facts = sf.info(source_file)
            assert (manifest["source"]["frames"], manifest["source"]["sample_rate"]) == (facts.frames, facts.samplerate)
        assert manifest["source"]["frames"] == 3 * 44_100
        assert [file["stem"] for file in manifest["files"]] == ["drums", "bass", "other", "vocals"]
        for file in manifest["files"]:
            stem = sf.info(daemon.spool.outbox / "everyone" / title / file["name"])
            assert (stem.frames, stem.samplerate, stem.channels) == (3 * 44_100, 44_100, 2)
    sources = [path.read_bytes() for path in daemon.spool.outbox.glob("*/*/source/*")]
    assert len(sources) == wanted
    assert sorted(sources) == sorted(path.read_bytes() for path in songs.values() for _ in range(3))
    assert violations(daemon.spool, []) == []


def test_bad_input_is_explained_and_the_daemon_goes_on(tmp_path):
    good = write_wav(tmp_path / "good.wav", seconds=1.0)
    with Daemon(tmp_path) as daemon:
        inbox = daemon.spool.inbox
        (inbox / "text.mp3").write_text("this is not music\n" * 50)
        (inbox / "empty.wav").write_bytes(b"")
        flac = tmp_path / "whole.flac"
        sf.write(flac, *sf.read(good))
        (inbox / "cut.flac").write_bytes(flac.read_bytes()[: flac.stat().st_size // 2])
        (inbox / "cut.wav").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
        (inbox / "folder.wav").mkdir()
        (inbox / "passwd.mp3").symlink_to("/etc/passwd")
        os.mkfifo(inbox / "pipe.wav")
        (inbox / "notes.txt").write_text("take two")
        eventually(lambda: len(daemon.failures()) == 4, 60, "four orphans")
        daemon.drop(good)
        eventually(daemon.results, 60, "the good one is done")
        codes = {name: report["code"] for name, report in daemon.failures().items()}
        assert codes == {
            "text.mp3": "STEMD-A001",
            "empty.wav": "STEMD-A003",
            "cut.flac": "STEMD-A002",
            "cut.wav": "STEMD-A002",
        }
        for report in daemon.failures().values():
            assert report["remedy"]
            assert report["class"] == "decode"
        for name, code in {
            "passwd.mp3": "STEMD-S007",
            "pipe.wav": "STEMD-S007",
            "notes.txt": "STEMD-S009",
            "folder.wav": "STEMD-S009",
        }.items():
            # a folder is judged only once it has settled as a whole
            said = eventually(
                lambda name=name, code=code: code in daemon.stemd("why", str(inbox / name)).stderr, 30, name
            )
            assert said
            assert os.path.lexists(inbox / name)
    assert violations(daemon.spool, [good.read_bytes()]) == []


NAMES = [
    b"\xc3\x98.wav", "日本語.wav".encode(), "🎵 emoji.wav".encode(), b"with  spaces .wav", b"it's \"quoted\".wav",
    b"new\nline.wav", b"x" * 246 + b".wav", b"\xff\xfe invalid.wav",
    "\u00e9 twin.wav".encode(), "e\u0301 twin.wav".encode(),
    b"12:51.wav", b"#1 Crush.wav", b"-rf.wav", b"%s$(id)`id`.wav",
]  # fmt: skip


def test_no_name_is_lost_or_overwritten(tmp_path):
    with Daemon(tmp_path) as daemon:
        contents = {}
        for number, name in enumerate(NAMES):
            song = write_wav(tmp_path / "song.wav", seconds=0.2 + number / 100)
            contents[name] = song.read_bytes()
            daemon.drop(song, os.fsdecode(name))
        eventually(lambda: len(daemon.results()) == len(NAMES), 180, "every name has its result")
    found = {os.fsencode(path.name): path.read_bytes() for path in daemon.spool.outbox.glob("*/*/source/*")}
    assert found == contents
    assert violations(daemon.spool, list(contents.values())) == []


@pytest.mark.usefixtures("alone_with_oom")
def test_a_killed_worker_costs_one_attempt(tmp_path):
    song = write_wav(tmp_path / "song.wav", seconds=PACED_SECONDS)
    with Daemon(tmp_path, **PACED) as daemon:
        daemon.drop(song, "paced/song.wav")
        eventually(daemon.running, 60, "it separates")
        daemon.worker().send_signal(signal.SIGKILL)
        eventually(daemon.results, 120, "it is done all the same")
        manifest = daemon.results()["song"]
        assert manifest["attempts"] == 2
        assert daemon.events("attempt_failed")[0]["code"] == "STEMD-E005"
        assert daemon.events("retry_scheduled")[0]["code"] == "STEMD-E005"
        assert daemon.events("worker_ended")[0]["how"] == "signal SIGKILL"
    assert violations(daemon.spool, [song.read_bytes()]) == []


def test_a_killed_daemon_goes_on_where_it_was(tmp_path):
    song = write_wav(tmp_path / "song.wav", seconds=PACED_SECONDS)
    with Daemon(tmp_path, **PACED) as daemon:
        daemon.drop(song, "paced/song.wav")
        eventually(daemon.running, 60, "it separates")
        worker = daemon.worker()
        daemon.kill()
        assert list(daemon.spool.outbox.glob("*/*")) == [], "nothing partial is visible"
        eventually(lambda: ended(worker), what="its worker is gone")
        daemon.start()
        eventually(daemon.results, 120, "it is done")
        state = eventually(lambda: daemon.in_state("done"), 10)
        assert (state["interruptions"], state["attempts"]) == (1, 1)
        assert daemon.events("recovered")[-1]["found"] == "S4"
        assert daemon.metric('stemd_recovered_jobs_total{found="S4"}') == 1
    assert violations(daemon.spool, [song.read_bytes()]) == []


@pytest.mark.timeout(1800)
def test_a_long_recording_resumes_at_its_last_checkpoint(tmp_path):
    song = write_wav(tmp_path / "song.wav", seconds=90.0, channels=1)
    with Daemon(tmp_path, chunking={"threshold": "30s"}) as daemon:
        daemon.drop(song)
        eventually(lambda: daemon.events("checkpoint"), 600, "a minute is on the disk")
        daemon.kill()
        daemon.start()
        eventually(daemon.results, 600, "it is done")
        manifest = daemon.results()["song"]
        assert manifest["chunks"] == {"total": 2, "reused": 1, "resumes": 1}
        told = [event["chunks"] for event in daemon.events("checkpoint")]
        assert told in ([1], [1, 2]), "a chunk of the run before is no new checkpoint"
        assert manifest["source"]["channels"] == 1
        assert eventually(lambda: daemon.in_state("done"), 10)["interruptions"] == 1
    assert violations(daemon.spool, [song.read_bytes()]) == []


@pytest.mark.usefixtures("alone_with_oom")
def test_a_poisoned_job_is_given_up_after_its_tries(tmp_path):
    song = write_wav(tmp_path / "song.wav", seconds=PACED_SECONDS)
    with Daemon(tmp_path, **PACED) as daemon:
        daemon.drop(song, "paced/song.wav")
        for attempt in (1, 2, 3):
            eventually(daemon.running, 60, f"attempt {attempt}")
            daemon.worker().send_signal(signal.SIGKILL)
            eventually(lambda n=attempt: len(daemon.events("attempt_failed")) == n, 60, f"attempt {attempt} has failed")
        report = eventually(daemon.failures, 60, "it is in orphan/")["song.wav"]
        assert report["code"] == "STEMD-E005"
        assert daemon.events("giving_up")[0]["code"] == "STEMD-E005"
        assert [attempt["n"] for attempt in report["attempts"]] == [1, 2, 3]
    assert violations(daemon.spool, [song.read_bytes()]) == []


def test_a_job_file_as_long_as_may_be_holds_up_nobody(tmp_path):
    """What it says reaches the worker however much it is; and its text does not grow by aliases."""
    song = write_wav(tmp_path / "song.wav", seconds=2.0)
    rows = "".join(f"  t{number:02}: {'z' * 7_000}\n" for number in range(35))
    with Daemon(tmp_path, defaults={"engine": "stub", "model": "stub"}) as daemon:
        (daemon.spool.inbox / "long.wav.job.yaml").write_text(f"tags:\n{rows}")
        (daemon.spool.inbox / "many.wav.job.yaml").write_text(
            f"tags:\n  a: &x {'z' * 100_000}\n" + "".join(f"  b{number}: *x\n" for number in range(12))
        )
        daemon.drop(song, "long.wav")
        daemon.drop(song, "many.wav")
        daemon.drop(song, "short.wav")
        eventually(lambda: {"long", "short"} <= set(daemon.results()), what="both are done")
        report = eventually(daemon.failures, what="the third is refused")["many.wav"]
        assert "too much text" in report["message"]


def test_sigterm_lets_the_running_job_finish(tmp_path):
    song = write_wav(tmp_path / "song.wav", seconds=PACED_SECONDS)
    other = write_wav(tmp_path / "other.wav", seconds=5.0)
    with Daemon(tmp_path, shutdown={"drain": "300s"}, **PACED) as daemon:
        daemon.drop(song, "paced/song.wav")
        eventually(daemon.running, 60, "it separates")
        daemon.drop(other, "paced/other.wav")
        assert daemon.stop(300) == 0
        assert set(daemon.results()) == {"song"}
        assert daemon.events("stopped")[-1]["done"] == 1
    held = [song.read_bytes(), other.read_bytes()]
    assert violations(daemon.spool, held, idle=False) == []


def test_a_recording_of_many_gigabytes_that_is_being_hashed_holds_up_no_stop(tmp_path):
    song = write_wav(tmp_path / "song.wav", seconds=1.0)
    with song.open("ab") as file:
        file.truncate(30 << 30)  # minutes, read whole
    with Daemon(tmp_path) as daemon:
        song.rename(daemon.spool.inbox / "song.wav")
        eventually(lambda: daemon.events("claimed"), 60, "it is claimed")
        assert daemon.stop(20) == 0
        assert [path.name for path in daemon.spool.work.glob("*/src/*")] == ["song.wav"]
        assert daemon.failures() == {}


def test_a_second_sigterm_stops_now_and_the_next_start_goes_on(tmp_path):
    song = write_wav(tmp_path / "song.wav", seconds=PACED_SECONDS)
    with Daemon(tmp_path, shutdown={"drain": "300s"}, **PACED) as daemon:
        daemon.drop(song, "paced/song.wav")
        eventually(daemon.running, 60, "it separates")
        daemon.process.terminate()
        eventually(lambda: daemon.http("/readyz")[0] == 503, 10, "it drains")
        resumed = daemon.stemd("resume")
        assert (resumed.returncode, "the daemon is stopping" in resumed.stderr) == (69, True)
        daemon.process.terminate()
        assert daemon.process.wait(timeout=120) == 0
        assert daemon.results() == {}
        daemon.start()
        eventually(daemon.results, 120, "it is done")
        assert eventually(lambda: daemon.in_state("done"), 10)["interruptions"] == 0, "a clean stop costs nothing"
    assert violations(daemon.spool, [song.read_bytes()]) == []


def test_a_drain_that_takes_too_long_requeues(tmp_path):
    song = write_wav(tmp_path / "song.wav", seconds=PACED_SECONDS)
    with Daemon(tmp_path, shutdown={"drain": "300ms"}, **PACED) as daemon:
        daemon.drop(song, "paced/song.wav")
        eventually(daemon.running, 60, "it separates")
        assert daemon.stop() == 0
        assert next(iter(daemon.states().values()))["state"] == "waiting"
        assert len(daemon.events("requeued")) == 1
        assert daemon.once() == 0
        assert set(daemon.results()) == {"song"}
    assert violations(daemon.spool, [song.read_bytes()]) == []


def test_two_daemons_on_one_spool(tmp_path):
    with Daemon(tmp_path) as daemon:
        second = daemon.stemd("run")
        assert second.returncode == 75
        assert "STEMD-S001" in second.stderr


def test_a_second_job_finds_the_model_loaded(tmp_path):
    with Daemon(tmp_path) as daemon:
        daemon.drop(write_wav(tmp_path / "one.wav", seconds=1.0))
        eventually(lambda: len(daemon.results()) == 1)
        daemon.drop(write_wav(tmp_path / "two.wav", seconds=1.0))
        eventually(lambda: len(daemon.results()) == 2)
        assert [event["warm"] for event in daemon.events("started")] == [False, True]
        assert len(daemon.events("worker_ready")) == 1


def test_cancel_retry_hold_release(tmp_path):
    song = write_wav(tmp_path / "song.wav", seconds=PACED_SECONDS)
    with Daemon(tmp_path, **PACED) as daemon:
        daemon.drop(song, "paced/song.wav")
        job = eventually(daemon.running, 60, "it separates")["job_uuid"]
        assert daemon.stemd("cancel", job[:13]).returncode == 0
        eventually(lambda: daemon.states()[job]["state"] == "cancelled", 30, "it is cancelled")
        assert daemon.failures()["song.wav"]["class"] == "cancelled"
        assert daemon.stemd("retry", job).returncode == 0
        assert daemon.events("put_back")[0]["job_uuid"] == job
        eventually(daemon.running, 60, "it separates again")
        assert daemon.stemd("hold", job).returncode == 2, "a running job cannot be held"
        daemon.stemd("cancel", job, check=True)
        eventually(lambda: daemon.states()[job]["state"] == "cancelled", 30)
        daemon.stop()
        assert daemon.stemd("retry", job).returncode == 0, "with the daemon stopped, retry takes the lock itself"
        daemon.start()
        eventually(daemon.results, 120, "it is done at last")
    assert violations(daemon.spool, [song.read_bytes()]) == []


def test_reload_takes_over_a_new_inbox_and_refuses_a_faulty_file(tmp_path):
    song = write_wav(tmp_path / "song.wav", seconds=1.0)
    with Daemon(tmp_path) as daemon:
        daemon.configure(inboxes={"karaoke": {"stems": 2}}, users={"ana": {}})
        daemon.process.send_signal(signal.SIGHUP)
        eventually((daemon.spool.inbox / "karaoke").is_dir, 10, "the inbox is there")
        eventually(lambda: daemon.events("reloaded"), 10, "it says so")
        assert daemon.events("reload_needs_restart") == []
        daemon.drop(song, "karaoke/song.wav")
        daemon.drop(song, "ana/hers.wav")
        eventually(lambda: len(daemon.results()) == 2)
        assert [file["stem"] for file in daemon.results()["song"]["files"]] == ["vocals", "accompaniment"]
        assert daemon.results()["hers"]["user_id"] == "ana"
        daemon.config.write_text(daemon.config.read_text() + "nonsense: 1\n")
        daemon.process.send_signal(signal.SIGHUP)
        eventually(lambda: daemon.events("reload_failed"), 10, "it says so")
        assert daemon.metric("stemd_config_last_reload_successful") == 0
        daemon.drop(song, "again.wav")
        eventually(lambda: len(daemon.results()) == 3, 60, "and goes on as before")
        daemon.configure(inboxes={"karaoke": {"stems": 2}}, users={"ana": {}}, http={"audio": True})
        daemon.stemd("reload", check=True)
        (told,) = eventually(lambda: daemon.events("reload_needs_restart"), 10, "what cannot be changed is named")
        assert told["keys"] == ["http"]


def test_a_reload_that_cannot_make_an_inbox_changes_nothing(tmp_path):
    """A stray file has the name of a new user; nothing of the others may count by half."""
    with Daemon(tmp_path) as daemon:
        daemon.process.send_signal(signal.SIGSTOP)
        (daemon.spool.inbox / "ana").write_bytes(b"a file")
        daemon.configure(users={"ana": {}, "ben": {}})
        daemon.process.send_signal(signal.SIGHUP)
        daemon.process.send_signal(signal.SIGCONT)
        (failed,) = eventually(lambda: daemon.events("reload_failed"), 10, "it says so")
        assert failed["code"] == "STEMD-S003"
        assert daemon.metric("stemd_config_last_reload_successful") == 0
        assert daemon.events("reloaded") == []


def test_a_spool_that_was_moved_takes_its_books_along(tmp_path):
    """What a person held back stays held, and the audit trail goes on, on another disk of another name."""
    settings = {"paths": {"state": str(tmp_path / "state")}, "defaults": STUB}
    daemon = Daemon(tmp_path, **settings)
    daemon.stemd("hold", str(daemon.drop(write_wav(tmp_path / "song.wav", seconds=1.0))), check=True)
    with daemon:
        daemon.stop()
        daemon.spool.root.rename(tmp_path / "elsewhere")
        daemon.spool = Spool(tmp_path / "elsewhere")
        daemon.configure(**settings)
        daemon.start()
        (told,) = eventually(lambda: daemon.events("spool_moved"), 10, "it says so")
        assert Path(told["before"]) == tmp_path / "spool"
        daemon.drop(write_wav(tmp_path / "other.wav", seconds=1.0), "other.wav")
        eventually(lambda: "other" in daemon.results(), 60, "the other one is done")
        assert (daemon.spool.inbox / "song.wav").exists()
        assert len([path for path in (tmp_path / "state").glob("books-*") if path.is_dir()]) == 1
        daemon.stemd("audit", "verify", check=True)


def test_the_port_tells_how_things_are(tmp_path):
    with Daemon(tmp_path) as daemon:
        assert daemon.http("/livez") == (200, "ok\n")
        assert daemon.http("/readyz") == (200, "ok\n")
        status, health = daemon.http("/health")
        assert status == 200
        assert '"status":"ok"' in health
        daemon.drop(write_wav(tmp_path / "one.wav", seconds=1.0))
        eventually(daemon.results)
        eventually(lambda: daemon.metric('stemd_jobs_completed_total{engine="demucs",outcome="done"}') == 1)
        assert daemon.metric('stemd_claims_total{result="claimed"}') == 1
        assert daemon.metric('stemd_audio_processed_seconds_total{engine="demucs"}') == pytest.approx(1.0)
        assert psutil.Process(daemon.process.pid).memory_info().rss < 100e6


def test_a_missing_model_defers_and_goes_on_once_it_is_there(tmp_path):
    from stemd.engines import models
    from tests.golden.tiny_models import htdemucs, write_bag

    with Daemon(tmp_path, defaults={"model": "htdemucs"}) as daemon:
        daemon.drop(write_wav(tmp_path / "song.wav", seconds=1.0))
        state = eventually(lambda: daemon.in_state("deferred"), 30, "it is deferred")
        assert state["reason"]["code"] == "STEMD-M001"
        assert "stemd models fetch htdemucs" in state["reason"]["remedy"]
        folder = write_bag(tmp_path / "mirror", "htdemucs", [htdemucs])
        models.fetch("htdemucs", tmp_path / "models", folder.parent)
        eventually(daemon.results, 60, "it went on by itself")
        assert len(daemon.events("undeferred")) == 1
        assert daemon.results()["song"]["model"] == "htdemucs"


def test_the_same_job_twice_is_one_result(tmp_path):
    song = write_wav(tmp_path / "song.wav", seconds=1.0)
    uuid = "0192f0c1-1111-7000-8000-000000000001"
    with Daemon(tmp_path) as daemon:
        for number, content in enumerate([song, song, write_wav(tmp_path / "other.wav", seconds=1.5)]):
            folder = tmp_path / f"job{number}"
            folder.mkdir()
            shutil.copy(content, folder / "in.wav")
            (folder / "job.yaml").write_text(f"job_uuid: {uuid}\ninput: in.wav\nstems: 2\n")
            folder.rename(daemon.spool.inbox / folder.name)
            eventually(lambda: not any(daemon.spool.inbox.iterdir()) and not any(daemon.spool.work.iterdir()), 60)
        assert len(daemon.results()) == 1
        assert daemon.results()["job0"]["job_uuid"] == uuid
        (report,) = daemon.failures().values()
        assert report["code"] == "STEMD-S011"
        assert len(daemon.events("acknowledged")) == 1
