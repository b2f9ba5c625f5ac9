"""Which job goes first, where it can go, and what keeps it from going anywhere."""

from dataclasses import replace

import pytest

from stemd.core.config import load
from stemd.core.fairness import Waiting
from stemd.core.job import Job, JobId, Length, Request, Source
from stemd.daemon import placement
from stemd.daemon.live import Live
from stemd.worker.setup import Setup


def config(tmp_path, **settings):
    flags = {key.replace("__", "."): value for key, value in settings.items()}
    return load(None, {"spool": str(tmp_path), "paths.models": str(tmp_path / "models"), **flags}, {}).config


def live(spool, priority, claimed_at, name="j"):
    request = Request("demucs", "nano", 4, priority=priority)
    job = Job(JobId(name), "everyone", "", name, Source("s", "s", "0", 1, 0), request, claimed_at)
    return Live(spool, spool.job(name), "everyone", job, claimed_at=claimed_at)


def test_a_queued_job_as_the_scheduler_sees_it(spool):
    short = live(spool, 3, 50.0)
    assert placement.waiting(short) == Waiting("j", "everyone", 3, 50.0, 60.0)
    short.job = replace(short.job, source=replace(short.job.source, length=Length(200.0, 44_100, 2)))
    assert placement.waiting(short).cost == 200.0


def test_a_setup_is_the_engine_with_model_store_and_device(tmp_path):
    settings = config(tmp_path, engines__demucs__device="cpu")
    request = Request("demucs", "nano", 4)
    assert placement.setup_for(request, settings) == Setup(
        "demucs", "nano", str(tmp_path / "models"), "cpu", tuning=str(settings.tuning)
    )


@pytest.mark.parametrize(
    ("engine", "model", "code"),
    [
        ("demucs", "nano", None),
        ("demucs", "htdemucs", "STEMD-M001"),
        ("demucs", "htdemux", "STEMD-M002"),
        ("demucs", "../etc", "STEMD-M002"),
        ("karaokomat", "one", "STEMD-E001"),
    ],
)
def test_what_is_missing_is_known_before_a_worker_is_started(tmp_path, engine, model, code):
    error = placement.missing(Request(engine, model, 4), config(tmp_path))
    assert (error.code if error else None) == code


def test_a_model_that_arrives_is_not_missing_any_more(tmp_path):
    settings = config(tmp_path)
    folder = tmp_path / "models" / "mine"
    assert placement.missing(Request("demucs", "mine", 4), settings) is not None
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("models: ['mine']\n")
    (folder / "mine.safetensors").write_bytes(b"weights")
    assert placement.missing(Request("demucs", "mine", 4), settings) is None


def test_the_worker_of_an_engine_s_default_model(tmp_path):
    settings = config(tmp_path, defaults__model="nano")
    expected = placement.setup_for(Request("demucs", "nano", 4), settings)
    assert placement.default_setup(settings, "demucs") == expected
    assert placement.default_setup(config(tmp_path), "demucs") is None, "htdemucs is not in the store"
    assert placement.default_setup(settings, "karaokomat") is None, "nobody knows a model of it"
    named = config(tmp_path, inboxes__wide__engine="stub", inboxes__wide__model="stub")
    assert placement.default_setup(named, "stub").model == "stub"


def test_who_ran_out_of_memory_twice_gets_another_device(tmp_path):
    settings, request = config(tmp_path, engines__demucs__device="cuda"), Request("demucs", "nano", 4)
    assert [placement.setup_for(request, settings, ooms).device for ooms in (0, 1, 2, 3)] == [
        "cuda", "cuda", "cpu", "cpu",
    ]  # fmt: skip
