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


@pytest.mark.parametrize("event", ["http_listening", "reload_failed"])
def test_what_is_about_the_operators_own_files_stays_as_it_is(event):
    said = {"event": event, "address": "127.0.0.1:1", "reason": "'inboxes.x' is here"}
    assert told(Pseudonyms(), **said) == said


@pytest.mark.parametrize(
    "said",
    [
        {"event": "disk_trouble", "reason": "fsync 'Secret Song.wav': Input/output error"},
        {"event": "pruned", "failed": ["outbox: rename 'Secret Song': Input/output error"], "deleted": {"outbox": 1}},
        {"event": "stock_failed", "exception": "PermissionError: [Errno 13] no: '/srv/stemd/outbox/ana/Secret Song'"},
        {"event": "disk_trouble", "reason": f"rename {'Secret “Song”'!r}: no"},
        {"event": "disk_trouble", "reason": "rename " + repr('it\'s "Secret Song".wav') + ": no"},
    ],
)
def test_what_is_about_no_job_names_no_file_either(said):
    seen = told(Pseudonyms(), **said)
    assert "Secret" not in str(seen)
    assert "ana/" not in str(seen)
    assert seen.keys() == said.keys()
    assert seen.get("deleted") == said.get("deleted")


def test_a_traceback_still_says_where_it_was():
    frame = 'File "/usr/lib/stemd/daemon/stock.py", line 7, in look'
    seen = told(Pseudonyms(), event="stock_failed", exception=f"{frame}\n    x\nOSError: [Errno 5] no: 'Secret.wav'")
    assert frame in seen["exception"]
    assert "Secret" not in seen["exception"]


@pytest.mark.parametrize("inbox", ["ana", "/srv/stemd/inbox/ana"])
def test_a_users_own_inbox_is_named_by_a_pseudonym_too(inbox):
    seen = told(Pseudonyms(["ana"]), event="watching", inbox=inbox)["inbox"]
    assert "ana" not in seen
    assert told(Pseudonyms(["ana"]), event="watching", inbox="/srv/stemd/inbox/mixes")["inbox"].endswith("mixes")
