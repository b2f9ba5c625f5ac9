"""The files a job works on: one, or the several of a mix."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest

from stemd.core.errors import StemdError
from stemd.core.job import Job
from stemd.spool import claim, deliver, sources
from stemd.spool.audit import Auditor
from stemd.spool.intake import Door, Kind
from tests.unit.spool.conftest import SOURCE

FILES = {"Song - vocals.wav": SOURCE + b"v", "kick.wav": SOURCE + b"k", "hats.wav": SOURCE + b"h"}


def drop(way, description=None, name="a mix"):
    folder = way.spool.inbox / name
    folder.mkdir()
    for file, content in FILES.items():
        (folder / file).write_bytes(content)
    if description is not None:
        (folder / "job.json").write_text(json.dumps(description))
    return folder


def sealed(way, description=None):
    """A folder dropped where folders are mixes."""
    way.configure(defaults__engine="mix")
    folder = drop(way, description)
    work = claim.claim(way.spool, replace(way.candidate(folder), kind=Kind.STAGED), "0" * 8)
    assert work is not None
    return way.seal(work)


@pytest.mark.parametrize(
    ("description", "roles"),
    [
        (None, {"vocals", "kick", "hats"}),
        ({"engine": "mix", "options": {"preset": "loud"}}, {"vocals", "kick", "hats"}),
        ({"engine": "mix", "inputs": ["kick.wav", "hats.wav"]}, {"kick", "hats"}),
        ({"engine": "mix", "inputs": {"lead": "Song - vocals.wav", "drums": "kick.wav"}}, {"lead", "drums"}),
    ],
)
def test_a_mix_has_its_files_by_role(way, description, roles):
    work, job = sealed(way, description)
    assert set(job.inputs) == roles
    assert job.title == "a mix"
    assert job.source.bytes == sum(each.bytes for each in job.inputs.values())
    for source in job.inputs.values():
        assert sources.unchanged(work, source).read_bytes() == FILES[source.name]
    assert Job.from_dict(json.loads(work.job.read_text())) == job


REFERENCE = {"file": "./kick.wav", "strength": 1}


@pytest.mark.parametrize(
    "options",
    [
        {"reference": REFERENCE},
        {"reference": REFERENCE, "parameters": "report.json"},
        {"preset": "own.yaml"},
        {"preset": "own.yaml", "reference": None},
    ],
)
def test_the_recording_to_come_near_to_is_no_stem(way, options):
    way.configure(defaults__engine="mix")
    folder = drop(way, {"options": options})
    (folder / "own.yaml").write_text(json.dumps({"reference": REFERENCE}))
    _, job = way.sealed(folder)
    assert {source.name for source in job.inputs.values()} == {"Song - vocals.wav", "hats.wav"}
    assert set(job.inputs) == {"vocals", "drums"}, "named as if it were not there"


def test_an_inbox_may_name_the_recording_to_come_near_to(way):
    way.configure(**{"inboxes.mixes.engine": "mix", "inboxes.mixes.options": {"reference": REFERENCE}})
    (way.spool.inbox / "mixes").mkdir()
    folder = drop(way, name="mixes/a mix")
    work = claim.claim(way.spool, replace(way.candidate(folder, "mixes"), kind=Kind.STAGED), "0" * 8)
    assert set(way.seal(work)[1].inputs) == {"vocals", "drums"}


def test_who_names_the_inputs_is_believed(way):
    """Whether a stem can be the reference is for the engine to say."""
    way.configure(defaults__engine="mix")
    description = {"options": {"reference": REFERENCE}, "inputs": ["kick.wav", "hats.wav"]}
    assert set(way.sealed(drop(way, description))[1].inputs) == {"kick", "hats"}


def test_a_reference_alone_is_nothing_to_mix(way):
    way.configure(defaults__engine="mix")
    folder = drop(way, {"options": {"reference": REFERENCE}})
    for name in ("hats.wav", "Song - vocals.wav"):
        (folder / name).unlink()
    with pytest.raises(StemdError, match="no recording in the folder to mix"):
        way.sealed(folder)


@pytest.mark.parametrize("content", [b"[", b"- a", b"reference: kick.wav", b"reference: {file: 5}", b"\xff"])
def test_a_preset_that_makes_no_sense_is_left_to_the_engine(way, content):
    way.configure(defaults__engine="mix")
    folder = drop(way, {"options": {"preset": "own.yaml"}})
    (folder / "own.yaml").write_bytes(content)
    assert len(way.sealed(folder)[1].inputs) == 3


@pytest.mark.parametrize("preset", ["", ".", "../own.yaml", "a\0b", "x" * 5000, "link.yaml", "gone.yaml"])
def test_a_preset_is_looked_for_in_the_folder_only(way, preset):
    way.configure(defaults__engine="mix")
    (way.spool.inbox / "own.yaml").write_text(json.dumps({"reference": REFERENCE}))
    folder = drop(way, {"options": {"preset": preset}})
    (folder / "link.yaml").symlink_to("../own.yaml")
    assert len(way.sealed(folder)[1].inputs) == 3


def test_its_identity_is_the_roles_and_what_the_files_hold(way):
    _, job = sealed(way, {"engine": "mix", "inputs": {"a": "kick.wav", "b": "hats.wav"}})
    drop_again = [{"a": "hats.wav", "b": "kick.wav"}, {"a": "kick.wav", "c": "hats.wav"}, {"a": "kick.wav"}]
    for number, inputs in enumerate(drop_again):
        folder = drop(way, {"engine": "mix", "inputs": inputs}, f"again {number}")
        assert way.seal(way.claim(folder))[1].source.sha256 != job.source.sha256
    folder = drop(way, {"engine": "mix", "inputs": {"b": "hats.wav", "a": "kick.wav"}}, "the same")
    assert way.seal(way.claim(folder))[1].source.sha256 == job.source.sha256


@pytest.mark.parametrize(
    ("engine", "description", "says"),
    [
        ("mix", {"engine": "mix", "input": "kick.wav"}, "takes `inputs`"),
        ("mix", {"engine": "mix", "inputs": ["gone.wav"]}, "gone.wav"),
        ("mix", {"engine": "mix", "inputs": ["../kick.wav"]}, "inside the job's folder"),
        ("demucs", {"inputs": ["kick.wav"]}, "`input` is missing"),
    ],
)
def test_what_does_not_fit_is_refused(way, engine, description, says):
    way.configure(defaults__engine=engine)
    with pytest.raises(StemdError, match=says) as caught:
        way.sealed(drop(way, description))
    assert caught.value.code == "STEMD-S010"


def test_a_file_by_itself_is_no_mix(way):
    way.configure(defaults__engine="mix")
    with pytest.raises(StemdError, match="by itself") as caught:
        way.sealed()
    assert "folder" in caught.value.remedy


def test_a_folder_behind_a_door_of_mixes_is_one_job(way):
    from stemd.spool import intake
    from stemd.spool.settle import Arrival, Sighting

    folder = drop(way)
    for whole, kind in ((True, Kind.STAGED), (False, Kind.ALBUM)):
        door = Door("mixes", folder.parent, whole)
        assert intake.classify(Sighting(str(folder), None, Arrival.GROWN, tree=True), door).kind is kind


def test_a_mix_while_one_of_its_files_is_written_to_is_looked_at_again(way):
    way.configure(defaults__engine="mix")
    work = way.claim(drop(way, {"engine": "mix"}))
    with (work.src / "a mix" / "kick.wav").open("ab"):
        assert claim.seal(way.spool, work, way.config) is None
    assert way.seal(work)


def test_a_failed_mix_comes_back_only_with_every_file_untouched(way):
    work, job = sealed(way)
    orphan = deliver.to_orphan(way.spool, work, StemdError("STEMD-X001", "it broke"), "everyone")
    assert {path.name for path in (orphan / "source" / "a mix").iterdir()} == set(FILES)
    kick = orphan / "source" / "a mix" / "kick.wav"
    kick.write_bytes(b"another")
    with pytest.raises(StemdError) as caught:
        deliver.retry(way.spool, orphan, job.job_uuid)
    assert caught.value.code == "STEMD-S010"
    kick.write_bytes(FILES["kick.wav"])
    again = deliver.retry(way.spool, orphan, job.job_uuid)
    assert set(Job.from_dict(json.loads(again.job.read_text())).inputs) == set(job.inputs)


def test_the_audit_misses_every_file(way):
    work, job = sealed(way)
    assert list(Auditor(way.spool, 5).violations()) == []
    (work.src / job.inputs["kick"].path).unlink()
    assert [each.invariant for each in Auditor(way.spool, 5).violations()] == ["I1"]


def test_a_source_that_changed_since_it_was_hashed_is_not_used(way):
    work, job = way.sealed()
    assert sources.unchanged(work, job.source).read_bytes()
    (work.src / job.source.path).write_bytes(b"something else")
    with pytest.raises(StemdError) as caught:
        sources.unchanged(work, job.source)
    assert caught.value.code == "STEMD-S014"


def test_one_that_was_swapped_behind_its_size_and_mtime_is_not_used_either(way):
    work, job = way.sealed()
    path = work.src / job.source.path
    facts = path.stat()
    path.write_bytes(b"x" * facts.st_size)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    with pytest.raises(StemdError) as caught:
        sources.unchanged(work, job.source)
    assert caught.value.code == "STEMD-S014"


def test_a_rename_of_ours_is_no_change(way):
    work, job = way.sealed()
    path = work.src / job.source.path
    before = path.stat().st_ctime_ns
    path.rename(work.path / "aside")
    (work.path / "aside").rename(path)
    assert path.stat().st_ctime_ns != before
    assert sources.unchanged(work, job.source) == path


def test_a_mix_takes_only_so_many_stems_and_hashes_a_file_once(way, monkeypatch):
    hashed = []
    real = sources.sha256
    monkeypatch.setattr(sources, "sha256", lambda path: hashed.append(path) or real(path))
    way.sealed(drop(way, {"engine": "mix", "inputs": ["kick.wav"] * 100}))
    assert len(hashed) == 1
    with pytest.raises(StemdError, match="128 at most"):
        way.sealed(drop(way, {"engine": "mix", "inputs": ["kick.wav"] * 129}, "more"))


def test_whatever_is_done_to_the_files_during_a_run_shows(way):
    work, job = sealed(way)
    folder = work.src / "a mix"
    before = sources.changes(work, job)
    assert sources.changes(work, job) == before
    facts = (folder / "kick.wav").stat()
    (folder / "kick.wav").rename(folder / "aside")
    (folder / "aside").rename(folder / "kick.wav")
    swapped = sources.changes(work, job)
    assert swapped != before
    (folder / "kick.wav").write_bytes(b"x" * facts.st_size)
    os.utime(folder / "kick.wav", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert sources.changes(work, job) != swapped


@pytest.mark.parametrize("name", ["nul\0.wav", "../x", "/etc/passwd", "link.wav"])
def test_what_leads_elsewhere_is_refused(way, name):
    folder = drop(way)
    (folder / "link.wav").symlink_to("kick.wav")
    with pytest.raises(StemdError):
        sources.regular_beneath(folder, name)
