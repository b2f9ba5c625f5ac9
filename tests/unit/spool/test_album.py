"""A dropped album: what becomes a job, what the album's folder holds, and what ``album.json`` says in the end."""

import json
import os
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from stemd.core.config import load
from stemd.core.errors import StemdError
from stemd.core.job import JobState, encode_name, new_job_id
from stemd.spool import album, claim, deliver, durable, intake, ledger, recover, sidecar, steps
from stemd.spool.intake import Candidate, Door, Kind, Refusal
from stemd.spool.settle import Arrival, Sighting, Writers
from tests.support.spools import make_spool, violations
from tests.support.system import NOBODY, in_child, needs_root
from tests.unit.spool.conftest import Way

UUID = "0192f0c1-0000-7000-8000-000000000001"
STAGED_JOB = f"input: song.wav\njob_uuid: {UUID}\n"


def fill(folder, content):
    """Make files: names (with folders, ``/`` at the end for an empty one) and what is in them, by default the name."""
    for name in content:
        path = folder / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content[name] if isinstance(content, dict) else None
        path.write_bytes(os.fsencode(text or f"{folder.name}/{name}"))
    return folder


@dataclass
class Albums:
    """The daemon's calls for albums."""

    way: object

    @property
    def spool(self):
        return self.way.spool

    @property
    def home(self):
        return self.spool.outbox / "everyone"

    def split(self, content, name="Album", door=None):
        """Drop an album, claim it and split it."""
        work = self.claimed(content, name, door)
        assert album.split(self.spool, work, self.way.config)
        return work

    def claimed(self, content, name="Album", door=None):
        folder = fill((self.spool.inbox / door if door else self.spool.inbox) / name, content)
        work = claim.claim(self.spool, self.way.candidate(folder, door), new_job_id())
        assert work is not None
        return work

    def members(self, work):
        """The jobs of an album by their paths in it."""
        book = ledger.read(work)
        return {member.path: self.spool.job(member.job_uuid) for member in book.members}

    def end(self, job, error=None):
        """Bring a member to its end; the folder in outbox/ or orphan/."""
        try:
            job, sealed = self.way.seal(job)
        except StemdError as fault:
            return deliver.to_orphan(self.spool, job, fault, "everyone")
        if error:
            return deliver.to_orphan(self.spool, job, StemdError(error), sealed.user_id)
        self.way.stage(job, sealed)
        return deliver.to_outbox(self.spool, job, sealed)

    def run(self, work, failing=()):
        """Bring all members of an album to their end, and the album."""
        for path, job in self.members(work).items():
            self.end(job, "STEMD-A002" if path in failing else None)
        assert album.finish(self.spool, work) is not None
        assert not work.path.exists()

    def result_of(self, source):
        """Where the recording stands that was dropped with this content."""
        (path,) = [path for path in self.home.rglob("source/*") if path.read_bytes() == source.encode()]
        return str(path.parent.parent.relative_to(self.home))


@pytest.fixture
def albums(way):
    return Albums(way)


def summary(folder):
    return json.loads((folder / "album.json").read_text())


# ---- what is an album


def judge(folder, arrival=Arrival.GROWN):
    return intake.classify(Sighting(str(folder), None, arrival, tree=True), Door(None, folder.parent))


@pytest.mark.parametrize("content", [["song.mp3"], ["CD1/song.mp3", "cover.jpg"], ["staged/job.yaml", "notes.txt"]])
def test_a_folder_with_a_recording_anywhere_is_an_album(tmp_path, content):
    found = judge(fill(tmp_path / "Album", content))
    assert isinstance(found, Candidate)
    assert found.kind is Kind.ALBUM


@pytest.mark.parametrize(
    "content", [["empty/"], ["notes.txt"], [".hidden.mp3"], [".hidden/song.mp3"], ["@eaDir/song.mp3"], ["song.mp3.bak"]]
)
def test_a_folder_without_one_is_none(tmp_path, content):
    found = judge(fill(tmp_path / "Album", content))
    assert isinstance(found, Refusal)
    assert found.error.code == "STEMD-S009"


