"""The files that explain a result: complete, in JSON every program can read, and safe to show."""

import json
import os
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemd import __version__
from stemd.core.errors import StemdError
from stemd.core.job import new_job_id
from stemd.spool import claim, deliver, sidecar
from tests.unit.spool.conftest import measured

#: CONTRACT §3.
_MANIFEST = {
    "schema_version", "job_uuid", "user_id", "state", "source", "engine", "model", "settings", "gain_db", "files",
    "attempts", "chunks", "timings", "resources", "handoff", "compliance",
}  # fmt: skip
_TAGS = {
    "job_uuid", "user_id", "stem", "engine", "engine_version", "model", "model_sha256", "settings", "source",
    "created_at", "compliance",
}  # fmt: skip
FILE = {"name": "vocals.flac", "stem": "vocals", "sha256": "ab", "bytes": 3}


def test_times_are_rfc_3339_in_utc():
    assert sidecar.iso(0) == "1970-01-01T00:00:00.000Z"
    assert sidecar.iso(1_700_000_000.5) == "2023-11-14T22:13:20.500Z"
    assert sidecar.iso(1e12) == sidecar.iso(float("inf")) == "9999-12-31T23:59:59.000Z"


@given(st.floats(0, 2**33))
def test_times_sort_as_text(seconds):
    assert sidecar.iso(seconds) <= sidecar.iso(seconds + 1)


def test_a_manifest_has_what_the_contract_promises(way):
    way.configure(compliance__purpose="stem production", compliance__region="EU")
    _, job = way.sealed()
    document = sidecar.manifest(job, measured([FILE]))
    assert document.keys() >= _MANIFEST
    assert document["source"].keys() >= {"name", "sha256", "frames", "sample_rate", "channels", "format"}
    assert document["source"]["sha256"] == job.source.sha256
    assert document["compliance"].keys() >= {"retention_until", "erasable", "purpose", "region"}
    assert (document["compliance"]["purpose"], document["compliance"]["region"]) == ("stem production", "EU")
    assert json.loads(json.dumps(document)) == document


def test_retention_counts_from_the_end_however_long_a_job_waited(way):
    way.configure(retention__outbox="1d")
    _, job = way.sealed()
    job = replace(job, claimed_at=job.claimed_at - 7 * 86_400)
    document = sidecar.manifest(job, measured([FILE]))
    term = datetime.fromisoformat(document["compliance"]["retention_until"]) - datetime.fromisoformat(
        document["created_at"]
    )
    assert term == timedelta(days=1)
    assert sidecar.tags(document, FILE, {})["compliance"] == document["compliance"]
    way.configure(retention__outbox=None)
    assert sidecar.compliance(job, 0.0)["retention_until"] is not None, "a job keeps the term it was accepted with"


def test_a_source_name_that_is_no_text_is_in_base64(way):
    _, job = way.sealed(way.drop(os.fsdecode(b"\xff.wav")))
    assert sidecar.manifest(job, measured([]))["source"]["name"] == {"base64": "/y53YXY="}


def test_a_tag_sidecar_says_whose_stem_it_is(way):
    _, job = way.sealed()
    document = sidecar.manifest(job, measured([FILE]))
    tags = sidecar.tags(document, FILE, {"TITLE": "Song"})
    assert tags.keys() >= _TAGS
    assert (tags["stem"], tags["tags"], tags["job_uuid"]) == ("vocals", {"TITLE": "Song"}, job.job_uuid)
    assert tags["source"] == {"name": "song.wav", "sha256": job.source.sha256}


def test_every_stem_is_stamped(way):
    _, job = way.sealed()
    assert sidecar.stamp(job, "nano", 0.0) == {
        "STEMD_JOB_UUID": job.job_uuid,
        "STEMD_USER_ID": "everyone",
        "STEMD_ENGINE": "demucs",
        "STEMD_MODEL": "nano",
        "STEMD_RETENTION_UNTIL": sidecar.iso(30 * 86_400),
        "STEMD_ERASABLE": "yes",
        "STEMD_LEGAL_HOLD": "no",
    }


