"""Mixes by the real daemon: every way in, kills in every stage, limits, cancelling, stems that become a mix."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from stemd.core.environment import scrubbed
from stemd.core.job import Output
from stemd.engines.base import MixInput, MixRequest
from stemd.engines.mix.engine import MixEngine
from tests.golden.mixes import STAGES, sha256, song
from tests.support.audio import write_wav
from tests.support.daemon import Daemon, eventually
from tests.support.spools import violations

STUB = {"engine": "stub", "model": "stub"}
MIXES = {"mixes": {"engine": "mix"}}
_LONG, _SHORT = 30.0, 2.0
RESULTS = {"final_mix.wav", "report.json", "peaks.json", "waveform.png"}


def make(folder: Path, seconds: float) -> Path:
    """A folder of stems."""
    folder.mkdir(parents=True)
    for role, frames in song(seconds).items():
        soundfile.write(folder / f"{role}.wav", frames, 44_100, subtype="PCM_16")
    return folder


@pytest.fixture(scope="module")
def long(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp("long") / "stems", _LONG)


@pytest.fixture(scope="module")
def short(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp("short") / "stems", _SHORT)


def put(daemon: Daemon, stems: Path, target: str, description: dict[str, Any] | None = None) -> None:
    """Drop a copy of the stems by one rename; with a ``description``, as a staged job."""
    folder = daemon.home / "arriving folder"
    shutil.copytree(stems, folder)
    if description is not None:
        (folder / "job.yaml").write_text(yaml.safe_dump(description, allow_unicode=True))
    folder.rename(daemon.spool.inbox / target)


def contents(stems: Path) -> list[bytes]:
    return [path.read_bytes() for path in stems.iterdir()]


def direct(stems: Path, place: Path, options: dict[str, Any], threads: int) -> np.ndarray:
    """What the engine makes of the stems without a daemon, in a process with a worker's environment: the same bits."""
    words = [str(stems), str(place), json.dumps(options)]
    command = [sys.executable, "-c", "import sys; from tests.process.test_mixes import mix; mix(*sys.argv[1:])", *words]
    subprocess.run(command, cwd=Path(__file__).parents[2], env=scrubbed(os.environ, threads), check=True, timeout=300)
    return soundfile.read(place / "out" / "final_mix.wav", dtype="int32")[0]


def mix(stems: str, place: str, options: str) -> None:
    chunks, out = Path(place, "chunks"), Path(place, "out")
    for folder in (chunks, out):
        folder.mkdir(parents=True)
    inputs = {path.stem: MixInput(path, sha256(path)) for path in sorted(Path(stems).glob("*.wav"))}
    request = MixRequest(inputs, chunks, out, Output("wav", "24"), Path, json.loads(options))
    MixEngine().mix(request, lambda progress: None)


def result(daemon: Daemon, title: str, seconds: float) -> dict[str, Any]:
    """The manifest of a finished mix, once it is there; all its files are whole."""

    def done() -> dict[str, Any] | None:
        assert daemon.failures() == {}
        return daemon.results().get(title)

    manifest = eventually(done, 180, f"{title} is mixed")
    folder = daemon.spool.outbox / "everyone" / title
    rows = {row["name"]: row for row in (*manifest["files"], *manifest["documents"])}
    assert set(rows) >= RESULTS
    for name, row in rows.items():
        assert (sha256(folder / name), (folder / name).stat().st_size) == (row["sha256"], row["bytes"])
    facts = soundfile.info(folder / "final_mix.wav")
    assert (facts.frames, facts.samplerate, facts.channels) == (round(seconds * 44_100), 44_100, 2)
    return manifest


def stages(daemon: Daemon) -> list[str]:
    return [event["stage"] for event in daemon.events("stage")]


def test_every_way_in_gives_a_mix(tmp_path, short, long):
    with Daemon(tmp_path, defaults=STUB, inboxes=MIXES) as daemon:
        put(daemon, short, "mixes/As a folder")
        result(daemon, "As a folder", _SHORT)

        inputs = {"vocals": "vocals.wav", "beat drums": "drums.wav", "Fläche": "other.wav"}
        options = {"preset": "broadcast", "track": {"Fläche": {"gain_db": -2}}, "export": {"processed_stems": True}}
        put(daemon, short, "As a job", {"engine": "mix", "inputs": inputs, "options": options})
        manifest = result(daemon, "As a job", _SHORT)
        assert set(manifest["inputs"]) == set(inputs)
        assert {row["stem"] for row in manifest["files"]} == {"final_mix", *inputs}
        assert manifest["files"][0]["lufs"] == pytest.approx(-23, abs=0.2)

        folder = tmp_path / "By hand"
        shutil.copytree(long, folder)
        said = daemon.stemd("submit", str(folder), "--engine", "mix", "--wait")
        assert said.returncode == 0, said.stdout + said.stderr
        manifest = result(daemon, "By hand", _LONG)
        check_telling(daemon, manifest)
    assert violations(daemon.spool, []) == []


