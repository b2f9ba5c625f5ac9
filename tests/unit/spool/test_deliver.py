"""Every way out of work/: published by one rename, explained in orphan/, put back for another try."""

import grp
import json
import os
import pwd
import re

import pytest

from stemd.core.errors import StemdError
from stemd.core.job import Job
from stemd.spool import attempts, deliver, durable, sidecar
from tests.support.spools import make_spool
from tests.support.system import NOBODY, in_child, needs_root
from tests.unit.spool.conftest import SOURCE, Way

#: What CONTRACT §4 promises of error.json.
_REPORT = {
    "schema_version", "job_uuid", "user_id", "code", "class", "stage", "message", "remedy", "retryable", "attempts",
    "log_tail", "versions",
}  # fmt: skip


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def fail(way, spool, code="STEMD-A002", path=None):
    work, job = way.sealed(path)
    attempts.record_start(work.attempts, "demucs")
    attempts.record_end(work.attempts, "attempt", StemdError(code, "cut off").to_dict())
    return deliver.to_orphan(spool, work, StemdError(code, "cut off"), job.user_id), job


def test_a_finished_folder_holds_stems_sidecars_manifest_and_source(way, spool):
    target, job = way.published()
    assert target == spool.outbox / "everyone" / "song"
    assert names(target) == [
        "drums.flac", "drums.flac.tags.json", "manifest.json", "source", "vocals.flac", "vocals.flac.tags.json",
    ]  # fmt: skip
    assert (target / "source" / "song.wav").read_bytes() == SOURCE
    assert deliver.verify(target)["job_uuid"] == job.job_uuid
    assert names(spool.work) == []


def test_a_source_that_is_not_kept_is_gone_after_publishing_and_not_before(way, spool):
    way.configure(defaults__source="delete")
    work, job = way.staged()
    assert not work.kept_source.exists()
    assert (work.src / "song.wav").read_bytes() == SOURCE
    target = deliver.to_outbox(spool, work, job)
    assert "source" not in names(target)
    assert names(spool.work) == []


def test_a_taken_title_gets_a_number_and_nothing_is_replaced(way, spool):
    home = spool.outbox / "everyone"
    first, _ = way.published()
    (home / "song (2)").mkdir()
    (home / "song (3)").write_text("a file, and somebody's")
    before = {path: path.stat().st_ino for path in home.iterdir()}
    second, _ = way.published()
    assert second.name == "song (4)"
    assert {path: path.stat().st_ino for path in home.iterdir() if path != second} == before
    assert (home / "song (3)").read_text() == "a file, and somebody's"
    assert deliver.verify(first)


def test_the_log_travels_with_the_result(way, spool):
    work, job = way.staged()
    work.log.write_text('{"event": "queued"}\n')
    target = deliver.to_outbox(spool, work, job)
    assert (target / "job.log.jsonl").read_text() == '{"event": "queued"}\n'


def test_files_and_folders_get_their_modes(way):
    way.configure(defaults__output__mode="0664")
    target, _ = way.published()
    assert {oct(path.stat().st_mode & 0o777) for path in target.rglob("*") if path.is_file()} == {"0o664"}
    folders = [target, target / "source", target.parent]
    assert {oct(path.stat().st_mode & 0o7777) for path in folders} == {"0o2775"}


@pytest.mark.parametrize(
    ("mode", "folder"), [(0o640, 0o2770), (0o600, 0o700), (0o644, 0o2775), (0o664, 0o2775), (0o660, 0o2770)]
)
def test_folders_can_be_searched_by_whoever_can_read(tmp_path, mode, folder):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_text("x")
    deliver.grant(tmp_path / "in", mode, None)
    assert (tmp_path / "in" / "file").stat().st_mode & 0o7777 == mode
    assert (tmp_path / "in").stat().st_mode & 0o7777 == folder


@needs_root
def test_files_and_folders_get_their_group(way):
    group = next(entry for entry in grp.getgrall() if entry.gr_gid not in {0, NOBODY})
    way.configure(defaults__output__group=group.gr_name)
    target, _ = way.published()
    assert {path.stat().st_gid for path in [target, *target.rglob("*")]} == {group.gr_gid}


