"""Runs inside a booted Debian 12 with control groups of version 2, as root: what limits are worth where they are real.

As ``guest.py``, whose tools it uses, but for an emulated machine, in which Python is several times slower: stemd is
copied in rather than installed, and the checks are few.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from tests.system import guest
from tests.system.guest import SETTINGS, SPOOL, eventually, get, main_pid, result, run, sh, show, song, workers

GROUP = Path("/sys/fs/cgroup/system.slice/stemd.service")
MIB = 1 << 20
LIMITED = """
defaults: {engine: stub, model: stub, settle: 500ms, settle_unprobed: 1h}
engines: {stub: {workers: {max: 2}, limits: {memory: 1GiB}}}
shutdown: {drain: 1s}
retry: {base: 1s, cap: 1s}
"""

CHECKS: dict[str, Any] = {}


def check(function: Any) -> Any:
    CHECKS[function.__name__] = function
    return function


def leaves() -> list[Path]:
    return sorted(GROUP.glob("w-*"))


def staged(title: str, seconds: int, **job: Any) -> None:
    """A job that costs what its options say."""
    folder = SPOOL / "inbox" / f".{title}"
    folder.mkdir()
    song(folder / "song.wav", seconds)
    (folder / "job.json").write_text(json.dumps({"input": "song.wav", **job}))
    sh(f"chown -R stemd:stems {folder}")
    folder.rename(SPOOL / "inbox" / title)


def status(title: str) -> dict[str, Any]:
    return next((each for each in guest.statuses() if each["title"] == title), {})


def failed(title: str) -> dict[str, Any] | None:
    found = list(SPOOL.glob(f"orphan/*/{title}.*/error.json"))
    return json.loads(found[0].read_text()) if found else None


def leaf_of(title: str) -> Path | None:
    """The group of the worker that separates a job."""
    for worker in json.loads(get("/health"))["workers"]:
        if worker["state"] == "busy" and worker["job_uuid"] == status(title).get("job_uuid"):
            return (
                GROUP.parent.parent / Path(f"/proc/{worker['pid']}/cgroup").read_text().strip().rpartition(":")[2][1:]
            )
    return None


def cpu(leaf: Path) -> tuple[float, float]:
    """CPU seconds of a group, and the time."""
    facts = dict(line.split() for line in (leaf / "cpu.stat").read_text().splitlines())
    return int(facts["usage_usec"]) / 1e6, time.monotonic()


@check
def starts_in_groups_of_its_own() -> None:
    SETTINGS.parent.mkdir(parents=True, exist_ok=True)
    SETTINGS.write_text(LIMITED)
    sh("systemctl daemon-reload && systemctl start stemd")
    assert Path(f"/proc/{main_pid()}/cgroup").read_text().strip().endswith("/stemd.service/supervisor")
    limits = json.loads(get("/health"))["limits"]
    assert limits == {"by": "cgroup v2", "kernel": ["cpu", "memory", "pids"], "group": str(GROUP)}, limits
    assert (GROUP / "cgroup.procs").read_text() == ""
    assert {"cpu", "memory", "pids"} <= set((GROUP / "cgroup.subtree_control").read_text().split())


@check
def greedy_worker_is_killed_alone_and_its_job_goes_on_with_less() -> None:
    staged("other", 12, options={"pace": 2})
    eventually(lambda: status("other").get("stage") == "separate", "the other job is at work")
    staged("greedy", 3, options={"pace": 1, "memory": "800MiB"}, limits={"memory": "600MiB"})
    folder = eventually(lambda: result("greedy"), "it is done in the end")
    manifest = json.loads((folder / "manifest.json").read_text())
    lines = [json.loads(line) for line in (folder / "job.log.jsonl").read_text().splitlines()]
    assert manifest["attempts"] == 2, [line for line in lines if line["event"] == "attempt_failed"]
    first = next(line for line in lines if line["event"] == "attempt_failed")
    assert first["code"] == "STEMD-R001", first
    assert "limit of 600MiB" in first["message"], "the kernel's own counters say so"
    assert json.loads((eventually(lambda: result("other"), "the other") / "manifest.json").read_text())["attempts"] == 1
    assert 'stemd_limits_hit_total{action="stopped",engine="stub",limit="memory"} 1.0' in get("/metrics")
    assert (show("NRestarts"), show("Result")) == ("0", "success")


@check
def cpu_limit_holds_to_a_tenth() -> None:
    staged("busy", 30, options={"pace": 1, "spin": 2}, limits={"cpu": 0.5})
    eventually(lambda: status("busy").get("stage") == "separate", "it is at work")
    leaf = eventually(lambda: leaf_of("busy"), "its group")
    assert (leaf / "cpu.max").read_text() == "50000 100000\n"
    time.sleep(2)
    (used, begun), _ = cpu(leaf), time.sleep(15)
    more, ended = cpu(leaf)
    share = (more - used) / (ended - begun)
    print(f"cpu.max of 0.5 cores: {share:.3f} used", file=sys.stderr)
    assert abs(share - 0.5) < 0.05, share
    job = status("busy")["job_uuid"]
    hits = (SPOOL / "work" / job / "job.log.jsonl").read_text()
    assert '"limit":"cpu"' in hits.replace(" ", ""), hits
    assert re.search(r'hit_total{action="throttled",engine="stub",limit="cpu"} [1-9]', get("/metrics"))
    assert run("stemd", "cancel", job).returncode == 0
    eventually(lambda: status("busy").get("state") == "cancelled", "it is cancelled")


@check
def processes_are_limited_and_that_is_said() -> None:
    staged("forks", 3, options={"pace": 1, "children": 60}, limits={"pids": 40})
    said = eventually(lambda: failed("forks"), "it fails")
    assert said["code"] == "STEMD-R008", said
    eventually(lambda: not run("pgrep", "-x", "sleep").stdout, "nothing of it is left")


@check
def killed_daemon_leaves_no_groups() -> None:
    staged("long", 20, options={"pace": 3})
    eventually(lambda: status("long").get("stage") == "separate", "it is at work")
    old, pids, restarts = main_pid(), workers(), int(show("NRestarts"))
    sh(f"kill -9 {old}")
    eventually(lambda: int(show("NRestarts")) == restarts + 1 and guest.active(), "it is back")
    assert json.loads(get("/health"))["limits"]["by"] == "cgroup v2"
    eventually(lambda: status("long").get("stage") == "separate" and leaves(), "the job is at work again")
    assert not set(pids) & set(workers())
    assert len(leaves()) == len(workers())
    assert run("stemd", "doctor").stdout.count("cgroup v2") == 1
    sh("systemctl stop stemd")
    assert not GROUP.exists()
    assert os.listdir("/sys/fs/cgroup/system.slice")  # noqa: PTH208  the rest of it stands


if __name__ == "__main__":
    guest.CHECKS = CHECKS
    sys.exit(guest.main())
