"""The daemon's log names neither users nor files, and says the same of the same."""

from __future__ import annotations

from typing import Any

import pytest

from stemd.ops.pseudonyms import Pseudonyms

JOB = "0192f0c1-7f4e-7d2a-9c3b-5a6e8f901234"


def told(pseudonyms: Pseudonyms, **event: Any) -> dict[str, Any]:
    return dict(pseudonyms(None, "info", event))


def test_users_and_files_become_pseudonyms_and_jobs_stay():
    seen = told(Pseudonyms(), event="claimed", job_uuid=JOB, user_id="ana", name="secret song.wav", inbox="")
    assert seen["job_uuid"] == JOB
    assert seen["user_id"].startswith("~")
    assert "secret" not in str(seen)
    assert "ana" not in str(seen)


def test_the_same_name_is_the_same_within_a_run_and_another_in_the_next():
    one, other = Pseudonyms(), Pseudonyms()
    assert one.of("ana") == one.of("ana") != one.of("ben")
    assert one.of("ana") != other.of("ana")


@pytest.mark.parametrize("path", ["/srv/stemd/outbox/ana/secret song", "orphan/ana/secret song.5f901234"])
def test_of_a_path_the_area_stays(path):
    seen = told(Pseudonyms(), event="job_ended", job_uuid=JOB, result=path)["result"]
    assert "secret" not in seen
    assert "ana" not in seen
    assert path.split("ana")[0] in seen


def test_of_an_album_in_work_the_id_stays():
    assert told(Pseudonyms(), event="x", job_log=f"/s/work/{JOB}/x")["job_log"].startswith(f"/s/work/{JOB}/~")


def test_free_text_about_a_job_is_cleaned_of_the_names_it_was_told_of_before():
    pseudonyms = Pseudonyms()
    told(pseudonyms, event="claimed", job_uuid=JOB, user_id="ana", name="secret.wav")
    said = "ana's secret.wav: fsync 'other.wav': Input/output error"
    seen = told(pseudonyms, event="attempt_failed", job_uuid=JOB, message=said)["message"]
    assert "secret" not in seen
    assert "other" not in seen
    assert "ana" not in seen
    assert "Input/output error" in seen


def test_what_is_about_no_job_stays_as_it_is():
    event = {"event": "http_listening", "address": "127.0.0.1:1", "reason": "'x' is here"}
    assert told(Pseudonyms(), **event) == event


@pytest.mark.parametrize("inbox", ["ana", "/srv/stemd/inbox/ana"])
def test_a_users_own_inbox_is_named_by_a_pseudonym_too(inbox):
    seen = told(Pseudonyms(["ana"]), event="watching", inbox=inbox)["inbox"]
    assert "ana" not in seen
    assert told(Pseudonyms(["ana"]), event="watching", inbox="/srv/stemd/inbox/mixes")["inbox"].endswith("mixes")
