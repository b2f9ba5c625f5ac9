"""Whose job is next, in a running daemon."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stemd.daemon.host import Machine
from tests.support.audio import write_wav
from tests.support.daemon import Daemon, eventually

CORES = Machine().cores()
STUB = {"engine": "stub", "model": "stub"}


def drop(daemon: Daemon, user: str, name: str, seconds: float = 0.5, **job) -> None:
    folder = daemon.home / f"{user}-{name}"
    folder.mkdir()
    write_wav(folder / "song.wav", seconds)
    (folder / "job.json").write_text(json.dumps({"input": "song.wav", **job}))
    folder.rename(daemon.spool.inbox / user / name)


def starts(daemon: Daemon) -> list[str]:
    """The users of the jobs, in the order in which they were started."""
    return [event["user_id"] for event in daemon.events("started")]


def block(daemon: Daemon) -> list[str]:
    """Jobs of ana's that give both workers something to do for minutes; returns which."""
    for name in ("blocker", "blocker 2"):
        drop(daemon, "ana", name, 60.0, options={"pace": 2})
    eventually(lambda: len(starts(daemon)) == 2, what="both workers have something to do")
    return [event["job_uuid"] for event in daemon.events("started")]


def go(daemon: Daemon, blockers: list[str], others: int) -> None:
    """Let the workers have what waits, once all of it is in the queue."""
    eventually(lambda: len(daemon.events("queued")) == len(blockers) + others, what="all are queued")
    for job in blockers:
        assert daemon.stemd("cancel", job).returncode == 0
    eventually(lambda: len(daemon.results()) == others, what="all are done")


@pytest.fixture
def users(tmp_path: Path):
    def daemon(**quota) -> Daemon:
        people = {name: {"quota": "small"} if quota else {} for name in ("ana", "ben", "cem")}
        quotas = {"small": quota} if quota else {}
        return Daemon(
            tmp_path,
            log={"names": "clear"},
            defaults=STUB,
            users=people,
            quotas=quotas,
            engines={"stub": {"workers": {"max": 2}}},
        )

    return daemon


def test_users_take_turns(users):
    with users() as daemon:
        blockers = block(daemon)
        for number in range(4):
            drop(daemon, "ana", f"a{number}")
        for user in ("ben", "cem"):
            for number in range(2):
                drop(daemon, user, f"{user}{number}")
        go(daemon, blockers, 8)
        assert set(starts(daemon)[2:4]) == {"ben", "cem"}, "ana has had more than they have"


def test_a_user_runs_no_more_than_the_quota_lets(users):
    with users(running=1) as daemon:
        for number in range(3):
            drop(daemon, "ana", f"a{number}", options={"pace": 5})
        said = "waits for its turn: ana may have 1 running"
        eventually(lambda: said in str(daemon.states()), 60, "the reason is told")
        drop(daemon, "ben", "b")
        eventually(lambda: len(daemon.events("job_ended")) == 4, 120, "all are done")
        events = [*daemon.events("started"), *daemon.events("job_ended")]
        hers = sorted((each["timestamp"], each["event"]) for each in events if each["user_id"] == "ana")
        assert [event for _, event in hers] == ["started", "job_ended"] * 3


def test_the_urgent_come_first(users):
    with users() as daemon:
        blockers = block(daemon)
        drop(daemon, "ben", "usual")
        drop(daemon, "cem", "urgent", priority=0)
        go(daemon, blockers, 2)
        assert starts(daemon)[2] == "cem"


@pytest.mark.skipif(CORES < 2, reason="one core cannot be shared")
def test_a_resumed_job_gets_the_cores_its_checkpoints_were_made_with(tmp_path: Path):
    chunking = {"threshold": "1s", "checkpoint": "2s"}
    daemon = Daemon(tmp_path, defaults=STUB, users={"ana": {}}, chunking=chunking)
    with daemon:
        drop(daemon, "ana", "long", 20.0, options={"pace": 0.3})
        eventually(lambda: daemon.events("checkpoint"), 60, "a checkpoint is there")
        daemon.kill()
        daemon.configure(
            defaults=STUB, users={"ana": {}}, chunking=chunking, engines={"stub": {"workers": {"max": CORES}}}
        )
        daemon.start()
        manifest = eventually(lambda: daemon.results().get("long"), 120, "it is done")
    assert [event["threads"] for event in daemon.events("started")] == [CORES, CORES], "not the one that is its share"
    assert manifest["settings"]["threads"] == CORES
    assert manifest["chunks"]["reused"] > 0