@pytest.mark.parametrize(
    "name", ["b.mp3.part", "staged/b.mp3.filepart", ".b.mp3.AbCdE1", "CD2/.b.mp3.ZZZZZZ", ".~tmp~/b.mp3", ".in.b.mp3."]
)
def test_while_an_upload_is_in_progress_an_album_that_grew_is_left_alone(tmp_path, name):
    folder = fill(tmp_path / "Album", ["a.mp3", "staged/job.yaml", name])
    found = judge(folder)
    assert isinstance(found, Refusal)
    assert found.error.code == "STEMD-S009"
    assert name.split("/")[0] in found.error.message or name in found.error.message
    assert judge(folder, Arrival.MOVED).kind is Kind.ALBUM, "nobody uploads into what came by one rename"
    durable.remove_tree(folder / name.split("/")[0])
    assert judge(folder).kind is Kind.ALBUM


@pytest.mark.parametrize(
    "name",
    [".DS_Store", "._a.mp3", "Thumbs.db", "desktop.ini", "@eaDir/a.mp3/x.jpg", "a.mp3.bak", "a.txt~", ".x.config"],
)
def test_litter_holds_nothing_up(tmp_path, name):
    assert judge(fill(tmp_path / "Album", ["a.mp3", name])).kind is Kind.ALBUM


def test_one_thing_in_it_that_cannot_be_taken_keeps_the_whole_album(tmp_path):
    folder = fill(tmp_path / "Album", ["a.mp3"])
    (folder / "link.mp3").symlink_to("/etc/passwd")
    assert judge(folder).error.code == "STEMD-S007"


# ---- from the inbox to jobs and folders


def test_each_recording_becomes_a_job_and_the_rest_goes_to_the_albums_folder(albums, spool):
    work = albums.split(["CD1/a.mp3", "CD1/inlay.txt", "CD2/a.mp3", "cover.jpg", "empty/"])
    assert list(spool.inbox.iterdir()) == []
    assert not work.src.exists()
    assert sorted(albums.members(work)) == ["CD1/a.mp3", "CD2/a.mp3"]
    place = albums.home / "Album"
    assert {str(path.relative_to(place)) for path in place.rglob("*")} == {"CD1", "CD1/inlay.txt", "CD2", "cover.jpg"}
    albums.run(work)
    assert albums.result_of("Album/CD1/a.mp3") == "Album/CD1/a"
    assert albums.result_of("Album/CD2/a.mp3") == "Album/CD2/a"
    assert violations(spool, [b"Album/CD1/a.mp3", b"Album/CD2/a.mp3", b"Album/cover.jpg", b"Album/CD1/inlay.txt"]) == []


def test_a_job_knows_its_album_and_so_does_its_manifest(albums, way):
    work = albums.split(["CD1/a.mp3"])
    (job,) = albums.members(work).values()
    _, sealed = way.seal(job)
    belongs = {"job_uuid": work.job_id, "place": "Album/CD1"}
    assert (sealed.album, sealed.title, sealed.source.name) == (belongs, "a", "a.mp3")
    way.stage(job, sealed)
    assert durable.read_json(job.manifest)["album"] == belongs


def test_no_finished_folder_ever_contains_another(albums, spool):
    work = albums.split(["song.mp3", "song.flac", "song/part.mp3", "album.json.mp3", "manifest.json/x.mp3"])
    albums.run(work)
    results = {albums.result_of(f"Album/{name}") for name in ("song.mp3", "song.flac")}
    assert results == {"Album/song (2)", "Album/song (3)"}
    assert albums.result_of("Album/song/part.mp3") == "Album/song/part"
    assert albums.result_of("Album/album.json.mp3") == "Album/album.json (2)"
    assert albums.result_of("Album/manifest.json/x.mp3") == "Album/manifest.json (2)/x"
    assert violations(spool, []) == []


