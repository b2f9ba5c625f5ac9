"""What an erasure takes along, and what its search finds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stemd.core.errors import StemdError
from stemd.core.job import new_job_id
from stemd.spool import belongings, claim, deliver, erase, intents, sidecar, verification
from stemd.spool.belongings import Subject
from stemd.spool.books import Books
from stemd.spool.trail import Trail
from stemd.spool.verification import Secrets, search
from tests.unit.spool.conftest import measured

HASH = "5e" * 32
_BLOCK = verification._BLOCK


def followed(way) -> tuple[str, str]:
    """A finished job and the finished mix of its stems."""
    way.configure(**{"inboxes.mixes.engine": "mix", "defaults.next": "mixes"})
    _, first = way.published()
    (work,) = way.spool.jobs()
    work, mix = way.seal(work)
    work.partial.mkdir(mode=0o700)
    inputs = {"inputs": {role: {} for role in mix.inputs}}
    deliver.stage(work, mix, sidecar.manifest(mix, {**measured([]), **inputs}), {})
    deliver.to_outbox(way.spool, work, mix)
    return first.job_uuid, mix.job_uuid


def test_a_job_takes_the_finished_mix_of_its_stems_along(way):
    first, mix = followed(way)
    other, _ = way.published(way.drop("other.wav", b"another recording"))
    (kept,) = way.spool.jobs()  # the mix of the other one
    books = Books.of(way.config)
    subject = Subject(job=first)
    found = belongings.find(way.config, subject)
    assert found.jobs.keys() == {first, mix}
    receipt = erase.carry_out(way.config, books, Trail(books), erase.begin(books, subject, found, None))
    assert (receipt["jobs"], receipt["verified"]) == (sorted([first, mix]), True)
    assert list(way.spool.outbox.glob("*/*/manifest.json")) == [other / "manifest.json"]
    assert kept.path.exists()


def test_so_it_does_with_one_whose_manifest_does_not_say_what_it_was_made_of(way):
    """From before manifests said so: the log in the folder begins with it. One that says it itself is as good."""
    first, mix = followed(way)
    (manifest,) = (each for each in way.spool.outbox.glob("*/*/manifest.json") if mix in each.read_text())
    document = json.loads(manifest.read_text())
    del document["follows"]
    manifest.write_text(json.dumps(document))
    log = manifest.with_name("job.log.jsonl")
    for line in ("", "[]", "{", '{"event": "claimed", "follows": null}'):
        log.write_text(line)
        assert belongings.find(way.config, Subject(job=first)).jobs.keys() == {first}
    log.write_text(json.dumps({"event": "claimed", "job_uuid": mix, "follows": first}) + "\n")
    assert belongings.find(way.config, Subject(job=first)).jobs.keys() == {first, mix}


def test_a_mix_alone_leaves_what_it_was_made_of(way):
    first, mix = followed(way)
    assert belongings.find(way.config, Subject(job=mix)).jobs.keys() == {mix}
    assert belongings.find(way.config, Subject(job=first)).jobs.keys() == {first, mix}


@pytest.mark.parametrize("subject", ["user", "job"])
def test_what_nobody_understood_is_somebodys_too(way, subject):
    way.configure(users={"ana": {}})
    (way.spool.inbox / "ana").mkdir()
    (way.spool.inbox / "ana" / "mine.wav").write_bytes(b"RIFF")
    work = claim.claim(way.spool, way.candidate(way.spool.inbox / "ana" / "mine.wav", "ana"), new_job_id())
    (work.src / "mine.wav").rename(work.src / "odd.wav")
    aside = deliver.unknown(way.spool, work.path, "no source, no published marker")
    way.published()
    wanted = Subject(user="ana") if subject == "user" else Subject(job=work.job_id)
    books, found = Books.of(way.config), belongings.find(way.config, wanted)
    assert found.jobs.keys() == {work.job_id}
    receipt = erase.carry_out(way.config, books, Trail(books), erase.begin(books, wanted, found, None))
    assert receipt["verified"]
    assert not any((way.spool.orphan / "_unknown").iterdir())
    assert not aside.exists()
    assert list(way.spool.outbox.glob("*/*/manifest.json")), "another's"


def test_a_decision_about_an_entry_goes_with_it(way):
    way.configure(users={"ana": {}})
    (way.spool.inbox / "ana").mkdir()
    (way.spool.inbox / "ana" / "mine.wav").write_bytes(b"RIFF")
    file = intents.place(way.config.state_of(way.spool.root), way.spool.root)
    intents.decide(file, "ana/mine.wav", intents.Intent.HOLD)
    books, subject = Books.of(way.config).open(), Subject(user="ana")
    order = erase.begin(books, subject, belongings.find(way.config, subject), None)
    receipt = erase.carry_out(way.config, books, Trail(books), order)
    assert (receipt["verified"], receipt["left"]) == (True, [])
    assert not file.exists()


@pytest.mark.parametrize("at", [0, _BLOCK - 32, _BLOCK, 2 * _BLOCK + 17, 5 * _BLOCK // 2, 4 * _BLOCK - 64])
@pytest.mark.parametrize("secret", [HASH, "zaide-42"])
def test_long_records_are_read_whole(way, at, secret):
    size = 4 * _BLOCK
    books = Books.of(way.config).open()
    log = way.config.state_of(way.spool.root) / "logs" / "stemd.jsonl"
    log.parent.mkdir(parents=True)
    content = bytearray(b" " * size)
    content[at : at + len(secret)] = secret.encode()
    log.write_bytes(content)
    wanted = Secrets("zaide-42", frozenset(), frozenset({HASH}), frozenset())
    assert [hit.endswith("logs/stemd.jsonl") for hit in search(way.config, books, wanted)] == [True]


@pytest.mark.parametrize("shift", range(-9, 10))
def test_a_longer_name_is_nobody_elses_wherever_the_blocks_end(way, shift):
    books = Books.of(way.config).open()
    content = bytearray(b" " * (3 * _BLOCK))
    for edge in (_BLOCK - verification._OVERLAP, _BLOCK, 2 * _BLOCK - verification._OVERLAP, 2 * _BLOCK):
        content[edge + shift : edge + shift + 11] = b"xzaide-42.y"
    (way.spool.root / "long.jsonl").write_bytes(content)
    assert search(way.config, books, Secrets("zaide-42", frozenset(), frozenset(), frozenset())) == []


@pytest.mark.parametrize("at", [0, 5 * _BLOCK - 64])
def test_the_tags_of_a_long_recording_are_read_at_both_ends(way, at):
    books = Books.of(way.config).open()
    content = bytearray(5 * _BLOCK)
    content[at : at + 64] = HASH.encode()
    (way.spool.outbox / "long.flac").write_bytes(content)
    assert search(way.config, books, Secrets(None, frozenset(), frozenset({HASH}), frozenset())) == ["outbox/long.flac"]


@pytest.mark.parametrize("end", ["done", "failed", "at work"])
def test_the_same_recording_of_somebody_else_is_his(way, end):
    """Its hash stands in his records, and says nothing of who was erased."""
    mine, job = way.published(way.drop("one.wav", b"the same"))
    work, other = way.sealed(way.drop("two.wav", b"the same"))
    if end == "done":
        way.stage(work, other)
        deliver.to_outbox(way.spool, work, other)
    elif end == "failed":
        deliver.to_orphan(way.spool, work, StemdError("STEMD-A002"), "everyone")
    assert job.source.sha256 == other.source.sha256
    trail = Trail(books := Books.of(way.config))

    def erased(job: str) -> dict:
        subject = Subject(job=job)
        order = erase.begin(books, subject, belongings.find(way.config, subject), None)
        return erase.carry_out(way.config, books, trail, order)

    assert (erased(job.job_uuid)["verified"], mine.exists()) == (True, False)
    (way.spool.root / "note.txt").write_text(other.source.sha256)
    assert erased(other.job_uuid)["left"] == ["note.txt"], "now it is nobody's"


def test_what_got_the_name_of_what_was_found_stays(way, monkeypatch):
    """Between the look and the rename another user's result comes to lie where the erased one was."""
    mine, job = way.published()
    theirs, _ = way.published(way.drop("other.wav", b"another recording"))
    find = belongings.find

    def exchanged_after_the_look(*args):
        found = find(*args)
        if theirs.exists() and mine.exists():
            mine.rename(way.spool.root / "taken")
            theirs.rename(mine)
        return found

    books, subject = Books.of(way.config), Subject(job=job.job_uuid)
    trail, order = Trail(books), erase.begin(books, subject, belongings.find(way.config, subject), None)
    monkeypatch.setattr(belongings, "find", exchanged_after_the_look)
    erase.carry_out(way.config, books, trail, order)
    assert deliver.verify(mine) is not None


