"""Each state of SPOOL.md's table, made by the spool's own functions, is recognised, and gets its one action."""

import errno
import json
import os
from pathlib import Path

import pytest

from stemd.core.config import load
from stemd.core.errors import StemdError
from stemd.core.job import new_job_id
from stemd.spool import album, attempts, claim, deliver, durable, joblock, ledger, recover
from stemd.spool.recover import Found
from tests.support.spools import make_spool, violations
from tests.support.system import fill, in_child, needs_root, tiny_disk
from tests.unit.spool.conftest import SOURCE, Way


def husk(way):
    work = way.spool.job(new_job_id())
    claim.prepare(work, {"name": "song.wav", "inbox": None})
    return work


def bare_husk(way):
    work = way.spool.job(new_job_id())
    work.src.mkdir(parents=True)
    return work


def claimed(way):
    return way.claim(way.drop())


def sealed(way):
    return way.sealed()[0]


def working(way):
    work = sealed(way)
    attempts.record_start(work.attempts, "demucs")
    return work


def half_written(way):
    work = working(way)
    work.partial.mkdir()
    (work.partial / "vocals.flac").write_bytes(b"half")
    return work


def source_moved_already(way):
    work = half_written(way)
    work.src.rename(work.kept_source)
    return work


def staged(way):
    return way.staged()[0]


def noted(way):
    work = staged(way)
    durable.write_json(work.target, {"path": "outbox/everyone/song"})
    return work


def renamed(way):
    """A crash right after P2: visible, but no marker yet."""
    work, _ = way.staged()
    deliver.user_folder(way.spool.outbox, "everyone", 0o640, None)
    target = way.spool.outbox / "everyone" / "song"
    durable.write_json(work.target, {"path": str(target.relative_to(way.spool.root))})
    durable.rename(work.partial, target)
    return work


def published(way):
    work = renamed(way)
    deliver.confirm(work, way.spool.outbox / "everyone" / "song")
    return work


def retiring(way):
    work = published(way)
    work.attempts.unlink(missing_ok=True)
    work.origin.unlink()
    return work


def waiting(way):
    work = working(way)
    attempts.record_end(work.attempts, "attempt", StemdError("STEMD-S014").to_dict())
    durable.write_json(work.not_before, {"state": "retry_wait", "not_before": 4e9, "reason": {}})
    return work


def held(way):
    work = sealed(way)
    durable.write_json(work.not_before, {"state": "held"})
    return work


def failed(way):
    work = working(way)
    durable.write_json(work.error, {"code": "STEMD-A001", "user_id": "everyone", "source": {"name": "song.wav"}})
    return work


def failed_and_half_moved(way):
    work = failed(way)
    work.src.rename(work.path / "source")
    return work


def torn_error(way):
    work = working(way)
    work.error.write_text('{"code": "STEMD-')
    return work


def torn_job(way):
    work = claimed(way)
    work.job.write_text('{"job_uuid"')
    return work


def strange(way):
    path = way.spool.work / "strange"
    path.mkdir()
    (path / "file").write_text("somebody's")
    return way.spool.job("strange")


def lost_origin(way):
    work = claimed(way)
    work.origin.unlink()
    return work


def lost_source(way):
    work = working(way)
    (work.src / "song.wav").unlink()
    return work


def dropped_album(way):
    folder = way.spool.inbox / "Album"
    folder.mkdir()
    (folder / "song.wav").write_bytes(SOURCE)
    return way.claim(folder)


def planned_album(way):
    work = dropped_album(way)
    album._plan(work, work.src / "Album", claim.read_origin(work), way.config)
    return work


def split_album(way):
    work = dropped_album(way)
    assert album.split(way.spool, work, way.config)
    return work


def album_half_emptied(way):
    work = split_album(way)
    work.src.mkdir()
    return work


def finished_album(way):
    work = split_album(way)
    work.published.touch()
    return work


def failed_album(way):
    work = planned_album(way)
    durable.write_json(work.error, {"code": "STEMD-R003", "user_id": "everyone", "source": {"name": "Album"}})
    return work


