"""Files of finished jobs: in parts, to those who may hear them, and nothing but them."""

import json
import os
from types import SimpleNamespace

import pytest

from stemd.ops.web import files

SOUND = b"fLaC the sound of vocals" * 100


def test_a_file_comes_whole(place):
    answer = place.get(f"/jobs/{place.done()}/files/vocals.flac")
    assert (answer.status_code, answer.content) == (200, SOUND)
    assert answer.headers["content-type"] == "audio/flac"
    assert answer.headers["accept-ranges"] == "bytes"
    assert "sandbox" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("wanted", "status", "begin", "end"),
    [
        ("bytes=0-", 206, 0, len(SOUND)), ("bytes=0-9", 206, 0, 10), ("bytes=10-19", 206, 10, 20),
        ("bytes=-5", 206, len(SOUND) - 5, len(SOUND)), ("bytes=2390-99999", 206, 2390, len(SOUND)),
        ("bytes=-99999", 206, 0, len(SOUND)),
        ("bytes=0-1,5-6", 200, 0, len(SOUND)), ("bytes=9-3", 200, 0, len(SOUND)), ("bytes=-", 200, 0, len(SOUND)),
        ("bytes=x", 200, 0, len(SOUND)), ("lines=1-2", 200, 0, len(SOUND)),
        ("bytes=99999-", 416, 0, 0), ("bytes=-0", 416, 0, 0),
    ],
)  # fmt: skip
def test_a_file_comes_in_parts(place, wanted, status, begin, end):
    path = f"/jobs/{place.done()}/files/vocals.flac"
    answer = place.get(path, headers={"range": wanted})
    assert (answer.status_code, answer.content) == (status, SOUND[begin:end])
    if status == 206:
        assert answer.headers["content-range"] == f"bytes {begin}-{end - 1}/{len(SOUND)}"
        assert answer.headers["content-length"] == str(end - begin)
    elif status == 416:
        assert answer.headers["content-range"] == f"bytes */{len(SOUND)}"
    head = place.client().head(path, headers={"range": wanted})
    assert (head.status_code, head.content) == (status, b"")


def test_a_part_of_another_version_is_not_mixed_in(place):
    path = f"/jobs/{place.done()}/files/vocals.flac"
    tag = place.get(path).headers["etag"]
    assert place.get(path, headers={"if-none-match": tag}).status_code == 304
    assert place.get(path, headers={"range": "bytes=0-9", "if-range": tag}).status_code == 206
    assert place.get(path, headers={"range": "bytes=0-9", "if-range": '"other"'}).status_code == 200


def test_each_access_to_audio_is_told_once(place):
    job_id = place.done()
    client = place.as_("ana")
    for wanted in ("bytes=0-", "bytes=100-200", "bytes=300-"):
        client.get(f"/jobs/{job_id}/files/vocals.flac", headers={"range": wanted})
    client.get(f"/jobs/{job_id}/files/drums.flac", headers={"range": "bytes=50-60"})
    client.get(f"/jobs/{job_id}/files/peaks.json")
    client.head(f"/jobs/{job_id}/files/vocals.flac")
    assert place.heard == [("ana", job_id, "vocals.flac"), ("ana", job_id, "drums.flac")]


def test_who_gets_nearly_all_of_it_again_is_told_of_again(place):
    job_id = place.done()
    client, path = place.as_("ana"), f"/jobs/{job_id}/files/vocals.flac"
    for wanted in ("bytes=0-99", "bytes=100-200", "bytes=1-", "bytes= 0-", f"bytes=-{len(SOUND)}", "bytes=00-5", "x"):
        client.get(path, headers={"range": wanted})
    assert len(place.heard) == 6, "all but the second"
    client.get(path, headers={"range": f"bytes={len(SOUND) // 2}-"})
    assert len(place.heard) == 6


def test_who_comes_back_later_is_told_of_again(place, monkeypatch):
    clock = SimpleNamespace(now=1e6)
    monkeypatch.setattr(files, "time", SimpleNamespace(monotonic=lambda: clock.now))
    job_id = place.done()
    client = place.as_("ana")
    for later, heard in [(0, 1), (3000, 1), (700, 2), (10, 2), (86_400, 3)]:
        clock.now += later
        client.get(f"/jobs/{job_id}/files/vocals.flac", headers={"range": "bytes=100-200"})
        assert len(place.heard) == heard, later