def check_telling(daemon: Daemon, manifest: dict[str, Any]) -> None:
    """What people can follow: the stages in the job's log, in the manifest and its memory."""
    log = daemon.spool.outbox / "everyone" / "By hand" / "job.log.jsonl"
    events = [json.loads(line) for line in log.read_text().splitlines()]
    told = [event for event in events if event["event"] == "stage"]
    assert [event["stage"] for event in told] == list(STAGES)
    assert all(before["progress"] <= after["progress"] for before, after in pairwise(told))
    assert list(manifest["timings"]) == list(STAGES)
    assert manifest["resources"]["peak_rss_bytes"] < 300e6
    assert [row["sha256"] for row in manifest["inputs"].values()]


def test_bad_mixes_are_explained(tmp_path, short):
    with Daemon(tmp_path, defaults=STUB, inboxes=MIXES) as daemon:
        put(daemon, short, "unknown", {"engine": "mix", "inputs": ["bass.wav"], "options": {"reverb": 1}})
        put(daemon, short, "nobody", {"engine": "mix", "inputs": {"a": "no.wav"}})
        broken = tmp_path / "broken stems"
        shutil.copytree(short, broken)
        (broken / "drums.wav").write_text("this is not music\n" * 50)
        put(daemon, broken, "mixes/broken")
        eventually(lambda: len(list(daemon.spool.orphan.glob("*/*/error.json"))) == 3, 60, "all are refused")
        reports = [json.loads(path.read_text()) for path in daemon.spool.orphan.glob("*/*/error.json")]
    told = {report["code"]: report["message"] for report in reports}
    assert set(told) == {"STEMD-A001", "STEMD-E004", "STEMD-S010"}
    assert "drums.wav" in told["STEMD-A001"]
    assert "options has no 'reverb'" in told["STEMD-E004"]
    assert "no.wav" in told["STEMD-S010"]


@pytest.mark.usefixtures("alone_with_oom")
def test_killed_in_every_stage_it_ends_as_if_nothing_had_happened(tmp_path, long):
    """One job; in each of its stages the worker is killed once, and the next goes on from there."""
    options = {"export": {"formats": [{"codec": codec} for codec in ("wav", "flac", "ogg", "mp3")]}}
    retry = {"tries": 20, "base": "100ms", "cap": "100ms"}
    with Daemon(tmp_path, defaults=STUB, retry=retry) as daemon:
        names = sorted(path.name for path in long.iterdir())
        put(daemon, long, "Killed", {"engine": "mix", "inputs": names, "options": options})
        for run, stage in enumerate(STAGES, start=1):
            kill_in(daemon, run, stage)
        manifest = result(daemon, "Killed", _LONG)
        folder = daemon.spool.outbox / "everyone" / "Killed"
        found = soundfile.read(folder / "final_mix.wav", dtype="int32")[0]
        assert len(daemon.results()) == 1
    events = [json.loads(line) for line in (folder / "job.log.jsonl").read_text().splitlines()]
    met = [event for event in events if event["event"] in ("stage", "attempt_failed")]
    killed = {before["stage"] for before, after in pairwise(met) if after["event"] == "attempt_failed"}
    assert len(killed) >= len(STAGES) - 2, "a busy machine may let a short stage pass before it kills"
    assert manifest["attempts"] == 1 + len(STAGES)
    assert manifest["chunks"]["reused"] == manifest["chunks"]["total"], "all that was left was the export"
    (threads,) = {event["threads"] for event in daemon.events("started")}
    assert np.array_equal(found, direct(long, tmp_path / "direct", options, threads))
    assert violations(daemon.spool, contents(long)) == []


def kill_in(daemon: Daemon, run: int, stage: str) -> None:
    """SIGKILL the worker of the job's run of this number while it is in ``stage``; there is then no result."""
    eventually(lambda: stage in stages_of(daemon, run), what=f"it is {stage}")
    worker = daemon.worker()
    worker.send_signal(signal.SIGSTOP)
    assert daemon.results() == {}, f"it was over before it could be killed {stage}"
    worker.kill()
    eventually(lambda: len(daemon.events("attempt_failed")) == run, what="the daemon has heard of it")