STATES = {
    husk: Found.HUSK,
    bare_husk: Found.HUSK,
    claimed: Found.CLAIMED,
    torn_job: Found.CLAIMED,
    sealed: Found.CLAIMED,
    working: Found.WORKING,
    half_written: Found.WORKING,
    source_moved_already: Found.WORKING,
    torn_error: Found.WORKING,
    staged: Found.STAGED,
    noted: Found.STAGED,
    renamed: Found.PUBLISHED,
    published: Found.PUBLISHED,
    retiring: Found.PUBLISHED,
    waiting: Found.WAITING,
    held: Found.WAITING,
    failed: Found.FAILED,
    failed_and_half_moved: Found.FAILED,
    strange: Found.UNKNOWN,
    lost_origin: Found.UNKNOWN,
    dropped_album: Found.CLAIMED,
    planned_album: Found.CLAIMED,
    split_album: Found.ALBUM,
    album_half_emptied: Found.ALBUM,
    finished_album: Found.PUBLISHED,
    failed_album: Found.FAILED,
    lost_source: Found.UNKNOWN,
}


def everything(root):
    return {path: (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in root.rglob("*")}


@pytest.mark.parametrize(("make", "state"), STATES.items(), ids=lambda value: getattr(value, "__name__", None))
def test_a_state_is_recognised_and_looking_changes_nothing(way, spool, make, state):
    work = make(way)
    before = everything(spool.root)
    assert recover.classify(work) is state
    assert everything(spool.root) == before


def test_every_state_is_among_them():
    assert set(STATES.values()) == set(Found) - {Found.STUCK}


@pytest.mark.parametrize("make", [husk, bare_husk])
def test_husks_are_removed(way, spool, make):
    make(way)
    assert list(recover.recover(spool)) == []
    assert list(spool.work.iterdir()) == []


@pytest.mark.parametrize("make", [claimed, torn_job])
def test_what_was_claimed_goes_on_to_be_sealed(way, spool, make):
    work = make(way)
    (found,) = recover.recover(spool)
    assert (found.work, found.found, found.job) == (work, Found.CLAIMED, None)
    _, job = way.seal(work)
    assert (work.src / job.source.path).read_bytes() == SOURCE


@pytest.mark.parametrize("make", [working, half_written, source_moved_already, torn_error])
def test_what_was_being_worked_on_goes_on_with_its_source_and_its_chunks(way, spool, make):
    work = make(way)
    work.chunks.mkdir()
    (work.chunks / "0001").write_bytes(b"checkpoint")
    (found,) = recover.recover(spool)
    assert found.found is Found.WORKING
    assert (work.src / found.job.source.path).read_bytes() == SOURCE
    assert not work.partial.exists()
    assert (work.chunks / "0001").exists()
    assert attempts.read(work.attempts).interruptions == 1


@pytest.mark.parametrize("make", [staged, noted])
def test_what_was_staged_and_verifies_only_needs_publishing(way, spool, make):
    make(way)
    (found,) = recover.recover(spool)
    assert found.found is Found.STAGED
    target = deliver.to_outbox(spool, found.work, found.job)
    assert deliver.verify(target)
    assert (target / "source" / "song.wav").read_bytes() == SOURCE


@pytest.mark.parametrize("make", [staged, noted])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "manifest"])
def test_what_was_staged_and_does_not_verify_is_done_again(way, spool, make, damage):
    work = make(way)
    stem = work.partial / "vocals.flac"
    content = stem.read_bytes()
    if damage == "flip":
        stem.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    elif damage == "cut":
        stem.write_bytes(content[:-1])
    elif damage == "remove":
        stem.unlink()
    else:
        work.manifest.write_text("{")
    (found,) = recover.recover(spool)
    assert found.found is Found.WORKING
    assert list(spool.outbox.iterdir()) == []
    assert (work.src / "song.wav").read_bytes() == SOURCE
    assert not work.target.exists()


@pytest.mark.parametrize("make", [renamed, published, retiring])
def test_what_was_published_is_retired_and_never_done_again(way, spool, make):
    make(way)
    target = spool.outbox / "everyone" / "song"
    inode = target.stat().st_ino
    (found,) = recover.recover(spool)
    assert (found.found, found.result) == (Found.PUBLISHED, str(target))
    assert target.stat().st_ino == inode
    assert deliver.verify(target)
    assert list(spool.work.iterdir()) == []


@pytest.mark.parametrize("make", [published, retiring])
def test_what_its_consumer_took_away_meanwhile_is_not_done_again(way, spool, make, tmp_path):
    make(way)
    (spool.outbox / "everyone" / "song").rename(tmp_path / "taken")
    (found,) = recover.recover(spool)
    assert found.found is Found.PUBLISHED
    assert list(spool.work.iterdir()) == []
    assert list(spool.outbox.glob("*/*")) == []