def test_where_no_sound_goes_out_nobody_is_told(place):
    path = f"/jobs/{place.done()}/files/vocals.flac"
    client = place.as_("ana")
    tag = client.head(path).headers["etag"]
    client.get(path, headers={"range": "bytes=99999-"})
    client.get(path, headers={"if-none-match": tag})
    assert place.heard == []


def test_nothing_is_heard_that_could_not_be_told(place):
    def refuse(*_: object) -> None:
        raise OSError("the trail is full")

    place.heard = type("Full", (), {"append": refuse})()
    answer = place.get(f"/jobs/{place.done()}/files/vocals.flac")
    assert answer.status_code == 500
    assert b"fLaC" not in answer.content


def test_who_may_hear(place):
    job_id = place.done("ana")
    path = f"/jobs/{job_id}/files/"
    for name, audio, outline in [
        ("ana", 200, 200),
        ("bo", 404, 404),
        ("vera", 403, 200),
        ("otto", 403, 200),
        ("ada", 200, 200),
    ]:
        assert place.as_(name).get(path + "vocals.flac").status_code == audio, name
        assert place.as_(name).get(path + "peaks.json").status_code == outline, name
    told = [("bo", "see"), ("bo", "see"), ("vera", "hear"), ("otto", "hear")]
    assert place.refused == [(*each, job_id) for each in told]


@pytest.mark.parametrize(
    "name",
    [
        "manifest.json", "job.log.jsonl", "source", "source/song.wav", "%2e%2e%2fmanifest.json",
        "..%2f..%2f..%2f..%2fetc%2fpasswd", "/etc/passwd", "%2fetc%2fpasswd", "vocals.flac/", "vocals.flac%00", "",
        "vocals", "..%5c..%5cetc", "%252e%252e%252fetc%252fpasswd",
    ],
)  # fmt: skip
def test_nothing_else_is_a_file(place, name):
    job_id = place.done()
    (place.folder(job_id) / "source").mkdir()
    (place.folder(job_id) / "source" / "song.wav").write_text("root:secret")
    answer = place.get(f"/jobs/{job_id}/files/{name}")
    assert answer.status_code == 404
    assert "root:" not in answer.text


@pytest.mark.parametrize("exchange", ["link", "folder", "user", "fifo", "directory"])
def test_whatever_a_consumer_puts_in_its_place(place, tmp_path, exchange):
    job_id = place.done()
    folder, secret = place.folder(job_id), tmp_path / "secret"
    secret.mkdir()
    for name in ("vocals.flac", "manifest.json"):
        (secret / name).write_bytes((folder / name).read_bytes())
    (secret / "vocals.flac").write_bytes(b"root:secret")
    stem = folder / "vocals.flac"
    if exchange == "folder":
        folder.rename(tmp_path / "away")
        folder.symlink_to(secret)
    elif exchange == "user":
        (secret / folder.name).mkdir()
        for name in ("vocals.flac", "manifest.json"):
            (secret / name).rename(secret / folder.name / name)
        folder.parent.rename(tmp_path / "away")
        folder.parent.symlink_to(secret)
    else:
        stem.unlink()
        if exchange == "link":
            stem.symlink_to(secret / "vocals.flac")
        elif exchange == "fifo":
            os.mkfifo(stem)
        else:
            stem.mkdir()
    answer = place.get(f"/jobs/{job_id}/files/vocals.flac")
    assert answer.status_code == 404
    assert "root:" not in answer.text


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "..", "", "source/../../secret", "x\0y"])
def test_a_changed_manifest_leads_nowhere(place, name):
    job_id = place.done()
    folder = place.folder(job_id)
    (folder.parent / "secret").write_text("root:secret")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][0]["name"] = name
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for asked in (name, name.replace("/", "%2f"), name.replace("\0", "%00")):
        if "\0" not in asked:
            assert "root:" not in place.get(f"/jobs/{job_id}/files/{asked}").text


@pytest.mark.parametrize("result", ["../../etc", "/etc", "outbox/../../etc", "inbox/x", "work/x"])
def test_a_changed_status_leads_nowhere(place, result):
    job_id = place.job("ana", "done", result=result)
    assert place.get(f"/jobs/{job_id}/files/passwd").status_code == 404
    assert place.get(f"/api/jobs/{job_id}").json()["files"] == []
