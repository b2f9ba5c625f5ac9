"""Jobs for programs: what is told, to whom, in which order."""

import json

import pytest

from stemd.core.job import new_job_id


def test_jobs_are_listed_newest_first(place):
    first, second = place.job(claimed_at=1.0), place.job(claimed_at=2.0, state="waiting")
    answer = place.get("/api/jobs")
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert [job["job_uuid"] for job in document["jobs"]] == [second, first]
    assert (document["total"], document["next"]) == (2, None)
    assert document["counts"] == {"waiting": 2}, "without a daemon on the spool nothing runs"


def test_jobs_are_chosen_by_state_and_user(place):
    ours = place.done("ana", "one")
    place.done("bo", "two")
    place.failed("ana", "three")
    found = place.get("/api/jobs?state=done&user=ana").json()
    assert [job["job_uuid"] for job in found["jobs"]] == [ours]
    assert place.get("/api/jobs?state=done&state=failed").json()["total"] == 3


def test_pages_follow_each_other(place):
    made = [place.job(claimed_at=float(number)) for number in range(5)]
    seen, path = [], "/api/jobs?limit=2&user=ana"
    while path:
        page = place.get(path).json()
        seen += [job["job_uuid"] for job in page["jobs"]]
        path = page["next"]
    assert seen == made[::-1]
    counted = place.get("/api/jobs?limit=0").json()
    assert (counted["total"], counted["jobs"], counted["next"]) == (5, [], None), "there is no next page of nothing"


@pytest.mark.parametrize("query", ["state=lost", "limit=-1", "limit=1001", "offset=x", "limit=%D9%A3", "order=name"])
def test_wrong_questions_are_told_so(place, query):
    answer = place.get(f"/api/jobs?{query}")
    assert (answer.status_code, answer.json()["error"]["status"]) == (400, 400)


def test_users_see_their_own_jobs_and_viewers_all(place):
    ours, theirs = place.done("ana"), place.done("bo")
    for name, seen in [("ana", {ours}), ("bo", {theirs}), ("vera", {ours, theirs}), ("ada", {ours, theirs})]:
        client = place.as_(name)
        document = client.get("/api/jobs").json()
        assert {job["job_uuid"] for job in document["jobs"]} == seen
        assert document["total"] == sum(document["counts"].values()) == len(seen)
        for job_id in (ours, theirs):
            assert client.get(f"/api/jobs/{job_id}").status_code == (200 if job_id in seen else 404)
    refused = place.as_("ana").get(f"/api/jobs/{theirs}").json()
    assert refused == place.as_("ana").get(f"/api/jobs/{new_job_id()}").json(), "nobody learns that it is there"
    assert place.refused[-1] == ("ana", "see", theirs), "and who has tried is told of"
    assert {each[2] for each in place.refused} == {ours, theirs}


def test_a_finished_job_with_its_files_and_its_course(place):
    document = place.get(f"/api/jobs/{place.done()}").json()
    assert (document["state"], document["error"], document["audio"]) == ("done", None, True)
    assert [file["stem"] for file in document["files"]] == ["vocals", "drums"]
    assert document["documents"] == ["peaks.json"]
    assert [event["event"] for event in document["timeline"]] == ["claimed", "separated"]
    assert "secret" not in json.dumps(document)


def test_a_failed_job_with_its_error(place):
    document = place.get(f"/api/jobs/{place.failed()}").json()
    assert document["error"]["code"] == document["timeline"][-1]["code"] == "STEMD-A001"
    assert document["error"]["remedy"] == "Send audio."
    assert "secret" not in json.dumps(document)


def test_a_result_that_was_taken_away_has_no_files(place):
    job_id = place.done()
    place.folder(job_id).rename(place.spool.root / "elsewhere")
    document = place.get(f"/api/jobs/{job_id}").json()
    assert (document["state"], document["files"], document["timeline"]) == ("done", [], [])


@pytest.mark.parametrize(
    "manifest",
    [
        "", "[]", "{", '{"files": 3}', "[" * 100_000, '{"job_uuid": "JOB", "files": [{"name": 3}, 4, {"name": "x"}]}',
        '{"job_uuid": "JOB", "files": NaN}', '{"job_uuid": "another", "files": [{"name": "vocals.flac"}]}',
    ],
)  # fmt: skip
def test_manifests_that_consumers_changed_are_not_believed(place, manifest):
    job_id = place.done()
    (place.folder(job_id) / "manifest.json").write_text(manifest.replace("JOB", job_id))
    answer = place.get(f"/api/jobs/{job_id}")
    assert (answer.status_code, answer.json()["files"]) == (200, [])


@pytest.mark.parametrize(
    ("key", "number"),
    [
        ("lufs", "1e999"), ("lufs", "9" * 400), ("peak", "-1e999"), ("frames", "9" * 400), ("frames", "-1"),
        ("bytes", "9" * 5000), ("sample_rate", "1e999"), ("name", r'"\ud800"'),
    ],
)  # fmt: skip
def test_values_that_no_record_has_are_not_believed(place, key, number):
    job_id = place.done()
    folder = place.folder(job_id)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = manifest["files"][:1]
    manifest["files"][0][key] = "NUMBER"
    (folder / "manifest.json").write_text(json.dumps(manifest).replace('"NUMBER"', number))
    with (folder / "job.log.jsonl").open("a") as log:
        for beyond in ("9" * 400, "1e999"):
            log.write(f'{{"at": "x", "event": "y", "progress": {beyond}}}\n')
    answer = place.get(f"/api/jobs/{job_id}")
    assert (answer.status_code, answer.json()["files"]) == (200, [])
    assert [event["event"] for event in answer.json()["timeline"]] == ["claimed", "separated"]
    assert place.get(f"/jobs/{job_id}", headers={"accept": "text/html"}).status_code == 200


def test_the_folder_of_another_job_is_not_this_ones(place):
    ours, theirs = place.done("ana", "ours"), place.done("ana", "theirs")
    place.folder(ours).rename(place.spool.root / "away")
    place.folder(theirs).rename(place.folder(ours))
    assert place.get(f"/api/jobs/{ours}").json()["files"] == []


def test_nothing_is_read_through_a_link(place, tmp_path):
    job_id = place.done()
    folder, secret = place.folder(job_id), tmp_path / "secret"
    secret.mkdir()
    (secret / "manifest.json").write_text((folder / "manifest.json").read_text())
    (secret / "job.log.jsonl").write_text('{"at": "x", "event": "secret"}\n')
    (folder / "job.log.jsonl").unlink()
    (folder / "job.log.jsonl").symlink_to(secret / "job.log.jsonl")
    assert place.get(f"/api/jobs/{job_id}").json()["timeline"] == []
    folder.rename(tmp_path / "away")
    folder.symlink_to(secret)
    document = place.get(f"/api/jobs/{job_id}").json()
    assert (document["files"], document["timeline"]) == ([], [])


@pytest.mark.parametrize("job_id", ["..", "%2e%2e", "..%2f..%2fetc", "x" * 5000, "0" * 36])
def test_what_is_no_id_is_no_job(place, job_id):
    assert place.get(f"/api/jobs/{job_id}").status_code == 404


def test_a_look_is_shared(place, monkeypatch):
    client = place.client()
    place.job()
    assert client.get("/api/jobs").json()["total"] == 1
    place.job()
    assert client.get("/api/jobs").json()["total"] == 1, "looked a moment ago"
    monkeypatch.setattr("stemd.ops.picture._LEAST", 0.0)
    monkeypatch.setattr("stemd.ops.picture._TIMES", 0.0)
    assert place.client().get("/api/jobs").json()["total"] == 2