def test_a_note_that_leads_to_somebody_elses_result_is_not_believed(way, spool):
    way.published()
    work = staged(way)
    durable.write_json(work.target, {"path": "outbox/everyone/song"})
    durable.remove_tree(work.partial)
    assert list(recover.recover(spool)) == []
    assert (spool.orphan / "_unknown" / work.job_id).is_dir()


@pytest.mark.parametrize("make", [waiting, held])
def test_what_waits_keeps_waiting(way, spool, make):
    work = make(way)
    (found,) = recover.recover(spool)
    assert found.found is Found.WAITING
    assert work.not_before.exists()


@pytest.mark.parametrize("make", [failed, failed_and_half_moved])
def test_what_failed_goes_to_orphan(way, spool, make):
    work = make(way)
    (found,) = recover.recover(spool)
    (folder,) = spool.orphan.glob("everyone/*")
    assert (found.found, found.result) == (Found.FAILED, str(folder))
    assert folder.name == f"song.{work.job_id[-8:]}"
    assert (folder / "source" / "song.wav").read_bytes() == SOURCE
    assert list(spool.work.iterdir()) == []


@pytest.mark.parametrize("make", [strange, lost_origin, lost_source])
def test_the_rest_is_put_aside_whole_and_with_a_code(way, spool, make):
    work = make(way)
    before = {path.name for path in work.path.rglob("*")}
    assert list(recover.recover(spool)) == []
    aside = spool.orphan / "_unknown" / work.path.name
    assert {path.name for path in aside.rglob("*")} - {"lock"} == before
    assert "STEMD-S012" in aside.with_name(f"{aside.name}.reason.txt").read_text()


def test_a_record_of_another_version_is_put_aside_and_the_others_go_on(way, spool):
    odd = way.claim(way.drop("odd.wav"))
    durable.write_json(odd.job, {"schema_version": 99, "from": "the future"})
    good = way.claim(way.drop("good.wav"))
    assert [found.work for found in recover.recover(spool)] == [good]
    assert (spool.orphan / "_unknown" / odd.job_id / "src" / "odd.wav").read_bytes() == SOURCE


def test_a_start_after_a_torn_line_is_counted(way):
    work = working(way)
    work.attempts.write_bytes(work.attempts.read_bytes()[:-9])
    attempts.record_start(work.attempts, "demucs")
    assert attempts.read(work.attempts).starts == 1, "the torn line costs itself, not the next one too"
    attempts.record_end(work.attempts, "attempt", StemdError("STEMD-E005").to_dict())
    assert attempts.read(work.attempts).attempts == 1


def test_strays_are_put_aside_and_links_are_not_followed(way, spool, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "keep").write_text("x")
    (spool.work / "link").symlink_to(tmp_path / "outside")
    (spool.work / "stray.txt").write_text("somebody's")
    assert list(recover.recover(spool)) == []
    assert (spool.orphan / "_unknown" / "link").is_symlink()
    assert (tmp_path / "outside" / "keep").read_text() == "x"


def test_the_service_manager_hears_of_each_folder(way, spool):
    claimed(way)
    way.claim(way.drop("other.wav"))
    beats = []
    list(recover.recover(spool, lambda: beats.append(1)))
    assert len(beats) == 2


def test_jobs_come_back_in_the_order_of_their_arrival(way, spool):
    ids = [way.claim(way.drop(f"{number}.wav")).job_id for number in range(5)]
    assert [found.work.job_id for found in recover.recover(spool)] == ids


def test_only_a_holder_of_this_very_lock_is_named(way, spool):
    work = claimed(way)
    with joblock.hold(work):
        assert joblock.held(work)
        assert joblock.holders(work) == frozenset(), "the asker itself does not count"
    assert not joblock.held(work)


def test_a_source_name_that_is_no_text_gets_through_recovery(way, spool):
    name = os.fsdecode(b"caf\xe9.wav")
    work = way.claim(way.drop(name))
    report = {"code": "STEMD-S010", "user_id": "everyone", "source": {"name": {"base64": "Y2Fm6S53YXY="}}}
    work.error.write_text(json.dumps(report))
    assert [found.found for found in recover.recover(spool)] == [Found.FAILED]
    (folder,) = spool.orphan.glob("everyone/*")
    assert (folder / "source" / name).read_bytes() == SOURCE


