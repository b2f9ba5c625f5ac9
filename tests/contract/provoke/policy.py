"""P: policy, and X: our bugs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stemd.core.config import load
from stemd.daemon import control
from stemd.spool.layout import Spool
from tests.contract.provoke.bench import Bench, Seen, provokes
from tests.support.daemon import eventually
from tests.support.system import NOBODY, in_child


@provokes("STEMD-P001")
def a_job_in_somebody_elses_name(bench: Bench) -> Seen:
    return bench.failed(bench.song(), {"user_id": "ana"})


@provokes("STEMD-P004")
def a_model_the_user_may_not_use(bench: Bench) -> Seen:
    """In a spool of its own: ``stemd run --once`` with a user who may only use htdemucs."""
    spool = bench.spool()
    config = bench.config(spool, users={"ana": {"models": ["htdemucs"]}})
    (spool.inbox / "ana").mkdir()
    bench.song().rename(spool.inbox / "ana" / "song.wav")
    assert subprocess.run([sys.executable, "-m", "stemd", "run", "--once", "-c", config], check=False).returncode == 1
    (report,) = spool.orphan.glob("ana/*/error.json")
    return Seen.of(json.loads(report.read_text()))


@provokes("STEMD-P005")
def a_quota_that_is_used_up(bench: Bench) -> Seen:
    spool = bench.spool()
    quotas = {"none": {"cpu_per_day": "0s", "over": "refuse"}}
    config = bench.config(spool, defaults={"engine": "stub", "quota": "none"}, quotas=quotas)
    return _refused(bench, spool, config)


@provokes("STEMD-P006")
def a_recording_longer_than_a_whole_quota(bench: Bench) -> Seen:
    spool = bench.spool()
    quotas = {"short": {"audio_per_day": "100ms"}}
    return _refused(bench, spool, bench.config(spool, defaults={"engine": "stub", "quota": "short"}, quotas=quotas))


def _refused(bench: Bench, spool: Spool, config: Path) -> Seen:
    bench.song().rename(spool.inbox / "song.wav")
    assert subprocess.run([sys.executable, "-m", "stemd", "run", "--once", "-c", config], check=False).returncode == 1
    (report,) = spool.orphan.glob("*/*/error.json")
    return Seen.of(json.loads(report.read_text()))


@provokes("STEMD-P002")
def a_job_that_was_cancelled(bench: Bench) -> Seen:
    job = bench.drop(bench.song(), {"model": "htdemucs"})
    daemon = bench.shared()
    eventually(lambda: bench.status(job).get("state") == "deferred", 30, "it waits")
    assert bench.invoke("cancel", "-c", daemon.config, job).exit_code == 0
    return Seen.of(bench.status(job)["reason"])


@provokes("STEMD-P003")
def a_stranger_at_the_control_socket(bench: Bench) -> None:
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    daemon = bench.shared()
    config = load(daemon.config).config
    socket = control.socket_path(config)
    # as if the stranger were in the service's group
    socket.parent.chmod(0o755)
    socket.chmod(0o666)
    in_child(lambda: control.request(config, {"op": "drain"}), uid=NOBODY)


@provokes("STEMD-X001")
def a_word_the_daemon_does_not_know(bench: Bench) -> None:
    control.request(load(bench.shared().config).config, {"op": "dance"})