def test_operator_inbox_user_and_job_set_the_marks_and_a_job_only_shortens(way):
    way.configure(
        compliance={"purpose": "stems", "region": "EU"},
        inboxes={"studio": {"user": "ana", "compliance": {"purpose": "mixing"}, "retention": "3d"}},
        users={"ana": {"compliance": {"region": "DE", "legal_hold": True}, "retention": "2d"}},
    )
    (way.spool.inbox / "studio").mkdir()
    for name, asked, days in (("short", "1d", 1), ("long", "90d", 2)):
        folder = way.drop_staged(f"input: song.wav\nretention: {asked}\n", f"studio/{name}")
        _, job = way.seal(claim.claim(way.spool, way.candidate(folder, "studio"), new_job_id()))
        until = sidecar.iso(days * 86_400)
        marks = {"purpose": "mixing", "region": "DE", "erasable": True, "legal_hold": True, "retention_until": until}
        assert sidecar.compliance(job, 0.0) == marks
        assert sidecar.compliance_of_failure(job, 0.0)["retention_until"] == until
        assert sidecar.stamp(job, "nano", 0.0).items() >= {
            "STEMD_PURPOSE": "mixing", "STEMD_REGION": "DE", "STEMD_LEGAL_HOLD": "yes", "STEMD_RETENTION_UNTIL": until,
        }.items()  # fmt: skip


def test_the_places_remedy_wins_over_the_tables():
    error = StemdError("STEMD-M001", "htdemucs is not here", remedy="Run this.")
    report = sidecar.error_report({"job_uuid": "u", "user_id": "ana", "source": {"name": "a.wav"}}, error, [], [])
    assert (report["remedy"], report["retryable"], report["versions"]) == ("Run this.", True, {"stemd": __version__})
    assert "Run this." in sidecar.error_text(report, "a.wav")


@given(st.text())
def test_no_name_breaks_the_text_for_people(name):
    report = sidecar.error_report({"job_uuid": "u", "user_id": "a", "source": {}}, StemdError("STEMD-A001"), [], [])
    first = sidecar.error_text(report, name).split("\n")[0]
    assert first.endswith("could not be processed.")
    assert first.isprintable()


def test_a_status_is_replaced_whole_and_read_back(spool):
    sidecar.write_status(spool, "u", {"state": "running", "progress": 0.5})
    sidecar.write_status(spool, "u", {"state": "done", "progress": 1.0})
    status = sidecar.read_status(spool.status_file("u"))
    assert (status["job_uuid"], status["state"], status["schema_version"]) == ("u", "done", 1)
    assert status["updated_at"].endswith("Z")
    assert [path.name for path in spool.status.iterdir()] == ["u.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_torn_status_is_none(spool, content):
    spool.status_file("u").write_bytes(content)
    assert sidecar.read_status(spool.status_file("u")) is None
    assert sidecar.read_status(spool.status_file("absent")) is None


def test_a_failed_job_is_found_while_other_folders_of_orphan_go(way, monkeypatch, tmp_path):
    """An erasure deletes them on a thread."""
    work, job = way.sealed()
    orphan = deliver.to_orphan(way.spool, work, StemdError("STEMD-A001"), job.user_id)
    for name in ("ana", "zoe"):
        (way.spool.orphan / name / "gone").mkdir(parents=True)
    (way.spool.orphan / "a file").write_text("of somebody's")
    listed = os.scandir, os.listdir

    def goes(real, folder):
        if Path(folder).name in {"ana", "zoe"}:
            Path(folder).rename(tmp_path / Path(folder).name)
        return real(folder)

    monkeypatch.setattr(os, "scandir", partial(goes, listed[0]))
    monkeypatch.setattr(os, "listdir", partial(goes, listed[1]))
    assert sidecar.find_orphan(way.spool, job.job_uuid) == orphan
    assert not (way.spool.orphan / "zoe").exists()
