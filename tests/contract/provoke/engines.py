"""E: engines, and R: resources."""

from __future__ import annotations

import json
import os
import resource
import signal
from pathlib import Path
from typing import Any

import psutil

from stemd.core.errors import StemdError
from stemd.core.job import Length, Limits, Request
from stemd.core.limits import Usage, breaches
from stemd.core.room import lacking, need
from stemd.daemon.room import disk
from stemd.engines import base, models
from stemd.spool import attempts, durable, probes
from tests.contract.provoke.bench import Bench, Seen, provokes
from tests.contract.provoke.spool import claimed
from tests.support.audio import write_wav
from tests.support.daemon import Daemon, eventually
from tests.support.spools import make_spool
from tests.support.system import in_child, no_other_oom, tiny_disk


@provokes("STEMD-E001")
def an_engine_nobody_has(bench: Bench) -> Seen:
    return bench.failed(bench.song(), {"engine": "karaokomat", "model": "one"})


@provokes("STEMD-E002")
def a_plug_in_whose_packages_are_missing(bench: Bench) -> None:
    record = bench.home / "broken-1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (record / "entry_points.txt").write_text("[stemd.engines]\nbroken = a_package_nobody_has:Engine\n")
    bench.patch.syspath_prepend(bench.home)
    base.create("broken")


@provokes("STEMD-E003")
def stems_the_model_does_not_have(bench: Bench) -> Seen:
    return bench.failed(bench.song(), {"stems": ["theremin"]})


@provokes("STEMD-E004")
def an_option_out_of_range(bench: Bench) -> Seen:
    return bench.failed(bench.song(), {"options": {"overlap": 1.5}})


def _worker(bench: Bench, job_id: str, *stages: str) -> psutil.Process:
    """The worker of a job, once the job is in one of ``stages``."""
    eventually(lambda: bench.status(job_id).get("stage") in stages, what=f"it is at {' or '.join(stages)}")

    def found() -> int | None:  # others may be there, for other models
        workers = json.loads(bench.shared().http("/health")[1])["workers"]
        return next((worker["pid"] for worker in workers if worker["job_uuid"] == job_id), None)

    return psutil.Process(eventually(found, what="its worker is known"))


@provokes("STEMD-E005")
def a_worker_that_was_killed(bench: Bench) -> Seen:
    daemon = bench.shared()

    def failed() -> dict[str, Any] | None:  # the status says so only until the next try
        return next((event for event in daemon.events("attempt_failed") if event["job_uuid"] == job), None)

    with no_other_oom():
        job = bench.drop(bench.song(seconds=30.0))
        _worker(bench, job, "loading the model", "separate").send_signal(signal.SIGKILL)
        said = eventually(failed, what="the attempt has failed")
    daemon.stemd("cancel", job)
    return Seen.of(StemdError(said["code"], said["message"]).to_dict())


@provokes("STEMD-E006")
def a_network_that_gives_no_numbers(bench: Bench) -> Seen:
    import numpy as np
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    whole = models.find("nano", Path("/nonexistent"))
    folder = bench.shared().home / "models" / "lunatic"
    folder.mkdir(parents=True)
    (folder / "lunatic.yaml").write_text("models: ['lunatic']\n")
    with safe_open(whole / "nano.safetensors", framework="numpy") as file:
        metadata = file.metadata()
    weights = {name: np.full_like(values, np.nan) for name, values in load_file(whole / "nano.safetensors").items()}
    save_file(weights, folder / "lunatic.safetensors", metadata)
    return bench.failed(bench.song(), {"model": "lunatic"})


@provokes("STEMD-E007")
def a_job_that_was_interrupted_again_and_again(bench: Bench) -> Seen:
    daemon = Daemon(bench.home / "daemon")
    probes.prepare(daemon.spool, ())
    work, _ = claimed(bench, daemon.spool)
    for _ in range(attempts.MAX_INTERRUPTIONS + 1):
        attempts.record_start(work.attempts, "demucs")
    assert daemon.once() == 1
    (report,) = daemon.failures().values()
    return Seen.of(report)