@pytest.mark.parametrize("user", ["", ".", "..", "../inbox", "ana/../ben", "a/b", "/", "\0"])
def test_what_is_no_name_of_a_user_is_nobody(user):
    with pytest.raises(StemdError, match="STEMD-X001"):
        Subject(user=user)


@pytest.mark.parametrize(
    "job", ["", ".", "..", "../inbox/mine", "../" * 12 + "etc/x", "0192F0C1-7F4E-7D2A-9C3B-5A6E8F901234"]
)
def test_what_is_no_name_of_a_job_is_none(job):
    with pytest.raises(StemdError, match="STEMD-S015"):
        Subject(job=job)


def _forge(folder: Path, **record) -> None:
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"created_at": "2026-01-01T00:00:00Z", **record}))


@pytest.mark.parametrize("known", ["status", "place"])
def test_what_somebody_writes_into_outbox_takes_no_job_of_others_along(way, known):
    """Neither one that is said to have come of his, nor what an id that is a path leads to."""
    theirs, job = way.published()
    if known == "status":
        sidecar.write_status(way.spool, job.job_uuid, {"state": "done", "user_id": "everyone"})
    mine, victim = new_job_id(), way.spool.root / "victim.json"
    _forge(way.spool.outbox / "ana" / "song", job_uuid=mine, user_id="ana")
    _forge(way.spool.outbox / "ana" / "forged", job_uuid=job.job_uuid, follows=mine, user_id="ana")
    _forge(way.spool.outbox / "ana" / "path", job_uuid="../victim", follows=mine, user_id="ana")
    if known == "status":
        sidecar.write_status(way.spool, mine, {"state": "done", "user_id": "ana"})
    victim.write_text("precious")
    books, subject = Books.of(way.config).open(), Subject(job=mine)
    order = erase.begin(books, subject, belongings.find(way.config, subject), None)
    receipt = erase.carry_out(way.config, books, Trail(books), order)
    assert mine in receipt["jobs"] and "../victim" not in receipt["jobs"]
    assert not (way.spool.outbox / "ana" / "song").exists()
    assert deliver.verify(theirs) is not None and victim.read_text() == "precious"
    if known == "status":
        assert receipt["jobs"] == [mine]
        assert sidecar.read_status(way.spool.status_file(job.job_uuid))["state"] == "done"


def test_of_a_job_that_lies_with_two_users_both_are_taken_if_nothing_says_whose_it_is(way):
    folder, job = way.published()
    _forge(way.spool.outbox / "ana" / "copy", job_uuid=job.job_uuid)
    way.spool.status_file(job.job_uuid).unlink(missing_ok=True)
    found = belongings.find(way.config, Subject(job=job.job_uuid))
    assert found.owner is None
    assert {item.path for item in found.items} == {folder, way.spool.outbox / "ana" / "copy"}


def test_a_manifest_that_names_another_users_job_makes_it_nobody_elses(way):
    folder, job = way.published()
    sidecar.write_status(way.spool, job.job_uuid, {"state": "done", "user_id": "everyone"})
    forged = way.spool.outbox / "ana" / "mine"
    forged.mkdir(parents=True)
    record = json.loads((folder / "manifest.json").read_text())
    (forged / "manifest.json").write_text(json.dumps({**record, "user_id": "ana"}))
    found = belongings.find(way.config, Subject(user="ana"))
    assert found.jobs == {}
    assert {item.path for item in found.items} == {forged, forged.parent}