def stages_of(daemon: Daemon, run: int) -> list[str]:
    """The stages that this run has come to so far."""
    told = [event for event in daemon.told() if event["event"] in {"started", "stage"}]
    begun = [number for number, event in enumerate(told) if event["event"] == "started"]
    return [event["stage"] for event in told[begun[run - 1] + 1 :]] if len(begun) >= run else []


def test_killed_itself_the_daemon_goes_on_where_it_was(tmp_path, long):
    daemon = Daemon(tmp_path, defaults=STUB, inboxes=MIXES)
    with daemon:
        put(daemon, long, "mixes/Survivor")
        eventually(lambda: "mixing" in stages(daemon), 90, "it mixes")
        daemon.kill()
        assert not list(daemon.spool.outbox.glob("*/*"))
        daemon.start()
        manifest = result(daemon, "Survivor", _LONG)
        assert manifest["chunks"]["reused"] >= 8
        assert len(daemon.results()) == 1
    assert violations(daemon.spool, contents(long)) == []


def test_the_time_limit_is_that_of_any_job(tmp_path, long):
    with Daemon(tmp_path, defaults=STUB, retry={"tries": 1}) as daemon:
        names = sorted(path.name for path in long.iterdir())
        put(daemon, long, "Slow", {"engine": "mix", "inputs": names, "limits": {"time": "100ms"}})
        failure = eventually(lambda: next(iter(daemon.failures().values()), None), 90, "it is given up")
        assert failure["code"] == "STEMD-R002"
        assert daemon.results() == {}
    assert violations(daemon.spool, contents(long)) == []


def test_a_mix_is_cancelled_and_tried_again(tmp_path, long):
    with Daemon(tmp_path, defaults=STUB, inboxes=MIXES) as daemon:
        put(daemon, long, "mixes/Never mind")
        state = eventually(lambda: mixing(daemon), 90, "it shows how far it is")
        assert state["engine"] == "mix"
        job, worker = state["job_uuid"], daemon.worker()
        worker.suspend()  # or it might be done before it is cancelled
        assert daemon.results() == {}
        assert daemon.stemd("cancel", job).returncode == 0
        worker.resume()
        eventually(lambda: daemon.states()[job]["state"] == "cancelled", 60, "it is cancelled")
        (failure,) = daemon.failures().values()
        assert failure["class"] == "cancelled"
        assert daemon.results() == {}
        assert daemon.stemd("retry", job).returncode == 0
        result(daemon, "Never mind", _LONG)
    assert violations(daemon.spool, contents(long)) == []


def mixing(daemon: Daemon) -> dict[str, Any] | None:
    """The status of a mix that is in one of its stages, some of the way."""
    status = daemon.in_state("running")
    return status if status and status["stage"] in STAGES and 0 < status["progress"] < 1 else None


def test_stems_become_a_mix_by_themselves(tmp_path):
    song_file = write_wav(tmp_path / "Song.wav", seconds=2.0)
    inboxes = {**MIXES, "both": {**STUB, "next": "mixes"}}
    with Daemon(tmp_path, defaults=STUB, inboxes=inboxes) as daemon:
        daemon.drop(song_file, "both/Song.wav")
        manifest = result(daemon, "Song (mix)", 2.0)
        stems = daemon.results()["Song"]
        files = {row["stem"]: row for row in stems["files"]}
        assert {role: row["sha256"] for role, row in manifest["inputs"].items()} == {
            role: row["sha256"] for role, row in files.items()
        }
        assert {role: Path(row["name"]).name for role, row in manifest["inputs"].items()} == {
            role: row["name"] for role, row in files.items()
        }
        report = json.loads((daemon.spool.outbox / "everyone" / "Song (mix)" / "report.json").read_text())
        assert report["alignment"]["note"] == "the stems of one separation are in place"
        assert manifest["job_uuid"] != stems["job_uuid"]
    assert violations(daemon.spool, [song_file.read_bytes()]) == []


def test_two_mixes_take_turns(tmp_path, short):
    with Daemon(tmp_path, defaults=STUB, inboxes=MIXES, engines={"mix": {"workers": {"max": 1}}}) as daemon:
        put(daemon, short, "mixes/One")
        put(daemon, short, "mixes/Two")
        for title in ("One", "Two"):
            result(daemon, title, _SHORT)
        turns = [job for job, _ in groupby(event["job_uuid"] for event in daemon.events("stage"))]
        assert len(turns) == 2, "the second begins when the first has been through all stages"
        assert [event["warm"] for event in daemon.events("started")] == [False, True]
    assert violations(daemon.spool, []) == []