def test_one_folder_that_cannot_be_recovered_does_not_stop_the_others(way, spool, monkeypatch):
    stuck = way.claim(way.drop("stuck.wav"))
    good = way.claim(way.drop("good.wav"))
    stuck.lock.mkdir()  # opening it as a file fails
    found = {each.work.path: each for each in recover.recover(spool)}
    assert found[stuck.path].found is Found.STUCK
    assert found[stuck.path].error.code == "STEMD-S014"
    assert (stuck.src / "stuck.wav").exists()
    assert found[good.path].found is Found.CLAIMED


def test_a_group_that_does_not_exist_does_not_block_the_way_to_orphan(way, spool):
    from dataclasses import replace

    work, job = way.seal(way.claim(way.drop()))
    durable.write_json(work.job, replace(job, request=replace(job.request, group="no-such-group")).to_dict())
    target = deliver.to_orphan(spool, work, StemdError("STEMD-A001"), "everyone")
    assert (target / "error.json").exists()


def test_a_split_album_waits_for_its_jobs_and_is_put_away_when_it_is_complete(way, spool):
    work = album_half_emptied(way)
    found = {each.work.path: each.found for each in recover.recover(spool)}
    assert found[work.path] is Found.ALBUM
    assert not work.src.exists()
    work.published.touch()
    list(recover.recover(spool))
    assert not work.path.exists()


FULL = StemdError("STEMD-R003", "append to 'attempts': No space left on device")


@pytest.mark.parametrize("step", ["record_epoch", "write_json", "note"])
def test_what_cannot_be_put_back_as_a_whole_is_in_orphan_again(way, spool, monkeypatch, step):
    """Not in work/, where nobody would look for it before the next start."""
    work, job = way.sealed()
    orphan = deliver.to_orphan(spool, work, StemdError("STEMD-A001"), job.user_id)
    fails = {"record_epoch": attempts, "write_json": durable, "note": ledger}[step]

    def refuse(*_, **__):
        monkeypatch.undo()
        raise FULL

    monkeypatch.setattr(fails, step, refuse)
    with pytest.raises(StemdError, match="STEMD-R003"):
        recover.put_back(spool, orphan, job.job_uuid)
    assert (list(spool.jobs()), list(spool.orphan.glob("*/*"))) == ([], [orphan])
    assert violations(spool, [SOURCE]) == []
    again = recover.put_back(spool, orphan, job.job_uuid)
    assert (again.src / "song.wav").read_bytes() == SOURCE
    assert not orphan.exists()


def test_whatever_else_the_disk_refuses_of_it_is_told_and_undone_too(way, spool, monkeypatch):
    work, job = way.sealed()
    orphan = deliver.to_orphan(spool, work, StemdError("STEMD-A001"), job.user_id)
    real = Path.unlink

    def unlink(path, **how):
        if path == work.error:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        real(path, **how)

    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(StemdError, match="STEMD-R003"):
        recover.put_back(spool, orphan, job.job_uuid)
    assert (list(spool.jobs()), list(spool.orphan.glob("*/*"))) == ([], [orphan])
    assert violations(spool, [SOURCE]) == []


def test_what_is_at_work_already_is_left_where_it_is(way, spool):
    work, job = way.sealed()
    orphan = deliver.to_orphan(spool, work, StemdError("STEMD-A001"), job.user_id)
    work.path.mkdir()
    with pytest.raises(StemdError, match="STEMD-S016"):
        recover.put_back(spool, orphan, job.job_uuid)
    assert (orphan / "error.json").exists() and work.path.is_dir()


@needs_root
def test_a_full_disk_does_not_strand_what_is_put_back(tmp_path):
    with tiny_disk(tmp_path / "disk", "128k") as disk:
        way = Way(make_spool(disk / "spool"), load(None, {"spool": str(disk / "spool")}, {}).config)
        work, job = way.sealed()
        orphan = deliver.to_orphan(way.spool, work, StemdError("STEMD-A001"), job.user_id)
        fill(disk)
        with pytest.raises(StemdError, match="STEMD-R003"):
            in_child(lambda: recover.put_back(way.spool, orphan, job.job_uuid))
        assert list(way.spool.orphan.glob("*/*")) == [orphan]
        (disk / "ballast").unlink()
        recover.put_back(way.spool, orphan, job.job_uuid)