def test_a_group_that_is_not_there_is_told_with_its_setting(way):
    way.configure(defaults__output__group="no-such-group")
    work, job = way.sealed()
    with pytest.raises(StemdError, match="no-such-group") as caught:
        way.stage(work, job)
    assert caught.value.code == "STEMD-S003"
    assert "defaults.output.group" in caught.value.remedy
    deliver.unstage(work)
    assert (work.src / "song.wav").read_bytes() == SOURCE


def test_granting_follows_no_link(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("x")
    outside.chmod(0o600)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(outside)
    deliver.grant(tmp_path / "in", 0o664, None)
    assert outside.stat().st_mode & 0o777 == 0o600


@needs_root
@pytest.mark.parametrize("end", ["outbox", "orphan"])
def test_a_recording_of_another_user_is_no_obstacle(public_path, end):
    """The normal case on a NAS: the uploader owns the file, the service is somebody else without privileges."""
    spool = make_spool(public_path / "spool")
    way = Way(spool, None)
    way.configure()
    path = way.drop()
    uploader = pwd.getpwnam("daemon").pw_uid
    os.chown(path, uploader, uploader)
    path.chmod(0o644)
    for folder in (spool.root, *spool.root.iterdir()):
        os.chown(folder, NOBODY, NOBODY)

    def deliver_as_service():
        if end == "outbox":
            return way.published(path)[0]
        return fail(way, spool, path=path)[0]

    target = in_child(deliver_as_service, uid=NOBODY)
    assert (target / "source" / "song.wav").read_bytes() == SOURCE


@pytest.mark.parametrize("staged", [False, True])
def test_unstaging_brings_the_source_back_and_removes_the_rest(way, staged):
    work, job = way.staged(way.drop_staged() if staged else None)
    assert not (work.src / job.source.path).exists()
    deliver.unstage(work)
    assert (work.src / job.source.path).read_bytes() == SOURCE
    assert not work.partial.exists()
    deliver.unstage(work)
    assert (work.src / job.source.path).read_bytes() == SOURCE


def test_every_changed_byte_is_noticed(way):
    target, _ = way.published()
    stem = target / "vocals.flac"
    whole = stem.read_bytes()
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 0x01
        stem.write_bytes(changed)
        assert deliver.verify(target) is None, f"byte {at}"
    for other in (whole[:-1], whole + b"\0", b""):
        stem.write_bytes(other)
        assert deliver.verify(target) is None
    stem.write_bytes(whole)
    assert deliver.verify(target) is not None


def test_a_missing_stem_or_manifest_does_not_verify(way):
    target, _ = way.published()
    manifest = target / "manifest.json"
    text = manifest.read_text()
    (target / "vocals.flac").rename(target / "aside.flac")
    assert deliver.verify(target) is None
    (target / "aside.flac").rename(target / "vocals.flac")
    assert deliver.verify(target) is not None
    for broken in (text[:-20], "[]", "{}", ""):
        manifest.write_text(broken)
        assert deliver.verify(target) is None
    manifest.unlink()
    assert deliver.verify(target) is None


def test_a_failed_folder_is_explained_for_programs(way, spool):
    folder, job = fail(way, spool)
    assert folder == spool.orphan / "everyone" / f"song.{job.job_uuid[-8:]}"
    report = json.loads((folder / "error.json").read_text())
    assert report.keys() >= _REPORT
    assert (report["job_uuid"], report["user_id"], report["code"]) == (job.job_uuid, "everyone", "STEMD-A002")
    assert (report["class"], report["stage"], report["retryable"]) == ("decode", "decode", False)
    assert report["message"] == "cut off"
    (attempt,) = report["attempts"]
    assert attempt.keys() >= {"n", "started_at", "engine", "code"}
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", report["versions"]["stemd"])
    assert names(folder) == ["attempts", "error.json", "error.txt", "job.json", "origin.json", "source"]
    assert (folder / "source" / "song.wav").read_bytes() == SOURCE
    assert names(spool.work) == []


def test_a_failed_folder_is_explained_for_people(way, spool):
    folder, job = fail(way, spool)
    text = (folder / "error.txt").read_text()
    for word in (
        "song.wav",
        "cut off",
        "Copy the file again",
        f"stemd retry {job.job_uuid}",
        "STEMD-A002",
        "attempts: 1",
    ):
        assert word in text


def test_a_hostile_name_is_harmless_in_the_explanation(way, spool):
    name = os.fsdecode(b"\x1b[2J\xff\n.wav")
    folder, _ = fail(way, spool, path=way.drop(name))
    text = (folder / "error.txt").read_text()
    assert "\x1b" not in text
    assert text.splitlines()[0] == r"\x1b[2J\udcff\n.wav could not be processed."


def test_the_end_of_the_log_is_in_the_report(way, spool):
    work, job = way.sealed()
    work.log.write_text("".join(f"line {number}\n" for number in range(50)))
    folder = deliver.to_orphan(spool, work, StemdError("STEMD-A001"), job.user_id)
    tail = json.loads((folder / "error.json").read_text())["log_tail"]
    assert tail == [f"line {number}" for number in range(30, 50)]


def test_a_late_failure_brings_the_source_along(way, spool):
    work, job = way.staged()
    folder = deliver.to_orphan(spool, work, StemdError("STEMD-S013"), job.user_id)
    assert (folder / "source" / "song.wav").read_bytes() == SOURCE
    assert not (folder / "out.partial").exists()


def test_a_failed_job_is_found_by_its_id_and_put_back_one_epoch_later(way, spool):
    folder, job = fail(way, spool)
    assert sidecar.find_orphan(spool, job.job_uuid) == folder
    work = deliver.retry(spool, folder, job.job_uuid)
    again = Job.from_dict(durable.read_json(work.job))
    assert (again.job_uuid, again.epoch) == (job.job_uuid, 1)
    assert attempts.read(work.attempts).attempts == 0
    assert (work.src / again.source.path).read_bytes() == SOURCE
    assert not work.error.exists()
    assert sidecar.find_orphan(spool, job.job_uuid) is None
    deliver.to_orphan(spool, work, StemdError("STEMD-A002"), job.user_id)
    work = deliver.retry(spool, sidecar.find_orphan(spool, job.job_uuid), job.job_uuid)
    assert Job.from_dict(durable.read_json(work.job)).epoch == 2


def test_a_retried_job_can_be_published(way, spool):
    folder, job = fail(way, spool, path=way.drop_staged())
    work = deliver.retry(spool, folder, job.job_uuid)
    way.stage(work, Job.from_dict(durable.read_json(work.job)))
    target = deliver.to_outbox(spool, work, job)
    assert deliver.verify(target)
    assert (target / "source" / "song.wav").read_bytes() == SOURCE


def test_a_job_at_work_cannot_be_put_back_over_itself(way, spool):
    folder, job = fail(way, spool)
    spool.job(job.job_uuid).path.mkdir()
    with pytest.raises(StemdError) as caught:
        deliver.retry(spool, folder, job.job_uuid)
    assert caught.value.code == "STEMD-S016"
    assert (folder / "error.json").exists()


def test_an_orphan_is_not_found_by_eight_digits_alone(way, spool):
    _, job = fail(way, spool)
    impostor = "00000000-0000-7000-8000-0000" + job.job_uuid[-8:]
    assert sidecar.find_orphan(spool, impostor) is None


def test_strange_things_are_put_aside_with_a_reason_and_numbered(spool):
    for _ in range(2):
        (spool.work / "strange").mkdir()
        (spool.work / "strange" / "file").write_text("somebody's")
        deliver.unknown(spool, spool.work / "strange", "who knows")
    aside = spool.orphan / "_unknown"
    assert names(aside) == ["strange", "strange (2)", "strange (2).reason.txt", "strange.reason.txt"]
    assert (aside / "strange (2)" / "file").read_text() == "somebody's"