def test_nothing_is_thrown_away(albums, spool):
    """Hidden, temporary and foreign files go along; those with a name of ours get a number."""
    names = [
        ".DS_Store", "Thumbs.db", "@eaDir/a.mp3/thumb.jpg", "b.mp3.part", ".hidden.mp3", ".git/config", "album.json",
        "CD1/manifest.json", "lonely.mp3.job.yaml", "CD?/x.txt", "CD_/y.txt", "CD*",
    ]  # fmt: skip
    albums.run(albums.split(["a.mp3", *names]))
    assert violations(spool, [f"Album/{name}".encode() for name in ("a.mp3", *names)]) == []
    place = albums.home / "Album"
    assert summary(place)["jobs"][0]["source"] == "a.mp3"
    assert summary(place)["inbox"] is None, "the inbox at the top"
    assert (place / "album.json (2)").read_text() == "Album/album.json"
    assert (place / "CD1" / "manifest.json (2)").read_text() == "Album/CD1/manifest.json"
    texts = {path.read_text(): str(path.parent.relative_to(place)) for path in place.rglob("[xy].txt")}
    assert texts == {"Album/CD?/x.txt": "CD_", "Album/CD_/y.txt": "CD_ (2)"}
    assert (place / "CD*").read_text() == "Album/CD*"


def test_names_that_are_no_text_survive(albums, spool):
    song, folder = os.fsdecode(b"caf\xe9.mp3"), os.fsdecode(b"d\xefsc")
    work = albums.split({f"{folder}/{song}": "one", f"{folder}/\n.txt": "two"}, name=os.fsdecode(b"\xc1lbum"))
    albums.run(work)
    assert albums.result_of("one") == "_lbum/d_sc/caf_"
    assert summary(albums.home / "_lbum")["jobs"][0]["source"] == encode_name(f"{folder}/{song}")
    assert violations(spool, [b"one", b"two"]) == []


def test_a_song_whose_name_leaves_no_room_for_a_description_beside_it_is_one_like_any(albums, spool):
    longest = "x" * 251 + ".mp3"
    albums.run(albums.split({"a.mp3": "one", longest: "two", "z.mp3": "three"}))
    assert [job["state"] for job in summary(albums.home / "Album")["jobs"]] == ["done"] * 3
    assert violations(spool, [b"one", b"two", b"three"]) == []


def test_a_folder_with_a_description_in_an_album_is_one_job(albums, way, spool):
    content = {"CD1/kit/job.yaml": STAGED_JOB, "CD1/kit/song.wav": "one", "CD1/kit/other.wav": "two", "b.mp3": "three"}
    work = albums.split(content)
    assert sorted(albums.members(work)) == ["CD1/kit", "b.mp3"]
    albums.run(work)
    result = albums.home / "Album" / "CD1" / "kit"
    assert durable.read_json(result / "manifest.json")["job_uuid"] == UUID
    assert {path.name for path in (result / "source").iterdir()} == {"job.yaml", "song.wav", "other.wav"}
    assert summary(albums.home / "Album")["jobs"][0]["job_uuid"] == UUID
    assert violations(spool, [b"one", b"two", b"three"]) == []


def test_a_description_beside_a_song_travels_with_it(albums, way, spool):
    (spool.inbox / "a.mp3.job.yaml").write_text("stems: 4\n")
    work = albums.split({"a.mp3": "one", "a.mp3.job.yaml": f"stems: 2\njob_uuid: {UUID}\n", "b.mp3": "two"})
    jobs = {path: way.seal(job)[1] for path, job in albums.members(work).items()}
    assert (jobs["a.mp3"].request.stems, jobs["a.mp3"].job_uuid) == (2, UUID)
    assert jobs["b.mp3"].request.stems == 4
    assert (spool.inbox / "a.mp3.job.yaml").exists(), "that of another song of the same name"


class CrashError(Exception):
    """Ends a call in the middle."""


def crash():
    raise CrashError


@pytest.fixture
def at():
    """``with at("L6", act)``: act at that step; a crash ends the block."""

    @contextmanager
    def install(name, act):
        steps.install(lambda step: act() if step == name else None)
        try:
            yield
        except CrashError:
            pass
        finally:
            steps.install(None)

    return install


