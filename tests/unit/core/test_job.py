"""Job words: ids, states, names, and the form in job.json."""

from __future__ import annotations

import json
import os
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemd.core.errors import TABLE, StemdError
from stemd.core.job import (
    TRANSITIONS,
    IllegalTransitionError,
    Job,
    JobState,
    Limits,
    Output,
    Request,
    Source,
    advance,
    decode_name,
    encode_name,
    new_job_id,
    printable,
)


@given(st.binary(min_size=1, max_size=60))
def test_any_name_of_the_file_system_survives_json(raw: bytes) -> None:
    name = os.fsdecode(raw)
    assert os.fsencode(decode_name(json.loads(json.dumps(encode_name(name))))) == raw
    assert printable(name).isprintable()


def test_ids_are_uuid_7_and_sort_by_time() -> None:
    first, later = uuid.UUID(new_job_id()), uuid.UUID(new_job_id())
    assert (first.version, first.variant) == (7, uuid.RFC_4122)
    assert first.int >> 80 <= later.int >> 80
    assert first != later


@pytest.mark.parametrize("state", JobState)
def test_only_the_legal_steps(state: JobState) -> None:
    assert advance(state, state) is state
    for to in JobState:
        if to in TRANSITIONS[state]:
            assert advance(state, to) is to
        elif to is not state:
            with pytest.raises(IllegalTransitionError):
                advance(state, to)


def test_a_job_survives_job_json() -> None:
    request = Request("demucs", "nano", ("vocals",), Output("wav", "32f"), {"shifts": 1}, Limits(memory=1, time=2.5))
    source = Source("a\udcff.mp3", "src/a\udcff.mp3", "00" * 32, 7, 1_700_000_000_000_000_001)
    job = Job(new_job_id(), "ana", "", "Año", source, request, 1.5, epoch=2, compliance={"region": "NO"})
    assert Job.from_dict(json.loads(json.dumps(job.to_dict()))) == job


@pytest.mark.parametrize("code", TABLE)
def test_every_error_survives_error_json(code: str) -> None:
    error = StemdError(code, "here", detail={"n": 1})
    again = StemdError.from_dict(json.loads(json.dumps(error.to_dict())))
    assert (again.code, again.message, again.remedy, again.detail) == (code, "here", error.remedy, {"n": 1})
    assert error.spec.summary.endswith(".")
    assert error.spec.remedy
