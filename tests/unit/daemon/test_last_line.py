"""The canonical line of a job is the last one of the log that goes with it, and is told once: when it has ended."""

import json

import pytest

from stemd.core.config import load
from stemd.core.errors import StemdError
from stemd.core.job import JobState
from stemd.daemon.board import Board
from stemd.daemon.live import Live
from stemd.ops.metrics import Metrics
from stemd.spool import deliver, durable
from tests.unit.spool.conftest import Way


@pytest.fixture
def staged(spool):
    """A board with one job that only has to be published."""
    config = load(None, {"spool": str(spool.root)}, {}).config
    work, job = Way(spool, config).staged()
    board = Board(config, Metrics(("demucs",)))
    live = Live(spool, work, job.user_id, job, state=JobState.RUNNING, attempts=1)
    live.spent = {"wall_seconds": 2.0, "cpu_seconds": 3.0, "peak_rss_bytes": 4, "audio_seconds": 5.0}
    board.add(live)
    live.log("separated")
    return board, live


def told(folder):
    return [json.loads(line) for line in (folder / "job.log.jsonl").read_text().splitlines()]


def events(folder):
    return [line["event"] for line in told(folder)]


def test_a_result_that_may_not_become_visible_has_not_ended(spool, staged, monkeypatch):
    board, live = staged

    def refuse(*_):
        raise StemdError("STEMD-S013", "the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(deliver, "_make_visible", refuse)
        with pytest.raises(StemdError):
            board.publish(live)
    assert "job_ended" not in events(live.work.path)
    live.state = JobState.RUNNING
    board.publish(live)
    (folder,) = spool.outbox.glob("*/*")
    assert events(folder).count("job_ended") == 1
    last = told(folder)[-1]
    assert (last["event"], last["outcome"], last["attempts"], last["realtime"]) == ("job_ended", "done", 1, 2.5)
    assert last["job_uuid"] == live.id


def test_a_failure_that_cannot_be_explained_yet_has_not_ended(spool, staged, monkeypatch):
    board, live = staged
    write, full = durable.write_json, [True]

    def refuse_once(path, *arguments, **words):
        if path == live.work.error and full.pop():
            raise StemdError("STEMD-S013", "the disk is full")
        write(path, *arguments, **words)

    monkeypatch.setattr(durable, "write_json", refuse_once)
    error = StemdError("STEMD-A001", "no audio")
    board.give_up(live, error)
    assert events(live.work.path)[-2:] == ["giving_up", "stalled"]
    full.append(False)
    board.give_up(live, error)
    (folder,) = spool.orphan.glob("*/*")
    assert events(folder).count("job_ended") == 1
    last = told(folder)[-1]
    assert (last["event"], last["outcome"]) == ("job_ended", "failed")
    assert (last["code"], last["class"]) == ("STEMD-A001", "decode")
    assert "job_ended" not in json.loads((folder / "error.json").read_text())["log_tail"]
