"""The safe drop, and waiting for a result; the daemon's part is played by the spool's own functions."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from stemd.cli import follow
from stemd.core.config import load
from stemd.core.errors import StemdError
from stemd.core.job import JobId, new_job_id
from stemd.ops import snapshot
from stemd.ops.jobs import reason_of
from stemd.spool import claim, deliver, intake, probes, sidecar
from stemd.spool.intake import Candidate, Door, Kind, Sighting


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "My Song.wav"
    path.write_bytes(b"RIFF" + os.urandom(100_000))
    return path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"ana", "karaoke", "stager"}


def test_a_bare_file_without_settings(site, recording: Path):
    result = site.run("submit", recording)
    assert result.exit_code == 0, result.output
    assert names(site.spool.inbox) == {"My Song.wav"}
    assert (site.spool.inbox / "My Song.wav").read_bytes() == recording.read_bytes()
    assert recording.exists()
    assert "no daemon is running" in result.stderr


def test_nothing_is_replaced(site, recording: Path):
    for _ in range(3):
        assert site.run("submit", recording).exit_code == 0
    assert names(site.spool.inbox) == {"My Song.wav", "My Song (2).wav", "My Song (3).wav"}


def test_settings_make_a_staged_job(site, recording: Path):
    document = site.json("submit", recording, "--stems", "vocals,drums", "--format", "wav", "--model", "htdemucs")
    (job,) = document["jobs"]
    folder = site.spool.inbox / "My Song"
    assert job["path"] == str(folder)
    description = json.loads((folder / "job.json").read_text())
    assert description == {
        "schema_version": 1,
        "job_uuid": job["job_uuid"],
        "model": "htdemucs",
        "stems": ["vocals", "drums"],
        "output": {"format": "wav"},
        "input": "My Song.wav",
    }
    assert (folder / "My Song.wav").read_bytes() == recording.read_bytes()
    assert names(site.spool.inbox) == {"My Song"}, "no hidden file is left"


def test_a_staged_job_is_known_before_it_is_taken(site, recording: Path):
    (job,) = site.json("submit", recording)["jobs"]
    for name in (job["job_uuid"], job["job_uuid"][-5:], job["path"]):
        view = site.json("status", name)
        assert (view["job_uuid"], view["state"], view["path"]) == (job["job_uuid"], "waiting", job["path"])
    assert site.run("cancel", job["job_uuid"]).exit_code == 0
    assert names(site.spool.inbox) == {"My Song"}, "left where it is until a daemon runs"


@pytest.mark.parametrize("text", ["[" * 200_000, "[]", "{", '{"job_uuid": 7}', '{"job_uuid": "../../x"}'])
def test_hostile_job_files_in_the_inbox_are_no_trouble(site, text: str):
    folder = site.spool.inbox / "song"
    folder.mkdir()
    (folder / "job.json").write_text(text)
    assert site.json("list")["jobs"][0]["job_uuid"] is None
    (folder / "job.json").unlink()
    os.mkfifo(folder / "job.json")
    assert site.json("list")["jobs"][0]["job_uuid"] is None


def test_a_staged_job_can_be_emptied_by_the_service(site, recording: Path):
    site.run("submit", recording, "--stems", "2")
    folder = site.spool.inbox / "My Song"
    assert folder.stat().st_mode & 0o770 == 0o770
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o660}


def test_what_is_dropped_is_what_the_daemon_takes(site, recording: Path):
    (job,) = site.json("submit", recording, "--user", "ana", "--stems", "2")["jobs"]
    door = Door("ana", site.spool.inbox / "ana")
    found = intake.classify(Sighting(job["path"], None, tree=True), door)
    assert isinstance(found, Candidate)
    assert found.kind is Kind.STAGED
    work = claim.claim(site.spool, found, new_job_id())
    assert work is not None
    sealed = claim.seal(site.spool, work, load(site.config).config)
    assert sealed is not None
    assert (sealed[1].job_uuid, sealed[1].title, sealed[1].user_id) == (job["job_uuid"], "My Song", "ana")
    assert sealed[1].request.stems == 2


@pytest.mark.parametrize(
    "name",
    [b"new\nline.wav", b"\xff\xe4.wav", b"12:51.wav", b"~$odd.wav", b"in.x..wav", "日本.wav".encode(), b"a.part.wav",
     b"\xc3\xa4" * 125 + b".wav"],
)  # fmt: skip
def test_odd_names_become_jobs_that_can_be_taken(site, tmp_path: Path, name: bytes):
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(b"x" * 100)
    if name == b"~$odd.wav":
        assert site.run("submit", path).exit_code == 65, "a name that would be ignored is refused"
        return
    for _ in range(2):
        result = site.run("submit", path, "--json")
        assert result.exit_code == 0, result.output
        (job,) = json.loads(result.stdout)["jobs"]
        door = Door(None, site.spool.inbox)
        (entry,) = [e for e in intake.entries(door, intake.doors(site.spool, {"ana", "karaoke", "stager"}))
                    if not e.name.startswith(".")]  # fmt: skip
        sighting = intake.look(entry, {})
        assert isinstance(sighting, Sighting)
        found = intake.classify(sighting, door)
        assert isinstance(found, Candidate)
        work = claim.claim(site.spool, found, new_job_id())
        assert work is not None
        sealed = claim.seal(site.spool, work, load(site.config).config)
        assert sealed is not None
        assert sealed[1].job_uuid == job["job_uuid"]


def test_a_bare_file_with_a_long_name_is_numbered_within_255_bytes(site, tmp_path: Path):
    path = tmp_path / ("ä" * 125 + ".wav")
    path.write_bytes(b"x")
    for _ in range(2):
        assert site.run("submit", path).exit_code == 0
    assert all(len(os.fsencode(name)) <= 255 for name in names(site.spool.inbox))
    assert len(names(site.spool.inbox)) == 2


def test_a_song_named_like_an_inbox_gets_a_number(site, tmp_path: Path):
    path = tmp_path / "ana.wav"
    path.write_bytes(b"x")
    assert site.json("submit", path)["jobs"][0]["path"] == str(site.spool.inbox / "ana (2)")


def test_inboxes_and_users(site, recording: Path):
    assert site.run("submit", recording, "--inbox", "karaoke").exit_code == 0
    assert (site.spool.inbox / "karaoke" / "My Song.wav").exists()
    assert site.run("submit", recording, "--user", "ana").exit_code == 0
    assert (site.spool.inbox / "ana" / "My Song.wav").exists()
    assert site.run("submit", recording, "--inbox", "nowhere").exit_code == 2
    assert site.run("submit", recording, "--user", "nobody").exit_code == 2


def test_a_trusting_inbox_needs_a_user(site, recording: Path):
    assert site.run("submit", recording, "--inbox", "stager").exit_code == 2
    site.run("submit", recording, "--inbox", "stager", "--user", "eve")
    description = json.loads((site.spool.inbox / "stager" / "My Song" / "job.json").read_text())
    assert description["user_id"] == "eve"
    assert description["job_uuid"]


@pytest.mark.parametrize(
    ("make", "code", "status"),
    [
        (lambda path: None, "STEMD-S018", 66),
        (lambda path: path.mkdir(), "STEMD-S009", 65),
        (os.mkfifo, "STEMD-S007", 65),
    ],
)
def test_what_is_no_file_is_refused(site, tmp_path: Path, make, code: str, status: int):
    path = tmp_path / "thing.wav"
    make(path)
    result = site.run("submit", path)
    assert (result.exit_code, code in result.stderr) == (status, True)
    assert names(site.spool.inbox) == set()


def test_one_bad_file_stops_all_before_any_is_dropped(site, recording: Path, tmp_path: Path):
    notes = tmp_path / "notes.txt"
    notes.write_text("x")
    assert site.run("submit", recording, notes).exit_code == 65
    assert names(site.spool.inbox) == set()


def test_bad_settings_are_refused_before_the_copy(site, recording: Path):
    result = site.run("submit", recording, "--format", "flaac")
    assert result.exit_code == 65
    assert "STEMD-S010" in result.stderr
    assert names(site.spool.inbox) == set()


def test_a_spool_without_inbox_says_what_to_do(site, recording: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    result = site.run("submit", recording, "--spool", tmp_path / "empty")
    assert result.exit_code == 75
    assert "STEMD-S019" in result.stderr
    assert f"mkdir {tmp_path / 'empty' / 'inbox'}" in result.stderr


def test_wait_without_a_daemon_does_not_hang(site, recording: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(follow, "DAEMON_PATIENCE", 0.3)
    result = site.run("submit", recording, "--wait")
    assert result.exit_code == 69
    assert "is not lost" in result.stderr
    assert names(site.spool.inbox) == {"My Song"}


def _play_daemon(site, ending) -> threading.Thread:
    """Own the spool, take the first staged job that appears, and let ``ending(work, job)`` end it."""
    lock = probes.take_lock(site.spool)

    def play() -> None:
        door = Door(None, site.spool.inbox)
        while not (found := [path for path in door.path.glob("*/job.json") if not path.parent.name.startswith(".")]):
            time.sleep(0.01)
        folder = found[0].parent
        candidate = Candidate(folder, door, Kind.STAGED, intake.identity(folder))
        work = claim.claim(site.spool, candidate, new_job_id())
        assert work is not None
        ending(work)
        os.close(lock)

    thread = threading.Thread(target=play)
    thread.start()
    return thread


def _end(site, work, job_id: JobId, state: str, **fields: object) -> None:
    status = {"state": state, "user_id": "everyone", "stage": "ended", "claimed_at": sidecar.iso(time.time())}
    sidecar.write_status(site.spool, job_id, {**status, **fields})


def test_wait_ends_with_the_result(site, recording: Path, monkeypatch: pytest.MonkeyPatch):
    really, seen = snapshot.read_job, threading.Event()

    def read_job(*arguments):
        found = really(*arguments)
        if found is not None and found.state == "running":
            seen.set()
        return found

    monkeypatch.setattr(snapshot, "read_job", read_job)

    def ending(work) -> None:
        work, job = claim.seal(site.spool, work, load(site.config).config)
        _end(site, work, job.job_uuid, "running", progress=0.5)
        assert seen.wait(120)
        _end(site, work, job.job_uuid, "done", progress=1.0, result="/there/My Song")

    thread = _play_daemon(site, ending)
    result = site.run("submit", recording, "--wait")
    thread.join()
    assert result.exit_code == 0, result.output
    assert result.stdout == "/there/My Song\n"
    assert "running" in result.stderr


def test_wait_ends_with_the_failures_status(site, recording: Path):
    def ending(work) -> None:
        work, job = claim.seal(site.spool, work, load(site.config).config)
        error = StemdError("STEMD-A002", "cut short")
        target = deliver.to_orphan(site.spool, work, error, "everyone")
        _end(site, work, job.job_uuid, "failed", reason=reason_of(error), result=str(target))

    thread = _play_daemon(site, ending)
    result = site.run("submit", recording, "--wait", "--json")
    thread.join()
    assert result.exit_code == 65
    (job,) = json.loads(result.stdout)["jobs"]
    assert (job["state"], job["reason"]["code"]) == ("failed", "STEMD-A002")


def test_wait_finds_a_job_that_was_refused_before_it_had_its_id(site, recording: Path):
    def ending(work) -> None:
        error = StemdError("STEMD-P001", "whose?")
        target = deliver.to_orphan(site.spool, work, error, "everyone")
        _end(site, work, work.job_id, "failed", reason=reason_of(error), result=str(target))

    thread = _play_daemon(site, ending)
    result = site.run("submit", recording, "--wait")
    thread.join()
    assert result.exit_code == 77
    assert "STEMD-P001" in result.stderr


def _taken(site, path: Path):
    """The job that a daemon makes of what lies there."""
    door = Door(None, site.spool.inbox)
    found = intake.classify(Sighting(str(path), None, tree=True), door)
    assert isinstance(found, Candidate)
    work = claim.claim(site.spool, found, new_job_id())
    assert work is not None
    sealed = claim.seal(site.spool, work, load(site.config).config)
    assert sealed is not None
    return sealed[1]


@pytest.mark.parametrize("words", [[], ["--json"]])
@pytest.mark.parametrize("text", ["stems: 2\n", "{input: My Song.wav, stems: 2, tags: {artist: ä}}"])
def test_the_settings_beside_a_song_go_with_it(site, recording: Path, words: list[str], text: str):
    recording.with_name("My Song.wav.job.yaml").write_text(text)
    told = [site.run("submit", recording, *words) for _ in range(2)]
    for result, title in zip(told, ("My Song", "My Song (2)"), strict=True):
        assert (result.exit_code, "My Song.wav.job.yaml goes with it" in result.stderr) == (0, True), result.output
        job = _taken(site, site.spool.inbox / title)
        assert (job.title, job.source.name, job.request.stems) == (title, "My Song.wav", 2)
        assert job.job_uuid in result.stdout + result.stderr
    assert names(site.spool.inbox) == set()


def test_an_id_in_the_settings_beside_a_song_is_its_id(site, recording: Path):
    wanted = "0192f0c1-0000-7000-8000-000000000007"
    recording.with_name("My Song.wav.job.yaml").write_text(f"job_uuid: {wanted}\n")
    assert site.json("submit", recording)["jobs"][0]["job_uuid"] == wanted
    assert _taken(site, site.spool.inbox / "My Song").job_uuid == wanted


def test_options_win_over_the_settings_beside_a_song_and_say_so(site, recording: Path):
    recording.with_name("My Song.wav.job.yaml").write_text("stems: 2\n")
    result = site.run("submit", recording, "--format", "wav")
    assert "My Song.wav.job.yaml is left out: the options say what is wanted" in result.stderr
    assert _taken(site, site.spool.inbox / "My Song").request.stems != 2


def test_settings_beside_a_song_that_are_at_fault_are_refused_before_the_copy(site, recording: Path):
    beside = recording.with_name("My Song.wav.job.yaml")
    beside.write_text("stemms: 2\n")
    result = site.run("submit", recording)
    assert (result.exit_code, "STEMD-S010" in result.stderr, "My Song.wav.job.yaml:1:1" in result.stderr) == (
        65,
        True,
        True,
    )
    assert "Name the recording" in site.run("submit", beside).stderr
    assert names(site.spool.inbox) == set()
    beside.write_text("")
    assert site.run("submit", recording).exit_code == 0


@pytest.fixture
def stems(tmp_path: Path) -> Path:
    folder = tmp_path / "My Mix"
    (folder / "more").mkdir(parents=True)
    for name in ("kick.wav", "more/vox.wav", "notes.txt", ".hidden", "x.part"):
        (folder / name).write_bytes(b"RIFF" + name.encode())
    return folder


def test_a_folder_is_one_mix(site, stems: Path):
    (job,) = site.json("submit", stems, "--engine", "mix")["jobs"]
    folder = site.spool.inbox / "My Mix"
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        "kick.wav", "more/vox.wav", "notes.txt", "job.json",
    }  # fmt: skip
    description = json.loads((folder / "job.json").read_text())
    assert description == {"schema_version": 1, "job_uuid": job["job_uuid"], "engine": "mix"}


def test_a_folder_that_is_no_job_is_refused(site, stems: Path):
    result = site.run("submit", stems)
    assert result.exit_code != 0
    assert "STEMD-S009" in result.stderr
    assert "--engine mix" in result.stderr
    empty = stems / "empty"
    empty.mkdir()
    assert "STEMD-S009" in site.run("submit", empty, "--engine", "mix").stderr
    (stems / "link.wav").symlink_to("kick.wav")
    assert "STEMD-S007" in site.run("submit", stems, "--engine", "mix").stderr
    assert names(site.spool.inbox) == set()


def test_a_staged_folder_goes_as_it_is(site, stems: Path):
    (stems / "job.yaml").write_text("inputs: {a: kick.wav, b: more/vox.wav}\nengine: mix\n")
    assert site.run("submit", stems).exit_code == 0
    assert (site.spool.inbox / "My Mix" / "job.yaml").exists()
    assert not (site.spool.inbox / "My Mix" / "job.json").exists()
    assert "STEMD-S010" in site.run("submit", stems, "--stems", "2").stderr
    assert "job_uuid" in site.run("submit", stems, "--json").stdout
    (stems / "job.yaml").write_text("inputs: [kick.wav]\njob_uuid: 0192f0c1-0000-7000-8000-000000000007\n")
    (job,) = site.json("submit", stems)["jobs"]
    assert job["job_uuid"] == "0192f0c1-0000-7000-8000-000000000007"
