"""``status``, ``list`` and ``watch`` with the daemon stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from stemd.cli.status import details
from stemd.core.job import new_job_id
from stemd.ops.jobs import JobView
from stemd.spool import probes, sidecar
from tests.support.spools import make_spool


def test_an_idle_spool(site):
    result = site.run("status")
    assert result.exit_code == 0
    assert "no daemon is running" in result.stdout
    assert "no jobs" in result.stdout
    assert site.json("status") == {
        "schema_version": 1,
        "spools": [{"path": str(site.spool.root), "owner": None}],
        "counts": {},
        "jobs": [],
        "scaling": None,
    }


def test_the_owner_of_the_spool_is_shown(site):
    descriptor = probes.take_lock(site.spool)
    try:
        assert f"process {os.getpid()}" in site.run("status").stdout
    finally:
        os.close(descriptor)


def test_counts_and_unfinished_jobs(site):
    site.orphan()
    site.claimed("b.wav")
    result = site.run("status")
    assert "1 waiting, 1 failed" in result.stdout
    assert "STEMD-S017" in result.stdout
    assert "STEMD-A001" not in result.stdout, "ended jobs are for `list`"


def test_one_job(site):
    job_id = site.orphan("My Song.wav")
    result = site.run("status", job_id[-6:])
    assert result.exit_code == 0
    assert job_id in result.stdout
    assert "STEMD-A001" in result.stdout
    assert site.json("status", job_id)["result"] == str(site.spool.orphan / "everyone" / f"My Song.{job_id[-8:]}")


def test_a_file_in_the_inbox_is_a_job_too(site):
    path = site.spool.inbox / "song.mp3"
    path.write_bytes(b"x")
    assert site.json("status", path)["reason"]["code"] == "STEMD-S017"


def test_one_job_tells_how_fast_it_is_once_that_is_known():
    view = JobView("/spool", "0192f0c1-0000-7000-8000-000000000001", "running", realtime_factor=3.14, eta_seconds=75.0)
    facts = dict(line.split(maxsplit=1) for line in details(view).splitlines())
    assert (facts["left"], facts["speed"]) == ("1:15", "× 3.1 realtime")
    assert "speed" not in details(replace(view, realtime_factor=None))


def test_list_filters(site):
    hers, his = site.orphan("hers.wav", user="ana"), site.orphan("his.wav", "STEMD-P002")
    assert {job["job_uuid"] for job in site.json("list")["jobs"]} == {hers, his}
    assert [job["job_uuid"] for job in site.json("list", "--user", "ana")["jobs"]] == [hers]
    assert [job["job_uuid"] for job in site.json("list", "--state", "cancelled")["jobs"]] == [his]
    assert hers[-8:] in site.run("list").stdout
    assert site.run("list", "--state", "done").stdout == ""


def test_the_spool_may_be_given_by_a_flag(site, tmp_path: Path):
    other = tmp_path / "other"
    make_spool(other)
    assert site.json("status", "--spool", other)["spools"][0]["path"] == str(other)


def test_hostile_names_do_not_reach_the_terminal(site):
    name = os.fsdecode(b"a\nb\x1b[2J\xff.mp3")
    (site.spool.inbox / name).write_bytes(b"x")
    site.orphan(os.fsdecode(b"x\ny\x1b\xfe.wav"))
    for result in (site.run("status"), site.run("list"), site.run("list", "--json"), site.run("status", "--json")):
        assert result.exit_code == 0
        assert "\x1b" not in result.output
        result.stdout_bytes.decode("utf-8")
    assert "a\\nb" in site.run("status").stdout


def test_hostile_names_through_a_real_pipe_without_a_locale(site):
    (site.spool.inbox / os.fsdecode(b"\xff\xe4.mp3")).write_bytes(b"x")
    command = [sys.executable, "-m", "stemd", "list", "-c", str(site.config)]
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    result = subprocess.run(command, capture_output=True, env=env, timeout=300, check=True)
    assert b"mp3" in result.stdout


def test_watch_one_job_ends_with_its_result(site):
    job_id = site.orphan()
    result = site.run("watch", job_id)
    assert result.exit_code == 65
    assert "error STEMD-A001" in result.stderr


def test_watch_in_json_gives_a_line_for_each_change(site):
    job_id = new_job_id()
    sidecar.write_status(site.spool, job_id, {"state": "running", "progress": 0.1})
    lock = probes.take_lock(site.spool)
    command = [sys.executable, "-m", "stemd", "watch", "--json", "-c", str(site.config)]
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert watching.stdout is not None
        first = json.loads(watching.stdout.readline())
        time.sleep(0.1)
        sidecar.write_status(site.spool, job_id, {"state": "done", "progress": 1.0})
        second = json.loads(watching.stdout.readline())
    finally:
        watching.send_signal(signal.SIGINT)
        os.close(lock)
    assert (first["state"], second["state"], first["job_uuid"]) == ("running", "done", job_id)
    assert watching.wait(timeout=120) == 130
