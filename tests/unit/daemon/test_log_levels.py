"""What ``journalctl -p warning`` shows: jobs that failed are in it, what goes as it should is not."""

import json
from types import SimpleNamespace

import pytest

from stemd.core.errors import StemdError
from stemd.core.job import JobState
from stemd.daemon.pool import Worker, WorkerState
from stemd.ops import journal
from stemd.spool import deliver, sources

DISK = StemdError("STEMD-S014", "write it: Input/output error")
#: The priorities that ``journalctl -p warning`` shows (syslog's numbers: the lower the worse).
WARNING, ERROR, INFO = 4, 3, 6


def priorities(told):
    """Each event with the priority it has in the journal."""
    lines = [{**line, "level": line["log_level"]} for line in told]
    return {line["event"]: int(journal.fields(line)["PRIORITY"]) for line in lines}


def test_a_failed_run_is_a_warning_and_a_failed_job_an_error(site, told):
    live = site.running()
    site.runs._run_failed(live, StemdError("STEMD-A001", "no audio"), None)
    shown = priorities(told)
    assert (shown["attempt_failed"], shown["giving_up"]) == (WARNING, ERROR)
    assert {level for event, level in shown.items() if event not in {"attempt_failed", "giving_up"}} == {INFO}
    (folder,) = site.spool.orphan.glob("*/*")
    own = [json.loads(line)["event"] for line in (folder / "job.log.jsonl").read_text().splitlines()]
    assert own[-3:] == ["attempt_failed", "giving_up", "job_ended"], "the job's own log has all of them"


def test_what_is_tried_again_is_a_warning(site, told):
    site.runs._run_failed(site.running(), DISK, None)
    shown = priorities(told)
    assert (shown["attempt_failed"], shown["retry_scheduled"]) == (WARNING, INFO)


def test_what_a_person_cancelled_is_nothing_to_look_at(site, told):
    site.board.give_up(site.running(), StemdError("STEMD-P002"))
    assert priorities(told)["giving_up"] == INFO


def test_a_job_that_is_stuck_on_the_disk_is_an_error(site, told, monkeypatch):
    def refuse(*_, **__):
        raise DISK

    monkeypatch.setattr(deliver, "to_orphan", refuse)
    site.board.give_up(site.running(), StemdError("STEMD-A001", "no audio"))
    assert priorities(told)["stalled"] == ERROR


def test_a_bug_while_sealing_is_an_error(site, told, monkeypatch):
    monkeypatch.setattr(sources, "sha256", lambda _: 1 / 0)
    site.seal(site.claimed())
    assert priorities(told)["seal_crashed"] == ERROR


@pytest.mark.parametrize(("code", "level"), [("STEMD-M001", WARNING), ("STEMD-P005", INFO)])
def test_a_job_that_waits_for_an_operator_is_a_warning_for_its_quota_is_not(site, told, code, level):
    live = site.running()
    live.state = JobState.WAITING
    site.board.defer(live, StemdError(code, "missing"))
    assert priorities(told)["deferred"] == level


ENDS = [
    (WorkerState.IDLE, None, None, WARNING),  # it died of itself
    (WorkerState.BUSY, "memory limit", StemdError("STEMD-R001", "4 GiB of 3"), WARNING),
    (WorkerState.STARTING, "hung while loading", StemdError("STEMD-E005", "it said nothing"), WARNING),
    (WorkerState.STOPPING, None, None, INFO),
    (WorkerState.BUSY, "stop", None, INFO),
]


@pytest.mark.parametrize(("state", "killed_for", "sentence", "level"), ENDS)
def test_a_worker_that_ended_unasked_is_a_warning(site, told, state, killed_for, sentence, level):
    worker = Worker(None, SimpleNamespace(pid=7), state, None)
    worker.killed_for, worker.sentence = killed_for, sentence
    site.runs.worker_died(worker, "signal SIGKILL")
    assert priorities(told)["worker_ended"] == level
