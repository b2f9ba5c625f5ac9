"""``job.yaml`` and its kin."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemd.core.config import parse_job
from stemd.core.config.faults import MOST
from stemd.core.errors import StemdError
from stemd.core.job import Limits
from stemd.core.request import JobFile, OutputChange

UUID = "0192f0c1-7f4e-7d2a-9c3b-5a6e8f901234"
FULL = f"""\
schema_version: 1
job_uuid: {UUID.upper()}
user_id: ana
input: song.flac
engine: demucs
model: htdemucs
stems: 4
output: {{format: flac, bit_depth: 24, sample_rate: source}}
options: {{overlap: 0.25, anything: [1, {{x: null}}]}}
limits: {{memory: 6GiB, cpu: 2, disk: 10GiB, time: 30m}}
priority: 5
tags: {{title: Song, artist: Ana, date: 1999, track: 03}}
art: cover.jpg
retention: 30d
handoff: {{next: audio-recon, metadata: {{k: [1]}}}}
"""


def faults(text: str, name: str = "job.yaml") -> dict[str, dict[str, Any]]:
    with pytest.raises(StemdError) as caught:
        parse_job(text.encode(), name)
    assert caught.value.code == "STEMD-S010"
    return {fault["key"]: fault for fault in caught.value.detail["faults"]}


def test_everything_a_job_may_say() -> None:
    assert parse_job(FULL.encode(), "job.yaml") == JobFile(
        schema_version=1,
        job_uuid=UUID,  # type: ignore[arg-type]
        user_id="ana",
        input="song.flac",
        engine="demucs",
        model="htdemucs",
        stems=4,
        output=OutputChange("flac", "24", "source"),
        options={"overlap": 0.25, "anything": [1, {"x": None}]},
        limits=Limits(memory=6 << 30, cpu=2.0, disk=10 << 30, time=1800.0),
        priority=5,
        tags={"title": "Song", "artist": "Ana", "date": "1999", "track": "03"},
        art="cover.jpg",
        retention=2592000.0,
        handoff={"next": "audio-recon", "metadata": {"k": [1]}},
    )


def test_what_is_not_said_is_none() -> None:
    assert parse_job(b"input: a.wav", "job.yaml") == JobFile(input="a.wav")
    assert parse_job(b"output: {format: wav}", "song.mp3.job.yaml") == JobFile(output=OutputChange(format="wav"))
    assert parse_job(b"", "song.mp3.job.yaml") == JobFile()


def test_json_is_as_good() -> None:
    data = {"input": "s.flac", "tags": {"title": "Año 😀"}, "stems": ["vocals", "drums"]}
    job = parse_job(json.dumps(data, indent="\t").encode(), "folder/job.json")
    assert (job.stems, job.tags) == (("vocals", "drums"), {"title": "Año 😀"})
    assert faults('{\n "input": "a.wav",\n "prority": 1}', "job.json")["prority"]["line"] == 3


def test_inputs_of_a_mix() -> None:
    by_role = parse_job(b"inputs: {vocals: v.wav, drums: sub/d.wav}", "job.yaml").inputs
    assert dict(by_role or {}) == {"vocals": "v.wav", "drums": "sub/d.wav"}  # type: ignore[arg-type]
    assert parse_job(b"inputs: [v.wav, d.wav]", "job.yaml").inputs == ("v.wav", "d.wav")


def test_all_faults_at_once() -> None:
    found = faults(
        "schema_version: 2\njob_uuid: 17\nuser_id: ../ana\ninput: ../../etc/passwd\n"
        "modle: htdemucs\nstems: 3\noutput: {format: mp4, bit_dept: 16}\nlimits: {memory: lots, cpu: auto}\n"
        "priority: 10\ntags: {a: [x]}\nart: /cover.jpg\nretention: -1\nhandoff: {nxt: x}\n"
    )
    assert {key: fault["line"] for key, fault in found.items()} == {
        "schema_version": 1, "job_uuid": 2, "user_id": 3, "input": 4, "modle": 5, "stems": 6, "output.format": 7,
        "output.bit_dept": 7, "limits.memory": 8, "limits.cpu": 8, "priority": 9, "tags": 10, "art": 11,
        "retention": 12, "handoff.nxt": 13,
    }  # fmt: skip
    assert "did you mean model?" in found["modle"]["message"]
    assert "did you mean bit_depth?" in found["output.bit_dept"]["message"]
    assert "stem.mp4" in found["output.format"]["message"]


@pytest.mark.parametrize(
    ("text", "name", "key"),
    [
        ("engine: demucs", "job.yaml", "input"),
        ("input: a.wav\ninputs: [b.wav]", "job.yaml", "inputs"),
        ("input: other.mp3", "song.mp3.job.yaml", "input"),
        ("inputs: [a.wav]", "song.mp3.job.yaml", "inputs"),
        ("art: cover.jpg", "song.mp3.job.yaml", "art"),
        ("input: [a.wav]", "job.yaml", "input"),
        ("inputs: {vocals: ../v.wav}", "job.yaml", "inputs"),
        ("inputs: []", "job.yaml", "inputs"),
        ("- a", "job.yaml", ""),
        ("input: a: b", "job.yaml", ""),
        ("input: a.wav\npriority: true", "job.yaml", "priority"),
        (f"input: a.wav\nretention: {'9' * 400}", "job.yaml", "retention"),
        (f"input: a.wav\nlimits: {{memory: {'9' * 400}GiB}}", "job.yaml", "limits.memory"),
        ("input: a.wav\nlimits: {disk: 9300000TiB}", "job.yaml", "limits.disk"),
        (f"input: a.wav\nlimits: {{pids: {'9' * 400}}}", "job.yaml", "limits.pids"),
        ("input: a.wav\noptions: {overlap: 1e999}", "job.yaml", "options.overlap"),
    ],
)
def test_faulty_jobs(text: str, name: str, key: str) -> None:
    assert list(faults(text, name)) == [key]


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"prioritie{number}:\n" for number in range(10_000)),
        f"output: {{{', '.join(f'sample_rat{number}: 1' for number in range(9000))}}}",
        "input: a.wav\n" * 10_000,
    ],
    ids=["unknown", "unknown in a section", "twice"],
)
def test_so_many_faults_cost_nothing_and_fit_on_a_page(text: str) -> None:
    began = time.process_time()
    with pytest.raises(StemdError) as caught:
        parse_job(text.encode(), "s.job.yaml")
    assert time.process_time() - began < 3
    first, *shown, last = caught.value.message.splitlines()
    told = caught.value.detail
    assert (len(shown), len(told["faults"])) == (MOST, MOST)
    assert last == f"  and {told['more']} more" and first == f"{told['more'] + MOST} faults:"
    assert [fault["line"] for fault in told["faults"]] == sorted(fault["line"] for fault in told["faults"])
    assert len(json.dumps(caught.value.to_dict())) < 32_768


def test_what_was_meant_is_said_of_the_first_of_many() -> None:
    lines = [*(f"thing{number}: 1" for number in range(30)), "modle: x", *(f"other{number}: 1" for number in range(60))]
    assert "did you mean model?" in faults("\n".join(lines))["modle"]["message"]


def test_the_song_itself_may_be_named() -> None:
    assert parse_job(b"input: song.mp3", "song.mp3.job.yaml").input == "song.mp3"


@given(
    st.binary(max_size=200) | st.text(max_size=200).map(str.encode),
    st.sampled_from(["job.yaml", "job.json", "s.job.yaml"]),
)
def test_whatever_the_bytes_it_is_a_job_or_a_fault(data: bytes, name: str) -> None:
    try:
        assert isinstance(parse_job(data, name), JobFile)
    except StemdError as error:
        assert error.code == "STEMD-S010"
        assert error.detail["faults"]


@pytest.mark.parametrize("text", ["", "options: {preset: loud}", "engine: mix"])
def test_a_mix_may_leave_out_its_inputs(text):
    assert parse_job(text.encode(), "job.yaml").inputs is None