def test_two_albums_of_one_name_stand_side_by_side(albums, spool):
    first = albums.split({"a.mp3": "one"})
    albums.run(first)
    second = albums.split({"a.mp3": "two"})
    albums.run(second)
    assert (albums.result_of("one"), albums.result_of("two")) == ("Album/a", "Album (2)/a")
    assert summary(albums.home / "Album")["job_uuid"] == first.job_id
    assert summary(albums.home / "Album (2)")["job_uuid"] == second.job_id


def test_what_is_being_written_to_is_not_split(albums, way, monkeypatch):
    work = albums.claimed(["a.mp3", "b.mp3"])
    monkeypatch.setattr(album.lease, "writers", lambda path: Writers.SOME)
    assert not album.split(way.spool, work, way.config)
    assert sorted(path.name for path in work.src.rglob("*.mp3")) == ["a.mp3", "b.mp3"]
    assert not work.album.exists()


def test_where_jobs_must_say_whose_they_are_an_album_is_refused_whole(albums, way, spool):
    way.configure(inboxes__stager__trust="manifest")
    (spool.inbox / "stager").mkdir()
    work = albums.claimed(["a.mp3", "cover.jpg"], door="stager")
    with pytest.raises(StemdError) as caught:
        album.split(spool, work, way.config)
    assert caught.value.code == "STEMD-S010"
    orphan = deliver.to_orphan(spool, work, caught.value, "everyone")
    assert {path.name for path in (orphan / "source" / "Album").iterdir()} == {"a.mp3", "cover.jpg"}
    assert violations(spool, [b"Album/a.mp3", b"Album/cover.jpg"]) == []


def test_the_albums_folder_gets_its_permissions(albums, way):
    way.configure(defaults__output__mode="0664")
    (albums.spool.inbox / "x").mkdir()
    albums.run(albums.split(["CD1/a.mp3", "cover.jpg"]))
    modes = {name: (albums.home / "Album" / name).stat().st_mode & 0o7777 for name in (".", "CD1", "cover.jpg")}
    assert modes == {".": 0o2775, "CD1": 0o2775, "cover.jpg": 0o664}
    assert (albums.home / "Album" / "album.json").stat().st_mode & 0o7777 == 0o664


@needs_root
def test_recordings_of_another_user_are_no_obstacle(public_path):
    """The service is an ordinary account; who dropped the album is another, and both share only the group."""

    def service():
        spool = make_spool(public_path / "spool")
        os.chmod(spool.inbox, 0o2777)  # noqa: PTH101
        return spool

    config = load(None, {"spool": str(public_path / "spool")}, {}).config
    os.chown(public_path, NOBODY, NOBODY)
    spool = in_child(service, uid=NOBODY)
    folder = fill(spool.inbox / "Album", ["CD1/a.mp3", "CD1/cover.jpg"])
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 54_321, NOBODY)
        path.chmod(0o2770 if path.is_dir() else 0o660)

    def whole():
        there = Albums(Way(spool, config))
        work = claim.claim(spool, there.way.candidate(folder), new_job_id())
        assert album.split(spool, work, there.way.config)
        there.run(work)
        return there.result_of("Album/CD1/a.mp3"), violations(spool, [b"Album/CD1/a.mp3", b"Album/CD1/cover.jpg"])

    assert in_child(whole, uid=NOBODY) == ("Album/CD1/a", [])


# ---- trouble on the way


@pytest.mark.parametrize("moment", ["L1", "L4"])
@pytest.mark.parametrize("name", ["CD1/late.mp3", "late/late.txt"])
def test_a_file_that_comes_after_all_is_an_error_and_stays(albums, way, spool, at, name, moment):
    work = albums.claimed(["CD1/a.mp3"])
    with at(moment, lambda: fill(work.src / "Album", [name])), pytest.raises(StemdError) as caught:
        album.split(spool, work, way.config)
    assert caught.value.code == "STEMD-S014"
    assert name.rpartition("/")[2] in caught.value.message
    orphan = deliver.to_orphan(spool, work, caught.value, "everyone")
    assert (orphan / "source" / "Album" / name).exists()
    assert len(album.members(spool, work)) == 0, "it is not there any more"


