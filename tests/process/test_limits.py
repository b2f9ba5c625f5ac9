"""What becomes of jobs that take more than they may: stopped alone, explained, and tried again as configured.

Once with control groups of version 1, where this machine lets us make some; and once without any.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.support.audio import write_wav
from tests.support.daemon import Daemon, eventually

ROOT = Path("/sys/fs/cgroup")
HIERARCHIES = ("memory", "cpu", "pids")
MIB = 1 << 20
STUB = {"engine": "stub", "model": "stub", "settle": "300ms", "settle_unprobed": "500ms"}


@pytest.fixture(scope="module", params=["sampling", "cgroup v1"])
def daemon(request, tmp_path_factory) -> Iterator[Daemon]:
    """A daemon whose limits are enforced in one way, with two workers."""
    home = tmp_path_factory.mktemp("limits")
    setting, groups = "never", []
    if request.param == "cgroup v1":
        setting, groups = own_groups()
    limits = {"memory": "2GiB", "cpu": "auto", "pids": 200}
    engines = {"stub": {"workers": {"max": 2}, "limits": limits}}
    try:
        with Daemon(home, defaults=STUB, engines=engines, governor={"cgroups": setting}) as daemon:
            assert daemon.events("limits_enforced")[0]["by"] == request.param
            daemon.way = request.param
            yield daemon
    finally:
        left = [str(path) for group in groups for path in group.glob("w-*")]
        for group in groups:
            group.rmdir()
    assert left == [], "no group stays behind"


def own_groups() -> tuple[str, list[Path]]:
    """Groups of our own in each hierarchy of version 1, for this test run only."""
    name = f"stemd-test-{os.getpid()}"
    groups = [ROOT / each / name for each in HIERARCHIES]
    try:
        for group in groups:
            group.mkdir()
    except OSError as error:
        for group in groups:
            with suppress(OSError):
                group.rmdir()
        pytest.skip(f"no control groups of version 1 can be made here: {error}")
    return f"/{name}", groups


_numbers = iter(range(1000))


def drop(daemon: Daemon, seconds: float = 1.0, **job) -> str:
    """A job for the stub; returns its title."""
    title = f"job {next(_numbers)}"
    folder = daemon.home / title
    folder.mkdir()
    write_wav(folder / "song.wav", seconds)
    (folder / "job.json").write_text(json.dumps({"input": "song.wav", **job}))
    folder.rename(daemon.spool.inbox / title)
    return title


def report(daemon: Daemon, title: str):
    """What the failed folder of a job says."""
    found = list(daemon.spool.orphan.glob(f"*/{title}.*/error.json"))
    return json.loads(found[0].read_text()) if found else None


def result(daemon: Daemon, title: str):
    return daemon.results().get(title)


@pytest.mark.usefixtures("alone_with_oom")
def test_a_worker_beyond_its_memory_ends_alone_and_its_job_goes_on_with_less(daemon):
    other = drop(daemon, 6.0, options={"pace": 1})
    greedy = drop(daemon, 6.0, options={"pace": 1, "memory": "700MiB"}, limits={"memory": "600MiB"})
    manifest = eventually(lambda: result(daemon, greedy), 90, "the job is done in the end")
    assert manifest["attempts"] == 2
    failed = next(each for each in daemon.events("attempt_failed") if each["job_uuid"] == manifest["job_uuid"])
    assert failed["code"] == "STEMD-R001"
    assert "600MiB" in failed["message"]
    eventually(lambda: result(daemon, other), 60, "the job beside it")
    assert result(daemon, other)["attempts"] == 1, "nobody else was stopped"
    assert daemon.metric('stemd_oom_total{engine="stub"}') >= 1
    assert daemon.metric('stemd_limits_hit_total{action="stopped",engine="stub",limit="memory"}') >= 1


def test_what_a_run_took_is_measured(daemon):
    before = daemon.metric('stemd_job_peak_rss_bytes_sum{engine="stub"}')
    title = drop(daemon, 3.0, options={"pace": 1, "spin": 1, "memory": "300MiB"})
    manifest = eventually(lambda: result(daemon, title), 60)
    peak = daemon.metric('stemd_job_peak_rss_bytes_sum{engine="stub"}') - before
    assert 300 * MIB < peak < 700 * MIB
    assert manifest["resources"]["peak_rss_bytes"] > 300 * MIB
    assert daemon.metric('stemd_job_cpu_seconds_sum{engine="stub"}') > 0.5


def test_a_job_beyond_its_disk_limit_fails_for_that_and_not_for_a_full_disk(daemon):
    title = drop(daemon, 10.0, limits={"disk": "3MiB"})
    said = eventually(lambda: report(daemon, title), 60, "it fails")
    assert said["code"] == "STEMD-R007"
    assert "3MiB" in said["message"]
    assert len(said["attempts"]) == 1, "it would take as much again"
    assert daemon.metric('stemd_limits_hit_total{action="stopped",engine="stub",limit="disk"}') >= 1


def test_many_small_files_count_together(daemon):
    """Each chunk is below the limit that the process itself has for a file; the folder as a whole is looked at."""
    daemon.configure(
        defaults=STUB, chunking={"threshold": "1s", "checkpoint": "1s"}, governor={"cgroups": "never"},
        engines={"stub": {"workers": {"max": 2}, "limits": {"memory": "2GiB", "pids": 200}}},
    )  # fmt: skip
    daemon.stemd("reload", check=True)
    title = drop(daemon, 15.0, options={"pace": 1}, limits={"disk": "8MiB"})
    said = eventually(lambda: report(daemon, title), 60, "it fails")
    assert said["code"] == "STEMD-R007"
    assert "took" in said["message"]


def test_a_job_beyond_its_time_is_stopped(daemon):
    title = drop(daemon, 30.0, options={"pace": 1}, limits={"time": "1s"})
    eventually(lambda: any(each["title"] == title and (each["reason"] or {}).get("code") == "STEMD-R002"
                           for each in daemon.states().values()), 60, "the reason is told")  # fmt: skip
    assert daemon.metric('stemd_limits_hit_total{action="stopped",engine="stub",limit="time"}') >= 1
    # it may have had its last try meanwhile
    daemon.stemd("cancel", eventually(lambda: daemon.job_called(title), what="its status file follows"))


def children_of_jobs() -> list[int]:
    """What the stub starts on request, of all daemons there are."""
    found = psutil.process_iter(["cmdline"])
    return [each.pid for each in found if each.info["cmdline"] == ["sleep", "600"]]


def group_of(process: int) -> int | None:
    """The process group, which is its worker's, of one that has not ended meanwhile."""
    try:
        return os.getpgid(process)
    except ProcessLookupError:
        return None


