"""Quotas: who is let in, who waits, who is refused."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stemd.core.access import by_uid
from stemd.core.config import Config
from stemd.core.config.people import Quota
from stemd.core.job import Job, JobId, Length, Limits, Request, Source
from stemd.core.policy import REMEDIES, Admit, Defer, Refuse, Usage, admit, turn
from stemd.core.request import JobFile, resolve

GIB = 2**30


def config(user="ana", **quota):
    return Config.model_validate({"spool": "/s", "users": {user: {"quota": "q"}}, "quotas": {"q": quota}})


def job(seconds):
    length = None if seconds is None else Length(seconds, 44_100, 2)
    source = Source("song.wav", "song.wav", "0" * 64, 1, 1, length)
    return Job(
        JobId("0192f0c1-7f4e-7d2a-9c3b-5a6e8f901234"), "ana", "", "song", source, Request("stub", "stub", 4), 0.0
    )


def test_who_has_no_quota_may_have_anything():
    assert admit("ben", job(1e9), Usage(9, 9, 9, 9e9, 9e9, 9 << 60), config(waiting=1)) == Admit()
    assert turn("ben", Request("stub", "stub", 4), Usage(9, 9, 9), config(running=1)) is None


@pytest.mark.parametrize(
    ("quota", "usage", "seconds", "stopped_by"),
    [
        ({"waiting": 2}, Usage(waiting=2), None, "waiting"),
        ({"waiting": 2}, Usage(waiting=1), None, None),
        ({"waiting": 2}, Usage(waiting=2), 60, None),  # it has been claimed: it may start
        ({"audio_per_day": "10m"}, Usage(audio=600), None, "audio_per_day"),
        ({"audio_per_day": "10m"}, Usage(audio=599), None, None),
        ({"audio_per_day": "10m"}, Usage(audio=500), 101, "audio_per_day"),
        ({"audio_per_day": "10m"}, Usage(audio=500), 100, None),
        ({"cpu_per_day": "1h"}, Usage(cpu=3600), 1, "cpu_per_day"),
        ({"cpu_per_day": "1h"}, Usage(cpu=3599), 1, None),
        ({"outbox": "1GiB"}, Usage(outbox=GIB), None, "outbox"),
        ({"outbox": "1GiB"}, Usage(outbox=None), None, None),  # not counted yet
        ({"outbox": "1GiB"}, Usage(outbox=GIB), 1, "outbox"),
    ],
)
@pytest.mark.parametrize("over", ["defer", "refuse"])
def test_what_a_quota_stops(quota, usage, seconds, stopped_by, over):
    verdict = admit("ana", None if seconds is None else job(seconds), usage, config(**quota, over=over))
    if stopped_by is None:
        assert verdict == Admit()
        return
    assert isinstance(verdict, Defer if over == "defer" else Refuse)
    error = verdict.error
    assert (error.code, error.detail["quota"]) == ("STEMD-P005", stopped_by)
    assert stopped_by in error.message
    assert ("stemd retry" in error.remedy) is (over == "refuse")


@pytest.mark.parametrize("over", ["defer", "refuse"])
def test_a_job_longer_than_the_whole_quota_never_waits(over):
    verdict = admit("ana", job(601), Usage(), config(audio_per_day="10m", over=over))
    assert isinstance(verdict, Refuse)
    assert verdict.error.code == "STEMD-P006"
    assert admit("ana", job(600), Usage(), config(audio_per_day="10m")) == Admit()


@given(
    st.lists(st.floats(1, 700), max_size=30),
    st.fixed_dictionaries({"audio_per_day": st.integers(1, 1000), "over": st.sampled_from(["defer", "refuse"])}),
)
def test_however_long_the_recordings_no_more_than_the_quota_is_let_through(lengths, quota):
    settings = config(**quota)
    had = 0.0
    for seconds in lengths:
        if admit("ana", job(seconds), Usage(audio=had), settings) == Admit():
            had += seconds
    assert had <= quota["audio_per_day"]


def test_running_and_memory_only_make_a_job_wait_for_its_turn():
    request = Request("stub", "stub", 4, limits=Limits(memory=4 * GIB))
    assert "2 running" in turn("ana", request, Usage(running=2), config(running=2))
    assert turn("ana", request, Usage(running=1), config(running=2)) is None
    memory = config(memory="12GiB")
    assert turn("ana", request, Usage(running=2, memory=8 * GIB), memory) is None
    assert "12 GiB" in turn("ana", request, Usage(running=2, memory=9 * GIB), memory)
    assert turn("ana", Request("stub", "stub", 4), Usage(running=1, memory=1), memory), (
        "without a limit it may take all"
    )
    assert turn("ana", Request("stub", "stub", 4), Usage(), memory) is None, "one always may"
    assert admit("ana", job(1), Usage(running=9, memory=99 * GIB), config(running=1, memory="1GiB")) == Admit()


def test_the_quota_of_those_who_have_none():
    users = {"ana": {"quota": "large"}, "ben": {}}
    quotas = {"large": {"running": 9}, "small": {"running": 1}}
    settings = Config.model_validate({"spool": "/s", "users": users, "quotas": quotas, "defaults": {"quota": "small"}})
    assert [settings.quota_of(user).running for user in ("ana", "ben", "everyone")] == [9, 1, 1]
    with pytest.raises(ValueError, match="extra"):
        Config.model_validate({"spool": "/s", "quotas": {"q": {"runing": 1}}})


def test_limits_are_lowered_to_the_quotas():
    settings = config(memory="2GiB", limits={"time": "10m", "memory": "3GiB"})
    asked = JobFile(limits=Limits(memory=8 * GIB, time=60))
    assert resolve(settings, None, asked, "ana").limits.memory == 2 * GIB
    assert resolve(settings, None, asked, "ana").limits.time == 60
    assert resolve(settings, None, None, "ana").limits.time == 600
    assert resolve(settings, None, asked, "ben").limits.memory == resolve(settings, None, asked).limits.memory > 2 * GIB


@pytest.mark.parametrize(
    ("asked", "given_by_inbox", "best", "priority"),
    [
        (0, None, None, 0),
        (0, None, 3, 3),
        (4, None, 3, 4),
        (9, None, 3, 9),
        (None, None, 7, 5),  # who asks for nothing gets what everyone gets
        (5, None, 7, 5),
        (4, None, 7, 5),
        (0, 1, 7, 1),  # the inbox gives that by itself
        (None, 1, 7, 1),
    ],
)
def test_a_better_priority_than_allowed_becomes_the_best_allowed(asked, given_by_inbox, best, priority):
    tree = {
        "spool": "/s", "users": {"ana": {"quota": "q"}}, "quotas": {"q": {"priority": best}},
        "inboxes": {"box": {"priority": given_by_inbox}},
    }  # fmt: skip
    assert resolve(Config.model_validate(tree), "box", JobFile(priority=asked), "ana").priority == priority


def test_each_quota_that_stops_has_a_remedy():
    assert set(REMEDIES) == {"waiting", "audio_per_day", "cpu_per_day", "outbox"}


def test_the_example_of_the_documentation_is_a_configuration_and_means_what_it_says():
    text = (Path(__file__).parents[3] / "docs" / "people.md").read_text()
    example = yaml.safe_load(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1])
    settings = Config.model_validate({"spool": "/s", **example})
    assert [settings.quota_of(user).running for user in ("ana", "ben", "ola", "everyone")] == [2, 1, 1, 1]
    assert [by_uid(settings, uid, 999).role for uid in (1001, 1003)] == ["user", "operator"]
    assert set(Quota.model_fields) <= set(re.findall(r"\w+", text)), "every key of a quota is explained"