def test_an_album_that_stopped_half_way_goes_on_after_a_retry(albums, way, spool, at):
    work = albums.claimed(["a.mp3", "b.mp3", "c.mp3", "cover.jpg"])
    moved = iter(range(10))
    with at("L6b", lambda: crash() if next(moved) == 1 else None):
        album.split(spool, work, way.config)
    first, second = album.members(spool, work)
    orphan = deliver.to_orphan(spool, work, StemdError("STEMD-R003"), "everyone")
    assert [path.name for path in orphan.rglob("source/Album/*")] == ["c.mp3"]
    albums.end(first)
    albums.end(second, "STEMD-A002")
    assert album.finish(spool, work) is None
    work = deliver.retry(spool, orphan, work.job_id)
    assert recover.classify(work) is recover.Found.CLAIMED
    assert album.split(spool, work, way.config)
    (third,) = album.members(spool, work)
    albums.end(third)
    assert album.finish(spool, work) == albums.home / "Album"
    assert [job["state"] for job in summary(albums.home / "Album")["jobs"]] == ["done", "failed", "done"]
    assert violations(spool, [f"Album/{name}".encode() for name in ("a.mp3", "b.mp3", "c.mp3", "cover.jpg")]) == []


def test_a_recording_that_a_person_takes_out_of_orphan_is_not_waited_for(albums, way, spool, at):
    work = albums.claimed(["a.mp3", "b.mp3", "c.mp3"])
    with at("L6b", crash):
        album.split(spool, work, way.config)
    orphan = deliver.to_orphan(spool, work, StemdError("STEMD-R003"), "everyone")
    (orphan / "source" / "Album" / "b.mp3").unlink()
    work = deliver.retry(spool, orphan, work.job_id)
    assert album.split(spool, work, way.config)
    for job in albums.members(work).values():
        if job.path.exists():
            albums.end(job)
    assert album.finish(spool, work)
    a, b, c = summary(albums.home / "Album")["jobs"]
    assert (a["state"], b["state"], b["code"], b["result"], c["state"]) == (
        "done",
        "failed",
        "STEMD-S008",
        None,
        "done",
    )


def test_a_second_name_that_a_power_cut_left_is_no_second_recording(albums, way, spool, at):
    work = albums.claimed(["a.mp3", "b.mp3", "cover.jpg", "a.mp3.job.yaml"])
    (work.src / "Album" / "a.mp3.job.yaml").write_text("stems: 2\n")
    with at("L3", crash):
        album.split(spool, work, way.config)
    os.link(work.skeleton / "cover.jpg", work.src / "Album" / "cover.jpg")
    with at("L5", crash):
        album.split(spool, work, way.config)
    (job,) = work.building.iterdir()
    for name in ("a.mp3", "a.mp3.job.yaml"):
        os.link(job / "src" / name, work.src / "Album" / name)
    assert [found.found for found in recover.recover(spool)] == [recover.Found.CLAIMED]
    assert album.split(spool, work, way.config)
    albums.run(work)
    assert violations(spool, [b"Album/a.mp3", b"Album/b.mp3", b"Album/cover.jpg"]) == []


# ---- how it ends


def test_album_json_appears_when_the_last_job_has_ended_and_lists_them_all(albums, spool):
    work = albums.split(["CD1/a.mp3", "CD1/b.mp3", "c.mp3"])
    jobs = albums.members(work)
    place = albums.home / "Album"
    albums.end(jobs["CD1/a.mp3"])
    failed = albums.end(jobs["CD1/b.mp3"], "STEMD-A002")
    cancelled_id = jobs["c.mp3"].job_id
    assert album.finish(spool, work) is None
    assert not (place / "album.json").exists()
    cancelled = albums.end(jobs["c.mp3"], "STEMD-P002")
    assert album.finish(spool, work) == place
    assert list(spool.work.iterdir()) == []
    document = summary(place)
    assert (document["schema_version"], document["user_id"], document["title"]) == (1, "everyone", "Album")
    assert (document["job_uuid"], document["source"]) == (work.job_id, "Album")
    assert document["jobs"] == [
        {"source": "CD1/a.mp3", "job_uuid": jobs["CD1/a.mp3"].job_id, "state": "done", "result": "CD1/a"},
        {
            "source": "CD1/b.mp3",
            "job_uuid": jobs["CD1/b.mp3"].job_id,
            "state": "failed",
            "result": str(failed.relative_to(spool.root)),
            "code": "STEMD-A002",
        },
        {
            "source": "c.mp3",
            "job_uuid": cancelled_id,
            "state": "cancelled",
            "result": str(cancelled.relative_to(spool.root)),
            "code": "STEMD-P002",
        },
    ]


