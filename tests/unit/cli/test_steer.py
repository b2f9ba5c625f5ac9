"""Steering without a daemon: what is about one job takes the lock itself, the rest says that there is none."""

from __future__ import annotations

import json
import os
import time

import pytest

from stemd.core.config import load
from stemd.core.errors import StemdError
from stemd.spool import attempts, belongings, erase, probes, recover
from stemd.spool.belongings import Subject
from stemd.spool.books import Books
from stemd.spool.layout import Spool
from stemd.spool.trail import records
from tests.support.system import in_child, needs_root

SERVICE, GROUP = 12_345, 12_346


def test_retry_puts_a_failed_job_back(site):
    job_id = site.orphan()
    result = site.run("retry", job_id[-6:])
    assert result.exit_code == 0, result.output
    work = site.spool.job(job_id)
    assert (work.src / "song.wav").read_bytes() == b"recording"
    assert not work.error.exists()
    assert json.loads(work.job.read_text())["epoch"] == 1
    assert attempts.read(work.attempts).attempts == 0
    assert site.json("status", job_id)["state"] == "waiting"
    assert not list(site.spool.orphan.glob("*/*"))
    assert [found.job.job_uuid for found in recover.recover(site.spool)] == [job_id], "a daemon goes on with it"


def test_retry_by_the_folders_path(site):
    job_id = site.orphan("My Song.wav")
    assert site.run("retry", next(site.spool.orphan.glob("*/*"))).exit_code == 0
    assert site.spool.job(job_id).job.exists()


def test_retry_all_of_a_class(site):
    decode, disk = site.orphan("a.wav"), site.orphan("b.wav", "STEMD-S014")
    document = site.json("retry", "--all", "--class", "io_error")
    assert [job["job_uuid"] for job in document["jobs"]] == [disk]
    assert site.json("status", decode)["state"] == "failed"
    assert [job["job_uuid"] for job in site.json("retry", "--all")["jobs"]] == [decode]
    assert site.json("retry", "--all")["jobs"] == []


def test_only_ended_jobs_are_retried(site):
    job_id = site.claimed().job_id
    result = site.run("retry", job_id)
    assert result.exit_code == 2
    assert "STEMD-S016" in result.stderr


def test_nothing_is_retried_when_one_of_them_cannot(site):
    good, bad = site.orphan("a.wav"), site.claimed("b.wav").job_id
    assert site.run("retry", good, bad).exit_code == 2
    assert site.json("status", good)["state"] == "failed"


def test_cancel_keeps_the_recording(site):
    job_id = site.claimed(user="ana").job_id
    result = site.run("cancel", job_id)
    assert result.exit_code == 0, result.output
    (folder,) = site.spool.orphan.glob("ana/*")
    assert (folder / "source" / "song.wav").read_bytes() == b"recording"
    assert json.loads((folder / "error.json").read_text())["code"] == "STEMD-P002"
    assert site.json("status", job_id)["state"] == "cancelled"
    assert site.run("cancel", job_id).exit_code == 2, "it is cancelled already"
    assert site.run("retry", job_id).exit_code == 0


def test_what_is_decided_about_a_file_in_the_inbox_waits_for_the_daemon(site):
    path = site.spool.inbox / "song.mp3"
    path.write_bytes(b"x")
    assert site.run("retry", path).exit_code == 2
    assert site.run("release", path).exit_code == 2, "it is not held"
    assert site.json("hold", path)["jobs"][0]["state"] == "held"
    assert site.json("status", path)["state"] == "held"
    assert site.json("release", path)["jobs"][0]["state"] == "waiting"
    assert site.json("cancel", path)["jobs"][0]["state"] == "cancelling"
    assert path.exists()


def test_with_the_lock_taken_nothing_is_done_by_hand(site):
    job_id = site.orphan()
    descriptor = probes.take_lock(site.spool)
    try:
        result = site.run("retry", job_id)
    finally:
        os.close(descriptor)
    assert result.exit_code == 75
    assert "STEMD-S001" in result.stderr
    assert site.json("status", job_id)["state"] == "failed"


def test_the_lock_is_given_back(site):
    site.run("retry", site.orphan())
    os.close(probes.take_lock(site.spool))