@provokes("STEMD-E008")
def a_chunk_that_changes_before_it_is_put_together(bench: Bench) -> None:
    import numpy as np

    from stemd.engines.checkpoint import ChunkStore

    store = ChunkStore(bench.home, {}, total=8, shape=(1, 2), chunk=4)
    store.open()
    store.append(np.ones((8, 1, 2), np.float32))
    (bench.home / "000001.f32").write_bytes(bytes(4 * 2 * 4))
    list(store.read())


@provokes("STEMD-R001")
def a_worker_that_may_take_no_more_memory(bench: Bench) -> Seen:
    job = bench.drop(bench.song(seconds=240.0))
    worker = _worker(bench, job, "decode", "separate")  # before the first segment: what it took stays its own
    in_use = worker.memory_info().vms
    worker.rlimit(resource.RLIMIT_AS, (in_use, in_use))
    try:
        return bench.held_up(job, "STEMD-R001")
    finally:
        worker.kill()


@provokes("STEMD-R005")
def a_job_that_may_have_little_memory(bench: Bench) -> Seen:
    return bench.held_up(bench.drop(bench.song(), {"limits": {"memory": "64MiB"}}), "STEMD-R005")


@provokes("STEMD-R002")
def a_job_with_little_time(bench: Bench) -> Seen:
    slow = {"engine": "stub", "model": "stub", "options": {"pace": 1}, "limits": {"time": "500ms"}}
    return bench.held_up(bench.drop(bench.song(seconds=30.0), slow), "STEMD-R002")


@provokes("STEMD-R003")
def a_disk_without_room(bench: Bench) -> Seen | None:
    song = bench.song(seconds=2.0)
    if os.geteuid() == 0:
        with tiny_disk(bench.home / "disk") as disk:
            return bench.stemd("submit", "-c", bench.config(make_spool(disk / "spool")), song)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        durable.write(bench.home / "copy.wav", song.read_bytes())

    in_child(limited)
    return None


@provokes("STEMD-R004")
def a_recording_longer_than_the_disk_is_large(bench: Bench) -> None:
    year = Length(365 * 86400.0, 44_100, 2)
    error = lacking(need(Request("demucs", "htdemucs", 4), year), disk(bench.home))
    assert error is not None
    raise error


@provokes("STEMD-R006")
def more_files_than_the_queue_takes(bench: Bench) -> Seen:
    slow = {"engine": "stub", "model": "stub"}
    box = {"slow": {**slow, "options": {"pace": 60}}}
    with Daemon(bench.home / "full", defaults=slow, inboxes=box, scheduling={"backlog": 1}) as daemon:
        write_wav(daemon.spool.inbox / "slow" / "first.wav", 0.3)
        eventually(lambda: list(daemon.spool.jobs()), 30, "the first is taken")
        second = write_wav(daemon.spool.inbox / "second.wav", 0.3)

        def why() -> Any:
            said = daemon.ask("why", str(second))
            return said if said.get("code") == "STEMD-R006" else None

        said = eventually(why, 30, "why says so")
    return Seen(said["code"], said["reason"], said["remedy"])


@provokes("STEMD-R007")
def a_job_that_takes_more_of_the_disk_than_it_may(bench: Bench) -> None:
    (breach,) = breaches(Limits(disk=1 << 20), Usage(disk=3 << 20), 1.0)
    assert breach.error is not None
    raise breach.error


@provokes("STEMD-R008")
def a_job_that_starts_more_than_it_may(bench: Bench) -> None:
    (breach,) = breaches(Limits(pids=4), Usage(tasks=5), 1.0)
    assert breach.error is not None
    raise breach.error


@provokes("STEMD-E009")
def an_engine_whose_environment_was_not_made(bench: Bench) -> Seen:
    return bench.held_up(bench.drop(bench.song(), {"engine": "spleeter", "model": "2stems", "stems": 2}), "STEMD-E009")
