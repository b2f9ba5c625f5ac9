"""Which job goes first, where it can go, and what keeps it from going anywhere."""

import os
from dataclasses import replace

import pytest

from stemd.core.config import load
from stemd.core.fairness import Waiting
from stemd.core.job import Job, JobId, Length, Request, Source
from stemd.daemon import placement
from stemd.daemon.live import Live
from stemd.worker.setup import Setup

CORES = len(os.sched_getaffinity(0))


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


def test_how_many_of_a_user_s_jobs_may_run(tmp_path):
    settings = config(tmp_path, users__ana__quota="small", users__ben__role="user", quotas__small__running=2)
    assert [placement.most_running(settings, user) for user in ("ana", "ben", "cem")] == [2, None, None]


def test_a_setup_is_the_engine_with_model_store_and_device(tmp_path):
    settings = config(tmp_path, engines__demucs__device="cpu")
    request = Request("demucs", "nano", 4)
    assert placement.setup_for(request, settings) == Setup("demucs", "nano", str(tmp_path / "models"), "cpu")


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


def test_workers_share_the_cores(tmp_path):
    assert placement.threads(config(tmp_path), "demucs") == CORES
    two = config(tmp_path, engines__demucs__workers__max=2)
    assert placement.max_workers(two, "demucs") == 2
    assert placement.threads(two, "demucs") == max(1, CORES // 2)
    many = config(tmp_path, engines__demucs__workers__max=100)
    assert placement.threads(many, "demucs") == 1
    limited = config(tmp_path, engines__demucs__limits__cpu=1)
    assert placement.threads(limited, "demucs") == 1


def test_who_ran_out_of_memory_twice_gets_another_device(tmp_path):
    settings, request = config(tmp_path, engines__demucs__device="cuda"), Request("demucs", "nano", 4)
    assert [placement.setup_for(request, settings, ooms).device for ooms in (0, 1, 2, 3)] == [
        "cuda", "cuda", "cpu", "cpu",
    ]  # fmt: skip