def test_a_job_that_was_known_already_ends_as_a_duplicate(albums, way, spool):
    path = fill(spool.inbox, {"other.wav": "one", "other.wav.job.yaml": f"job_uuid: {UUID}\n"}) / "other.wav"
    way.sealed(path)
    work = albums.split({"a.wav": "one", "a.wav.job.yaml": f"job_uuid: {UUID}\n"})
    (job,) = albums.members(work).values()
    with pytest.raises(claim.AcknowledgedError) as known:
        way.seal(job)
    deliver.let_go(spool, job, known.value.job_id)
    assert album.finish(spool, work)
    (entry,) = summary(albums.home / "Album")["jobs"]
    assert entry == {"source": "a.wav", "job_uuid": UUID, "state": "duplicate", "result": None}


def test_an_album_waits_for_a_job_that_was_put_back(albums, way, spool):
    work = albums.split(["a.mp3", "b.mp3"])
    a, b = albums.members(work).values()
    orphan = albums.end(a, "STEMD-A002")
    a = deliver.retry(spool, orphan, a.job_id)
    albums.end(b)
    assert album.finish(spool, work) is None
    albums.end(a)
    assert album.finish(spool, work)
    assert [job["state"] for job in summary(albums.home / "Album")["jobs"]] == ["done", "done"]


def test_a_retry_after_the_end_publishes_into_the_same_place_and_corrects_album_json(albums, spool):
    work = albums.split(["CD1/a.mp3", "CD1/b.mp3"])
    b = albums.members(work)["CD1/b.mp3"]
    albums.run(work, failing={"CD1/b.mp3"})
    place = albums.home / "Album"
    (place / "album.json").chmod(0o604)
    before = summary(place)
    assert before["jobs"][1]["state"] == "failed"
    again = deliver.retry(spool, sidecar.find_orphan(spool, b.job_id), b.job_id)
    assert summary(place) == before
    albums.end(again)
    assert albums.result_of("Album/CD1/b.mp3") == "Album/CD1/b"
    after = {"source": "CD1/b.mp3", "job_uuid": b.job_id, "state": "done", "result": "CD1/b"}
    assert summary(place) == {**before, "jobs": [before["jobs"][0], after]}
    assert (place / "album.json").stat().st_mode & 0o777 == 0o604
    assert violations(spool, [b"Album/CD1/a.mp3", b"Album/CD1/b.mp3"]) == []


@pytest.mark.parametrize("damage", ["gone", "link", "other", "torn", "list"])
def test_an_album_json_that_is_not_ours_any_more_is_left_alone(albums, spool, tmp_path, damage):
    work = albums.split(["a.mp3"])
    (job,) = albums.members(work).values()
    albums.run(work, failing={"a.mp3"})
    path = albums.home / "Album" / "album.json"
    document = summary(path.parent)
    path.unlink()
    match damage:
        case "link":
            (tmp_path / "elsewhere").write_text(json.dumps(document))
            path.symlink_to(tmp_path / "elsewhere")
        case "other":
            path.write_text(json.dumps({**document, "job_uuid": UUID}))
        case "torn":
            path.write_text('{"job_uu')
        case "list":
            path.write_text(json.dumps({**document, "jobs": []}))
    before = path.read_bytes() if path.exists() else None
    albums.end(deliver.retry(spool, sidecar.find_orphan(spool, job.job_id), job.job_id))
    assert (path.read_bytes() if path.exists() else None) == before
    assert (albums.home / "Album" / "a" / "manifest.json").exists()


