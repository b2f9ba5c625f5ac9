"""From the inbox into work/: one rename, nothing lost when the race is, nothing followed out of the folder."""

import json
import os

import pytest

from stemd.core.errors import StemdError
from stemd.core.job import new_job_id
from stemd.spool import claim, deliver, durable, sidecar, sources, steps
from stemd.spool.claim import AcknowledgedError
from tests.support.spools import make_spool
from tests.support.system import fill, in_child, needs_root, tiny_disk
from tests.unit.spool.conftest import SOURCE, Way

UUID = "0192f0c1-0000-7000-8000-000000000001"


@pytest.fixture
def at():
    """Call a function right after a named step."""

    def install(name, action):
        steps.install(lambda step: action() if step == name else None)

    yield install
    steps.install(None)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_claim_moves_the_file_and_nothing_is_left_behind(way, spool):
    path = way.drop("Ø song.wav")
    inode = path.stat().st_ino
    work = way.claim(path)
    assert names(spool.inbox) == []
    assert (work.src / "Ø song.wav").stat().st_ino == inode
    assert work.path.stat().st_mode & 0o777 == 0o700


def test_a_lost_race_leaves_no_husk(way, spool):
    path = way.drop()
    candidate = way.candidate(path)
    path.unlink()
    assert claim.claim(spool, candidate, new_job_id()) is None
    assert names(spool.work) == []


@pytest.mark.parametrize("step", ["A2", "C1"])
def test_a_race_lost_at_the_last_moment_leaves_no_husk_either(way, spool, at, step):
    path = way.drop()
    at(step, path.unlink)
    assert claim.claim(spool, way.candidate(path), new_job_id()) is None
    assert names(spool.work) == []


def test_where_it_came_from_is_written_before_the_rename(way, spool, at):
    path = way.drop()
    seen = []

    def look():
        (work,) = spool.jobs()
        seen.append((path.exists(), json.loads(work.origin.read_text()), names(work.src)))

    at("C1", look)
    way.claim(path)
    ((still_there, origin, src),) = seen
    assert still_there
    assert src == []
    assert (origin["name"], origin["kind"], origin["inbox"]) == ("song.wav", "file", None)
    assert origin["identity"][1] == len(SOURCE)


def test_a_pipe_in_a_staged_job_does_not_keep_the_daemon_waiting(way):
    folder = way.drop_staged()
    os.mkfifo(folder / "pipe")
    assert in_child(lambda: way.claim(folder).job_id, seconds=10)


def test_a_source_is_never_removed_with_a_husk(way, spool, at):
    """A network file system may answer "no such file" to a rename that it has carried out."""
    path = way.drop()

    def already_done():
        (work,) = spool.jobs()
        path.rename(work.src / path.name)

    at("C1", already_done)
    claim.claim(spool, way.candidate(path), new_job_id())
    assert [found.read_bytes() for found in spool.work.glob("*/src/*")] == [SOURCE]


def test_a_name_that_is_no_text_survives(way):
    name = os.fsdecode(b"\xff\n.wav")
    work, job = way.sealed(way.drop(name))
    assert job.source.name == name
    assert (work.src / job.source.path).read_bytes() == SOURCE
    assert job.title == "__"


@needs_root
def test_a_claim_that_fails_for_want_of_room_leaves_the_file_and_no_husk(tmp_path):
    with tiny_disk(tmp_path / "disk", "64k") as disk:
        spool = make_spool(disk / "spool")
        way = Way(spool, None)
        path = way.drop()
        fill(disk)

        def refused():
            with pytest.raises(StemdError) as caught:
                claim.claim(spool, way.candidate(path), new_job_id())
            return caught.value.code, names(spool.inbox), names(spool.work)

        assert in_child(refused) == ("STEMD-R003", ["song.wav"], [])


def test_the_sidecar_comes_along(way, spool):
    path = way.drop()
    (spool.inbox / "song.wav.job.yaml").write_text("stems: [vocals]\n")
    work, job = way.sealed(path)
    assert names(spool.inbox) == []
    assert names(work.src) == ["song.wav", "song.wav.job.yaml"]
    assert job.request.stems == ("vocals",)


def test_a_sidecar_left_behind_by_a_crash_is_fetched_when_sealing(way, spool):
    path = way.drop()
    work = way.claim(path)
    (spool.inbox / "song.wav.job.yaml").write_text("stems: [vocals]\n")
    _, job = way.seal(work)
    assert job.request.stems == ("vocals",)
    assert names(spool.inbox) == []


