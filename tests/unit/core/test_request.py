"""defaults < inbox < job, limits only lower, and whose job it is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemd.core.config import Config
from stemd.core.errors import StemdError
from stemd.core.job import JobId, Limits, Output, Request
from stemd.core.request import JobFile, OutputChange, resolve, user_for


def config(**sections: Any) -> Config:
    return Config.model_validate({"spool": "/s", **sections})


INBOXES = {
    "karaoke": {"engine": "spleeter", "model": "2stems", "stems": 2, "options": {"mwf": True}},
    "mixes": {"engine": "mix"},
    "six": {"model": "htdemucs_6s"},
    "drums": {"stems": ["drums"]},
    "plug": {"engine": "plug"},
}


@pytest.mark.parametrize(
    ("inbox", "job", "expected"),
    [
        (None, {}, ("demucs", "htdemucs", 4)),
        ("ana", {}, ("demucs", "htdemucs", 4)),
        ("karaoke", {}, ("spleeter", "2stems", 2)),
        ("mixes", {}, ("mix", "mix", ())),
        ("six", {}, ("demucs", "htdemucs_6s", ())),
        ("six", {"stems": 6}, ("demucs", "htdemucs_6s", 6)),
        ("drums", {}, ("demucs", "htdemucs", ("drums",))),
        (None, {"model": "nano"}, ("demucs", "nano", ())),
        (None, {"model": "htdemucs"}, ("demucs", "htdemucs", 4)),
        ("drums", {"model": "mdx"}, ("demucs", "mdx", ())),
        (None, {"engine": "spleeter"}, ("spleeter", "4stems", 4)),
        ("karaoke", {"engine": "demucs"}, ("demucs", "htdemucs", 4)),
        ("karaoke", {"model": "5stems"}, ("spleeter", "5stems", ())),
        ("plug", {"model": "m"}, ("plug", "m", ())),
        (None, {"stems": ("vocals",)}, ("demucs", "htdemucs", ("vocals",))),
    ],
)
def test_model_and_stems_belong_to_their_engine(
    inbox: str | None, job: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    request = resolve(config(inboxes=INBOXES), inbox, JobFile(**job))
    assert (request.engine, request.model, request.stems) == expected


def test_defaults_of_another_engine() -> None:
    settings = config(defaults={"engine": "spleeter"})
    assert resolve(settings, None).model == "4stems"
    assert resolve(settings, None, JobFile(engine="demucs")).model == "htdemucs"


def test_a_plug_in_must_name_its_model() -> None:
    with pytest.raises(StemdError, match="name one") as caught:
        resolve(config(inboxes=INBOXES), "plug")
    assert caught.value.code == "STEMD-S010"


def test_options_merge_within_one_engine() -> None:
    settings = config(
        inboxes={"m": {"engine": "mix", "options": {"preset": "loud", "master": {"width": 1.1, "eq": [1]}}}}
    )
    job = JobFile(options={"master": {"width": 1.2}})
    assert resolve(settings, "m", job).options == {"preset": "loud", "master": {"width": 1.2, "eq": [1]}}
    assert resolve(settings, "m", JobFile(engine="demucs")).options == {}


def test_what_an_inbox_switches_off_a_job_switches_on() -> None:
    off = {"masking": {"enabled": False, "max_db": 9}, "spatial": None, "master": {"limiter": {"enabled": False}}}
    settings = config(inboxes={"m": {"engine": "mix", "options": off}})

    def options(**job: Any) -> Any:
        return resolve(settings, "m", JobFile(options=job)).options

    assert options() == off
    assert options(masking={"max_db": 6})["masking"] == {"max_db": 6}
    assert options(masking=True)["masking"] == {"max_db": 9}
    assert options(masking={"enabled": False})["masking"] == off["masking"]
    assert options(spatial={})["spatial"] == {}
    assert options(master={"width": 1.2})["master"] == {"limiter": {"enabled": False}, "width": 1.2}
    assert options(master={"limiter": {}})["master"] == {"limiter": {}}


def test_the_rest_is_layered_key_by_key() -> None:
    settings = config(
        defaults={"output": {"format": "wav", "bit_depth": 24, "mode": "0660", "group": "studio"}, "source": "delete"},
        inboxes={"i": {"output": {"bit_depth": 16, "group": "band"}, "priority": 2, "source": "keep"}},
    )
    job = JobFile(output=OutputChange(sample_rate=48000), tags={"title": "x"}, art="c.jpg", handoff={"next": "n"})
    request = resolve(settings, "i", job)
    assert request.output == Output("wav", "16", 48000)
    assert (request.mode, request.group, request.priority, request.keep_source) == (0o660, "band", 2, True)
    assert (request.tags, request.art, request.handoff) == ({"title": "x"}, "c.jpg", {"next": "n"})
    assert resolve(settings, "i", JobFile(priority=0)).priority == 0
    assert resolve(settings, None).keep_source is False
    assert Request.from_dict(request.to_dict()) == request


levels = st.none() | st.integers(1, 10**11)


@given(levels, levels, levels)
def test_limits_and_retention_only_fall(operator: int | None, inbox: int | None, job: int | None) -> None:
    settings = config(
        engines={"demucs": {"limits": {"memory": operator, "time": operator}}},
        retention={"outbox": operator},
        inboxes={"i": {"limits": {"memory": inbox, "time": inbox}, "retention": inbox}},
    )
    request = resolve(settings, "i", JobFile(limits=Limits(memory=job, time=job), retention=job))
    lowest = min((each for each in (operator, inbox, job) if each is not None), default=None)
    assert (request.limits.memory, request.limits.time, request.retention) == (lowest, lowest, lowest)


def test_auto_cores_are_no_limit_until_someone_sets_one() -> None:
    assert resolve(config(), None).limits.cpu is None
    assert resolve(config(), None, JobFile(limits=Limits(cpu=2.0))).limits.cpu == 2.0
    assert (
        resolve(config(engines={"demucs": {"limits": {"cpu": 1}}}), None, JobFile(limits=Limits(cpu=2.0))).limits.cpu
        == 1
    )


PEOPLE = {
    "users": {"ana": {}, "ben": {}},
    "inboxes": {"karaoke": {"user": "ana"}, "stager": {"trust": "manifest"}, "mixes": {}},
}


@pytest.mark.parametrize(
    ("inbox", "owner"),
    [(None, "everyone"), ("ana", "ana"), ("karaoke", "ana"), ("mixes", "everyone"), ("album", "everyone")],
)
def test_whose_job_it_is(inbox: str | None, owner: str) -> None:
    settings = config(**PEOPLE)
    assert user_for(settings, inbox) == owner
    assert user_for(settings, inbox, JobFile(user_id=owner)) == owner
    with pytest.raises(StemdError, match="ben") as caught:
        user_for(settings, inbox, JobFile(user_id="ben"))
    assert caught.value.code == "STEMD-P001"


def test_a_trusted_manifest_is_believed_and_must_be_complete() -> None:
    settings = config(**PEOPLE)
    uuid = JobId("0192f0c1-7f4e-7d2a-9c3b-5a6e8f901234")
    assert user_for(settings, "stager", JobFile(job_uuid=uuid, user_id="cleo")) == "cleo"
    for job in (None, JobFile(), JobFile(user_id="cleo"), JobFile(job_uuid=uuid)):
        with pytest.raises(StemdError, match=r"job_uuid|user_id") as caught:
            user_for(settings, "stager", job)
        assert caught.value.code == "STEMD-S010"


@pytest.mark.parametrize(
    ("defaults", "engine", "job", "expected"),
    [
        ({}, "mix", {}, Output("wav", "24")),
        ({"output": {"format": "mp3", "bit_depth": "16"}}, "mix", {}, Output("wav", "24")),
        ({"engine": "mix", "output": {"format": "flac", "bit_depth": "16"}}, "mix", {}, Output("flac", "16")),
        ({}, "mix", {"output": OutputChange(format="flac")}, Output("flac", "24")),
        ({"output": {"format": "mp3"}}, "demucs", {}, Output("mp3", "24")),
    ],
)
def test_a_mix_is_not_written_as_stems_are(
    defaults: dict[str, Any], engine: str, job: dict[str, Any], expected: Output
) -> None:
    assert resolve(config(defaults=defaults), None, JobFile(engine=engine, **job)).output == expected


def test_where_stems_go_next() -> None:
    settings = config(
        inboxes={**INBOXES, "both": {"next": "mixes"}, "other": {"next": "mixes", "engine": "mix"}},
        defaults={"next": "mixes"},
    )
    assert resolve(settings, "both").next == "mixes"
    assert resolve(settings, None).next == "mixes"
    assert resolve(settings, None, JobFile(engine="mix")).next is None
    assert resolve(settings, "other").next is None


def test_the_files_owner_counts_where_the_inbox_is_nobodys():
    settings = config(users={"ana": {}, "ben": {}}, inboxes={"his": {"user": "ben"}, "stager": {"trust": "manifest"}})
    assert [user_for(settings, inbox, None, "ana") for inbox in (None, "his", "ben")] == ["ana", "ben", "ben"]
    assert user_for(settings, None, JobFile(user_id="ana"), "ana") == "ana"
    with pytest.raises(StemdError, match="what it came in belongs to 'ana'") as refused:
        user_for(settings, None, JobFile(user_id="ben"), "ana")
    assert refused.value.code == "STEMD-P001"
    uuid = JobId("0192f0c1-7f4e-7d2a-9c3b-5a6e8f901234")
    assert user_for(settings, "stager", JobFile(job_uuid=uuid, user_id="ben"), "ana") == "ben"