def test_a_consumer_may_take_the_folder_away_at_any_time(albums, spool, tmp_path):
    work = albums.split(["CD1/a.mp3", "CD1/b.mp3", "cover.jpg"])
    a, b = albums.members(work).values()
    albums.end(a)
    (albums.home / "Album").rename(tmp_path / "taken")
    albums.end(b)
    assert album.finish(spool, work) == albums.home / "Album"
    assert (tmp_path / "taken" / "CD1" / "a" / "manifest.json").exists()
    assert albums.result_of("Album/CD1/b.mp3") == "Album/CD1/b"
    assert [job["result"] for job in summary(albums.home / "Album")["jobs"]] == ["CD1/a", "CD1/b"]


def test_the_name_of_an_album_stays_its_own_while_it_is_not_complete(albums, spool, tmp_path):
    first = albums.split({"a.mp3": "one"})
    (albums.home / "Album").rename(tmp_path / "taken")
    second = albums.split({"a.mp3": "two"})
    albums.run(second)
    albums.run(first)
    assert (albums.result_of("one"), albums.result_of("two")) == ("Album/a", "Album (2)/a")


@pytest.mark.parametrize("what", ["result", "file", "link"])
def test_something_else_in_its_place_is_not_gone_into(albums, way, spool, tmp_path, what):
    work = albums.split(["CD1/a.mp3"])
    place = albums.home / "Album"
    place.rename(tmp_path / "taken")
    if what == "result":
        target, _ = way.published(way.drop("Album.wav"))
        assert target == place
    elif what == "file":
        place.write_text("somebody's")
    else:
        (tmp_path / "elsewhere").mkdir()
        place.symlink_to(tmp_path / "elsewhere")
    albums.run(work)
    assert albums.result_of("Album/CD1/a.mp3") == "Album (2)/CD1/a"
    assert summary(albums.home / "Album (2)")["jobs"][0]["result"] == "CD1/a"
    assert not (tmp_path / "elsewhere").exists() or list((tmp_path / "elsewhere").iterdir()) == []


def test_a_folder_that_is_taken_away_in_the_very_moment_is_made_again(albums, way, spool, tmp_path, at):
    work = albums.split(["CD1/a.mp3"])
    (job,) = albums.members(work).values()
    takings = iter(range(10))

    def take():
        number = next(takings)
        if number < 2:
            (albums.home / "Album").rename(tmp_path / f"taken{number}")

    with at("P2a", take):
        target = albums.end(job)
    assert target == albums.home / "Album" / "CD1" / "a"
    assert violations(spool, [b"Album/CD1/a.mp3"]) == []


def test_a_result_that_is_taken_away_with_its_folder_in_the_very_moment_is_published(albums, spool, tmp_path, at):
    work = albums.split(["CD1/a.mp3"])
    (job,) = albums.members(work).values()
    with at("P2", lambda: (albums.home / "Album").rename(tmp_path / "taken")):
        albums.end(job)
    assert deliver.verify(tmp_path / "taken" / "CD1" / "a")
    assert album.finish(spool, work)
    assert list(spool.work.iterdir()) == []


def test_a_place_that_leads_out_of_the_outbox_is_refused(spool):
    for place in ("..", "../x", "/etc", "a/../../b", ""):
        with pytest.raises(StemdError) as caught:
            deliver.open_place(spool.outbox, place, 0o640, None)
        assert caught.value.code == "STEMD-S010"


# ---- after a restart


def test_a_split_album_is_no_job_but_is_found(albums, spool):
    work = albums.split(["a.mp3"])
    found, job = recover.recover(spool)
    assert (found.found, found.work, found.job, job.found) == (recover.Found.ALBUM, work, None, recover.Found.CLAIMED)


def test_a_job_put_aside_as_unknown_does_not_keep_its_album_waiting(albums, spool):
    work = albums.split(["a.mp3"])
    (job,) = albums.members(work).values()
    (job.src / "a.mp3").unlink()
    durable.write(job.job, b'{"from": "the future"}')
    assert [found.found for found in recover.recover(spool)] == [recover.Found.ALBUM]
    assert album.finish(spool, work)
    (entry,) = summary(albums.home / "Album")["jobs"]
    assert (entry["state"], entry["code"]) == (JobState.FAILED, "STEMD-S012")