def test_a_faulty_sidecar_fails_the_job_not_the_claim(way, spool):
    path = way.drop()
    (spool.inbox / "song.wav.job.yaml").write_text("stemz: 2\n")
    work = way.claim(path)
    with pytest.raises(StemdError, match="stemz") as caught:
        way.seal(work)
    assert caught.value.code == "STEMD-S010"
    assert (work.src / "song.wav").read_bytes() == SOURCE


def test_a_file_with_a_second_name_becomes_a_private_copy(way, tmp_path):
    path = way.drop()
    other = tmp_path / "library.wav"
    os.link(path, other)
    work, job = way.sealed(path)
    mine = work.src / job.source.path
    assert mine.stat().st_nlink == 1
    assert mine.stat().st_ino != other.stat().st_ino
    assert other.stat().st_nlink == 1
    other.write_bytes(b"changed later")
    assert mine.read_bytes() == SOURCE
    assert names(work.src) == ["song.wav"], "no temporary copy is left"


def test_a_copy_that_a_crash_left_is_not_kept_with_the_source(way, tmp_path):
    path = way.drop()
    os.link(path, tmp_path / "library.wav")
    work = way.claim(path)
    (work.path / "private").write_bytes(SOURCE[:10])
    way.seal(work)
    assert names(work.src) == ["song.wav"]
    assert (work.src / "song.wav").read_bytes() == SOURCE
    assert not (work.path / "private").exists()


def test_while_somebody_writes_there_is_no_job(way, spool):
    path = way.drop()
    with path.open("ab") as writer:
        work = way.claim(path)
        assert claim.seal(spool, work, way.config) is None
        assert not work.job.exists()
        writer.write(b"the last of it")
    _, job = way.seal(work)
    assert job.source.bytes == len(SOURCE) + len(b"the last of it")


@pytest.mark.parametrize("claimed", [True, False])
def test_while_somebody_writes_its_description_there_is_no_job_either(way, spool, claimed):
    """Whether the description went along with the recording, or is fetched after a crash between the two."""
    path = way.drop()
    beside, hidden = path.with_name("song.wav.job.yaml"), path.with_name("late")
    with hidden.open("w") as writer:
        if claimed:
            hidden.rename(beside)
        work = way.claim(path)
        if not claimed:
            hidden.rename(beside)
        writer.write("stems: 2\n")
        writer.flush()
        assert claim.seal(spool, work, way.config) is None
        writer.write("output: {format: wav}\n")
    _, job = way.seal(work)
    assert (job.request.stems, job.request.output.format) == (2, "wav")


def test_a_sealed_job_knows_its_source_by_content(way):
    work, job = way.sealed()
    assert job.source.sha256 == sources.sha256(work.src / "song.wav")
    assert (job.source.name, job.source.path, job.source.bytes) == ("song.wav", "song.wav", len(SOURCE))
    assert (job.title, job.user_id, job.inbox, job.epoch) == ("song", "everyone", "", 0)
    assert json.loads(work.job.read_text())["source"]["sha256"] == job.source.sha256


def test_a_staged_job_is_called_like_its_folder(way):
    _, job = way.sealed(way.drop_staged(name="My Song (live)"))
    assert (job.title, job.source.path) == ("My Song (live)", "My Song (live)/song.wav")


@pytest.mark.parametrize("name", ["../song.wav", "/etc/passwd", "deep/../../song.wav", "."])
def test_an_input_cannot_point_out_of_its_folder(way, name):
    with pytest.raises(StemdError) as caught:
        way.sealed(way.drop_staged(f"input: {name}\n"))
    assert caught.value.code == "STEMD-S010"


@pytest.mark.parametrize("place", ["song.wav", "deep/song.wav"])
def test_an_input_cannot_go_through_a_link(way, tmp_path, place):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "song.wav").write_bytes(b"a secret")
    work = way.claim(way.drop_staged(f"input: {place}\n"))
    folder = work.src / "staged"
    if place == "song.wav":
        (folder / "song.wav").unlink()
        (folder / "song.wav").symlink_to(outside / "song.wav")
    else:
        (folder / "deep").symlink_to(outside)
    with pytest.raises(StemdError) as caught:
        way.seal(work)
    assert caught.value.code == "STEMD-S007"
    assert (outside / "song.wav").read_bytes() == b"a secret"


def test_a_description_cannot_be_a_link(way, tmp_path):
    work = way.claim(way.drop_staged())
    (tmp_path / "job.yaml").write_text("input: song.wav\n")
    description = work.src / "staged" / "job.yaml"
    description.unlink()
    description.symlink_to(tmp_path / "job.yaml")
    with pytest.raises(StemdError) as caught:
        way.seal(work)
    assert caught.value.code == "STEMD-S007"


