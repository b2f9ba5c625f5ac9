"""Who is promised what of the disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from stemd.core.config import load
from stemd.core.errors import StemdError
from stemd.core.job import JobState, Length
from stemd.core.room import Disk, Need
from stemd.daemon import room as daemon_room
from stemd.daemon.board import Board
from stemd.daemon.live import Live
from stemd.daemon.room import Room
from stemd.ops.metrics import Metrics
from stemd.spool import intake
from stemd.spool.intake import Candidate, Door, Kind
from tests.support.audio import write_wav

MIB = 1 << 20


class Scanner:
    def __init__(self, spool):
        self.spool, self.looks = spool, 0

    def look_again(self) -> None:
        self.looks += 1


class Asked:
    """Answers when the test wants it to."""

    def __init__(self) -> None:
        self.questions: list[tuple[list[Path], Future, Callable[[], None]]] = []

    def lengths(self, paths, then):
        future: Future = Future()
        self.questions.append((paths, future, then))
        return future

    def answer(self, seconds: float) -> None:
        for paths, future, then in self.questions:
            if not future.done():
                future.set_result([Length(seconds, 44_100, 2) for _ in paths])
                then()


@pytest.fixture
def site(spool, monkeypatch):
    board = Board(load(None, {"spool": str(spool.root), "defaults.model": "nano"}, {}).config, Metrics(("demucs",)))
    asked = Asked()
    made = Room(board, asked)
    monkeypatch.setattr(daemon_room, "disk", lambda path: Disk(100 * MIB, 100 * MIB, 0, 0))
    made.asked, made.board, made.scanner, made.spool = asked, board, Scanner(spool), spool
    return made


def candidate(site, name: str = "song.wav", seconds: float = 1.0) -> Candidate:
    path = write_wav(site.spool.inbox / name, seconds=seconds)
    return Candidate(path, Door(None, site.spool.inbox), Kind.FILE, intake.identity(path))


def test_what_fits_by_its_bytes_alone_is_not_looked_into(site):
    small = site.spool.inbox / "small.wav"
    small.write_bytes(bytes(20_000))
    door = Door(None, site.spool.inbox)
    assert isinstance(site.admit(site.scanner, Candidate(small, door, Kind.FILE, intake.identity(small))), Need)
    assert site.asked.questions == []


def test_where_it_is_tight_the_recording_is_looked_into_once(site):
    song = candidate(site)
    for _ in range(3):
        site.count_anew()
        assert site.admit(site.scanner, song) is None
    assert len(site.asked.questions) == 1
    site.asked.answer(1.0)
    assert site.scanner.looks == 1
    assert isinstance(site.admit(site.scanner, song), Need)


def test_what_is_too_long_gets_a_reason(site):
    song = candidate(site)
    site.admit(site.scanner, song)
    site.asked.answer(3600.0)
    answer = site.admit(site.scanner, song)
    assert isinstance(answer, StemdError)
    assert answer.code == "STEMD-R004"


def test_an_answer_about_what_went_away_is_forgotten(site, monkeypatch):
    song = candidate(site)
    site.admit(site.scanner, song)
    later = time.monotonic() + 3600
    monkeypatch.setattr(daemon_room.time, "monotonic", lambda: later)
    site.count_anew()
    assert site._answers == {}


def live(site, name: str, state: JobState, need: Need) -> Live:
    job = Live(site.spool, site.spool.job(name), "everyone", state=state, need=need)
    site.board.add(job)
    return job


def test_promises_of_all_but_those_that_wait_for_room_themselves_count(site):
    live(site, "a", JobState.WAITING, Need(10 * MIB, 50 * MIB))
    live(site, "b", JobState.DEFERRED, Need(0, 1 << 50))
    site.count_anew()
    song = candidate(site)
    site.admit(site.scanner, song)
    site.asked.answer(60.0)
    answer = site.admit(site.scanner, song)
    assert isinstance(answer, StemdError)
    assert "50 MiB of it promised" in answer.message


def test_a_job_starts_beside_what_runs_only_if_both_fit(site):
    running = live(site, "a", JobState.RUNNING, Need(20 * MIB, 30 * MIB))
    waiting = live(site, "b", JobState.WAITING, Need(20 * MIB, 40 * MIB))
    site.count_anew()
    assert site.to_start(waiting) is not None
    assert site.to_start(running) is None
    running.work.path.mkdir()
    del site.board.jobs[running.id]
    site.count_anew()
    assert site.to_start(waiting) is None


def test_chunks_on_the_disk_are_room_already_taken(site):
    waiting = live(site, "a", JobState.WAITING, Need(80 * MIB, 40 * MIB))
    site.count_anew()
    assert site.to_start(waiting) is not None
    waiting.work.chunks.mkdir(parents=True)
    (waiting.work.chunks / "000000.f32").write_bytes(bytes(40 * MIB))
    assert site.to_start(waiting) is None


def test_a_folder_of_stems_is_one_mix(site):
    folder = site.spool.inbox / "mix"
    folder.mkdir()
    for name in ("a.wav", "b.wav", "c.wav"):
        write_wav(folder / name, seconds=1.0)
    site.board.config = load(None, {"spool": str(site.spool.root), "defaults.engine": "mix"}, {}).config
    whole = Candidate(folder, Door(None, site.spool.inbox, whole=True), Kind.STAGED, intake.identity(folder))
    site.count_anew()
    promised = site.admit(site.scanner, whole)
    if promised is None:
        site.asked.answer(1.0)
        promised = site.admit(site.scanner, whole)
    assert promised.chunks >= 5 * 44_100 * 8


def test_a_folder_without_a_recording_needs_nothing_and_ends_nothing(site):
    folder = site.spool.inbox / "mix"
    folder.mkdir()
    (folder / "job.yaml").write_text("")
    site.board.config = load(None, {"spool": str(site.spool.root), "defaults.engine": "mix"}, {}).config
    site.count_anew()
    empty = Candidate(folder, Door(None, site.spool.inbox, whole=True), Kind.STAGED, intake.identity(folder))
    assert site.admit(site.scanner, empty) == Need()
