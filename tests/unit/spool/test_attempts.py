"""Attempts and interruptions."""

import json

from stemd.core.errors import StemdError
from stemd.spool import attempts


def lines(*records):
    return [json.dumps(record).encode() for record in records]


START = {"event": "start", "n": 1}


def test_an_end_by_the_job_is_an_attempt():
    count = attempts.count(lines(START, {"event": "end", "how": "attempt", "code": "STEMD-E005"}))
    assert (count.attempts, count.interruptions, count.starts) == (1, 0, 1)
    assert count.records[0]["code"] == "STEMD-E005"


def test_a_start_without_an_end_is_an_interruption():
    assert attempts.count(lines(START)).interruptions == 1
    assert attempts.count(lines(START, START, START)).interruptions == 3


def test_a_clean_stop_counts_as_neither():
    count = attempts.count(lines(START, {"event": "end", "how": "stop"}))
    assert (count.attempts, count.interruptions) == (0, 0)


def test_a_checkpoint_forgives_interruptions():
    count = attempts.count(lines(START, START, {"event": "checkpoint"}, START))
    assert count.interruptions == 2


def test_a_torn_last_line_counts_as_absent():
    count = attempts.count([*lines(START, {"event": "end", "how": "attempt"}), b'{"event": "sta'])
    assert (count.attempts, count.interruptions) == (1, 0)


def test_a_new_epoch_counts_anew(tmp_path):
    path = tmp_path / "attempts"
    assert attempts.read(path).starts == 0
    assert attempts.record_start(path, "demucs") == 1
    attempts.record_end(path, "attempt", {"code": "STEMD-E005"})
    attempts.record_epoch(path)
    assert attempts.read(path).attempts == 0
    assert attempts.record_start(path, "demucs") == 2


def test_attempts_that_ran_out_of_memory_are_counted(tmp_path):
    path = tmp_path / "attempts"
    for error in (StemdError("STEMD-R001"), StemdError("STEMD-E005"), StemdError("STEMD-R001")):
        attempts.record_start(path, "demucs")
        attempts.record_end(path, "attempt", error.to_dict())
    assert attempts.read(path).ooms == 2
    attempts.record_epoch(path)
    assert attempts.read(path).ooms == 0