def test_a_job_that_starts_too_many_processes_is_stopped_with_all_of_them(daemon):
    title = drop(daemon, 20.0, options={"pace": 0.5, "children": 40}, limits={"pids": 30})
    said = eventually(lambda: report(daemon, title), 60, "it fails")
    assert said["code"] == "STEMD-R008"
    workers = {each["pid"] for each in daemon.events("worker_ready")}
    eventually(lambda: not [each for each in children_of_jobs() if group_of(each) in workers], what="all are gone")


def test_a_job_that_works_too_much_is_slowed_down_to_its_share(daemon):
    title = drop(daemon, 5.0, options={"pace": 1, "spin": 2}, limits={"cpu": 0.3})
    manifest = eventually(lambda: result(daemon, title), 200, "it comes to its end")
    took = manifest["resources"]
    assert took["cpu_seconds"] / took["wall_seconds"] < 0.3 * 1.35, "a burst, and the look after the last second"
    hit = next(each for each in daemon.events("limit_hit") if each["job_uuid"] == manifest["job_uuid"])
    assert (hit["limit"], hit["action"]) == ("cpu", "throttled")
    assert daemon.metric('stemd_limits_hit_total{action="throttled",engine="stub",limit="cpu"}') >= 1


def test_a_share_of_the_cores_is_no_limit_to_be_told_of(daemon):
    title = drop(daemon, 3.0, options={"pace": 1, "spin": 4})
    manifest = eventually(lambda: result(daemon, title), 200, "it comes to its end")
    assert manifest["resources"]["cpu_seconds"] > 1
    assert [each for each in daemon.events("limit_hit") if each["job_uuid"] == manifest["job_uuid"]] == []


def test_a_worker_that_holds_more_than_the_next_job_may_have_is_replaced(daemon):
    first = drop(daemon, 1.0, options={"memory": "700MiB"})
    eventually(lambda: result(daemon, first), 60)
    workers = len(daemon.events("worker_ready"))
    second = [drop(daemon, 9.0, options={"pace": 1}, limits={"memory": "500MiB"}) for _ in range(2)]
    done = eventually(lambda: all(result(daemon, each) for each in second), 60)
    assert done
    assert [result(daemon, each)["attempts"] for each in second] == [1, 1]
    assert len(daemon.events("worker_ready")) > workers


def test_the_daemon_says_how_limits_are_enforced(daemon):
    health = json.loads(daemon.http("/health")[1])
    assert health["limits"]["by"] == daemon.way
    busy = drop(daemon, 20.0, options={"pace": 1, "memory": "200MiB"}, limits={"memory": "1GiB"})

    def seen():
        found = json.loads(daemon.http("/health")[1])["workers"]
        return next((each for each in found if each["usage"]["memory"] > 200 * MIB and each["state"] == "busy"), None)

    worker = eventually(seen, 60, "its worker's memory is shown")
    assert worker["limits"]["memory"] == 1 << 30
    job = eventually(lambda: daemon.job_called(busy), what="its status file follows")
    daemon.stemd("cancel", job, check=True)