def test_what_is_done_by_hand_is_in_the_audit_trail(site):
    job_id = site.orphan()
    for word in ("retry", "hold", "release", "cancel"):
        assert site.run(word, job_id).exit_code == 0
    result = site.run("audit export")
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert [each["action"] for each in told] == ["retry", "hold", "release", "cancel"]
    assert {(each["event"], each["actor"]["role"]) for each in told} == {("steered", "admin")}
    assert len({each["job"] for each in told}) == 1
    assert job_id not in result.stdout
    assert site.run("audit verify").exit_code == 0


def test_a_trail_that_cannot_be_written_stops_nobody(site, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise StemdError("STEMD-S014", "no")

    job_id = site.orphan()
    monkeypatch.setattr("stemd.spool.trail.Trail.record", refuse)
    result = site.run("retry", job_id)
    assert (result.exit_code, "not in the audit trail" in result.stderr) == (0, True)
    assert site.spool.job(job_id).job.exists()


@needs_root
@pytest.mark.parametrize("handed_down", [False, True])
def test_what_root_does_by_hand_the_service_goes_on_with(public_site, handed_down: bool):
    site = public_site
    failed, held, cancelled = site.orphan("a.wav"), site.claimed("b.wav").job_id, site.claimed("c.wav").job_id
    kept = site.spool.inbox / "d.wav"
    kept.write_bytes(b"x")
    for path in [site.spool.root, *site.spool.root.rglob("*")]:
        os.chown(path, SERVICE, GROUP)
    if handed_down:
        for path in (site.spool.inbox, site.spool.work, site.spool.outbox, site.spool.orphan, site.spool.status):
            path.chmod(path.stat().st_mode | 0o2000)
    for word in (
        "retry --all",
        f"hold {held}",
        f"cancel {cancelled}",
        f"hold {kept}",
        f"hold {failed}",
        f"release {held}",
    ):
        result = site.run(word)
        assert (result.exit_code, "audit trail" in result.stderr) == (0, False), (word, result.output)
    assert any("books-" in path.name for path in site.spool.root.rglob("*"))
    assert {path.stat().st_uid for path in site.spool.root.rglob("*")} == {SERVICE}
    assert (os.geteuid(), os.getegid()) == (0, 0)

    def start():
        return {found.work.job_id: found.found for found in recover.recover(site.spool)}

    found = {failed: recover.Found.WAITING, held: recover.Found.WORKING}
    assert in_child(start, uid=SERVICE, group=GROUP) == found
    assert site.json("status", cancelled)["state"] == "cancelled"


def test_what_is_done_by_hand_to_a_spool_that_was_moved_begins_no_new_books(site):
    site.run("hold", site.claimed().job_id)
    (before,) = site.spool.root.glob(".state/books-*/trail")
    root = site.spool.root.rename(site.home / "elsewhere")
    site.config.write_text(site.config.read_text().replace(str(site.spool.root), str(root)))
    (job,) = Spool(root).jobs()
    assert site.run("release", job.job_id).exit_code == 0
    (after,) = root.glob(".state/books-*/trail")
    assert after.parent.name != before.parent.name
    assert [each["action"] for each in records(Books(after.parent))] == ["hold", "release"]


@pytest.mark.parametrize("command", ["drain", "resume", "reload"])
def test_a_daemon_is_needed(site, command: str):
    result = site.run(command)
    assert result.exit_code == 69
    assert "STEMD-S017" in result.stderr


def test_hold_and_release_a_job(site):
    job_id = site.claimed().job_id
    assert site.run("release", job_id).exit_code == 2, "it is not held"
    assert site.run("hold", job_id).exit_code == 0
    assert site.json("status", job_id)["state"] == "held"
    (found,) = recover.recover(site.spool)
    assert found.found is recover.Found.WAITING, "a daemon keeps it held"
    before = time.time()
    assert site.run("release", job_id).exit_code == 0
    assert site.json("status", job_id)["state"] == "waiting"
    assert attempts.read(site.spool.job(job_id).attempts).put_back_at >= before, "the next daemon knows since when"


def test_what_is_to_be_erased_is_not_put_back_by_hand_either(site):
    job_id = site.orphan()
    config = load(site.home / "stemd.yaml").config
    subject = Subject(job=job_id)
    erase.begin(Books.of(config).open(), subject, belongings.find(config, subject), None)
    result = site.run("retry", job_id)
    assert result.exit_code == 2
    assert "is being erased" in result.stderr
    assert len(list(site.spool.orphan.glob("*/*"))) == 1