def test_an_input_that_is_not_there_is_named(way):
    with pytest.raises(StemdError, match=r"other\.wav") as caught:
        way.sealed(way.drop_staged("input: other.wav\n"))
    assert caught.value.code == "STEMD-S010"


def test_an_input_that_is_a_folder_is_refused(way):
    folder = way.drop_staged("input: deep\n")
    (folder / "deep").mkdir()
    with pytest.raises(StemdError) as caught:
        way.sealed(folder)
    assert caught.value.code == "STEMD-S007"


def test_a_staged_job_gets_the_uuid_it_asks_for(way, spool):
    work, job = way.sealed(way.drop_staged(f"input: song.wav\njob_uuid: {UUID}\n"))
    assert work.path == spool.work / UUID
    assert job.job_uuid == UUID
    assert names(spool.work) == [UUID]


def test_the_same_uuid_and_content_again_is_acknowledged(way, spool):
    job = f"input: song.wav\njob_uuid: {UUID}\n"
    way.sealed(way.drop_staged(job, "first"))
    with pytest.raises(AcknowledgedError) as caught:
        way.sealed(way.drop_staged(job, "second"))
    assert caught.value.job_id == UUID


def test_the_same_uuid_with_other_content_is_refused_and_keeps_its_source(way, spool):
    way.sealed(way.drop_staged(f"input: song.wav\njob_uuid: {UUID}\n", "first"))
    folder = way.drop_staged(f"input: song.wav\njob_uuid: {UUID}\n", "second")
    (folder / "song.wav").write_bytes(b"another recording")
    work = way.claim(folder)
    with pytest.raises(StemdError) as caught:
        way.seal(work)
    assert caught.value.code == "STEMD-S011"
    assert (work.src / "second" / "song.wav").read_bytes() == b"another recording"


def test_a_job_that_has_ended_is_remembered_by_its_status(way, spool):
    job = f"input: song.wav\njob_uuid: {UUID}\n"
    _, done = way.published(way.drop_staged(job, "first"))
    sidecar.write_status(spool, UUID, {"state": "done", "source_sha256": done.source.sha256})
    with pytest.raises(AcknowledgedError):
        way.sealed(way.drop_staged(job, "second"))


def test_a_status_without_a_hash_does_not_fail_the_job(way, spool):
    sidecar.write_status(spool, UUID, {"state": "waiting", "stage": "put back"})
    _, job = way.sealed(way.drop_staged(f"input: song.wav\njob_uuid: {UUID}\n"))
    assert job.job_uuid == UUID


def test_a_folder_whose_origin_is_lost_is_no_job(way):
    work = way.claim(way.drop())
    work.origin.unlink()
    with pytest.raises(StemdError) as caught:
        way.seal(work)
    assert caught.value.code == "STEMD-S012"


def test_a_failed_job_without_description_goes_to_orphan_with_its_source(way, spool):
    work = way.claim(way.drop_staged("input: other.wav\n"))
    with pytest.raises(StemdError) as caught:
        way.seal(work)
    orphan = deliver.to_orphan(spool, work, caught.value, "everyone")
    assert (orphan / "source" / "staged" / "song.wav").read_bytes() == SOURCE
    assert durable.read_json(orphan / "error.json")["code"] == "STEMD-S010"


def test_what_is_still_open_for_writing_is_not_even_read(way, monkeypatch):
    work = way.claim(way.drop())

    def read(path):
        raise AssertionError("it was read")

    with (work.src / "song.wav").open("ab"):
        monkeypatch.setattr(sources, "sha256", read)
        assert claim.seal(way.spool, work, way.config) is None


def test_what_changes_while_it_is_hashed_is_looked_at_again(way, monkeypatch):
    work = way.claim(way.drop())
    whole = sources.sha256

    def slow(path):
        digest = whole(path)
        path.write_bytes(path.read_bytes() + b"more")
        return digest

    monkeypatch.setattr(sources, "sha256", slow)
    assert claim.seal(way.spool, work, way.config) is None
    monkeypatch.setattr(sources, "sha256", whole)
    _, job = way.seal(work)
    assert job.source.sha256 == whole(work.src / "song.wav")


def test_a_picture_that_is_not_there_is_told_of_before_the_run(way):
    with pytest.raises(StemdError, match=r"cover\.jpg") as caught:
        way.sealed(way.drop_staged("input: song.wav\nart: cover.jpg\n"))
    assert caught.value.code == "STEMD-S010"
