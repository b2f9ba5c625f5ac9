"""A full house: 200 jobs of 5 users on 2 engines. Fair, nobody starves, nothing overcommitted, all accounted for."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sysconfig
import threading
import time
import venv
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile

from stemd.core.config import load
from stemd.core.errors import StemdError
from stemd.daemon.host import Machine
from stemd.ops import asking
from tests.support.daemon import Daemon, eventually
from tests.support.spools import violations

CORES = Machine().cores()
USERS = ("ana", "ben", "cem", "dia", "eli")
EACH = 40
MOST = 2

_ECHO = """
from stemd.engines.stub_engine import StubEngine


class Echo(StubEngine):
    name = "echo"
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """A Python that has all that the tests' own has, and a second engine: the stub by another name."""
    folder = tmp_path_factory.mktemp("site")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    python = folder / "venv" / "bin" / "python"
    ask = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip())
    mine = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    (packages / "tests.pth").write_text("".join(f"import site; site.addsitedir({each!r})\n" for each in mine))
    (packages / "stemd_echo.py").write_text(_ECHO)
    facts = packages / "stemd_echo-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: stemd-echo\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[stemd.engines]\necho = stemd_echo:Echo\n")
    return python


class Watch:
    """Looks at the daemon and its processes again and again, on a thread, and notes what should never be."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon, self._home = daemon, load(daemon.config).config
        self.wrong: list[str] = []
        self.samples = 0
        self.last: dict[str, Any] = {}
        self.at_work = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            with suppress(StemdError):
                self._sample(asking.request(self._home, {"op": "state"}))

    def _sample(self, view: dict[str, Any]) -> None:
        shared, workers = view["scaling"], view["workers"]
        self.samples, self.last = self.samples + 1, shared
        self.at_work = sum(each["threads"] for each in workers if each["state"] == "busy")
        for engine in shared["engines"]:
            name, alive = engine["engine"], sum(each["engine"] == engine["engine"] for each in workers)
            self._holds(alive <= MOST, f"{alive} workers of {name}")
            self._holds(engine["desired"] <= MOST, f"{engine['desired']} workers of {name} wanted")
        cores = sum(each["threads"] for each in workers if each["state"] in {"busy", "starting"})
        self._holds(cores <= CORES, f"{cores} cores given to jobs: {workers}")
        given, there = shared["memory_committed"], shared["memory_for_workers"]
        self._holds(given <= there or len(workers) == 1, f"{given} bytes given of {there}")
        assert self._daemon.process is not None
        found = list(_workers_of(self._daemon.process.pid))
        taken = sum(memory for _, memory in found)
        self._holds(taken <= there, f"{taken} bytes taken of {there}")
        for name, number in Counter(name for name, _ in found).items():
            self._holds(number <= MOST, f"{number} processes of {name}")

    def _holds(self, truth: bool, otherwise: str) -> None:
        if not truth:
            self.wrong.append(otherwise)

    def of(self, engine: str) -> dict[str, Any]:
        """What the daemon last said of an engine."""
        return next((each for each in self.last.get("engines", ()) if each["engine"] == engine), {})


def _workers_of(pid: int) -> Iterator[tuple[str, int]]:
    """Engine and resident bytes of each worker process."""
    with suppress(psutil.Error):
        for child in psutil.Process(pid).children():
            with suppress(psutil.Error, ValueError):
                words = child.cmdline()
                if "stemd.worker" in words:
                    yield json.loads(words[-1])["engine"], child.memory_info().rss


def drop(daemon: Daemon, user: str, name: str, recording: bytes, **job: Any) -> None:
    folder = daemon.home / name
    folder.mkdir()
    (folder / "song.wav").write_bytes(recording)
    engine = job.get("engine", "stub")
    (folder / "job.json").write_text(json.dumps({"input": "song.wav", "engine": engine, "model": engine, **job}))
    folder.rename(daemon.spool.inbox / user / name)


def recording(number: int, seconds: float = 0.2) -> bytes:
    """No two are alike."""
    file = io.BytesIO()
    noise = np.random.default_rng(number).uniform(-0.3, 0.3, (round(seconds * 44_100), 2))
    soundfile.write(file, noise, 44_100, subtype="PCM_16", format="WAV")
    return file.getvalue()


def events(daemon: Daemon) -> list[dict[str, Any]]:
    return sorted((line for line in daemon.told() if "job_uuid" in line), key=lambda line: line["timestamp"])


def shares_under_backlog(daemon: Daemon) -> Counter[str]:
    """How many jobs of each user were started while all of them had jobs in the queue."""
    waiting, started = Counter[str](), Counter[str]()
    for event in events(daemon):
        user = event.get("user_id")
        if user in USERS and event["event"] == "queued":
            waiting[user] += 1
        elif user in USERS and event["event"] == "started":
            if all(waiting[each] for each in USERS):
                started[user] += 1
            waiting[user] -= 1
    return started


@pytest.mark.timeout(1800)
def test_a_full_house(python, tmp_path: Path):
    workers = {"max": MOST, "idle": "2s"}
    daemon = Daemon(
        tmp_path,
        defaults={"engine": "stub", "model": "stub"},
        users={"zoe": {}, **{user: {} for user in USERS}, "ana": {"quota": "one"}},
        quotas={"one": {"running": 1}},
        engines={"stub": {"workers": {**workers, "min": 1}}, "echo": {"workers": workers}},
        scheduling={"aging": "500ms"},
        log={"names": "clear"},
    )
    daemon.python = [str(python)]
    songs = {f"{user}-{number}": recording(len(USERS) * number + place)
             for place, user in enumerate(USERS) for number in range(EACH)}  # fmt: skip
    blockers = {f"blocker-{number}": recording(1000 + number, 120.0) for number in range(2 * MOST)}
    with daemon, Watch(daemon) as watch:
        eventually(lambda: watch.of("stub").get("workers") == 1, 60, "workers.min is there without a job")
        for number, (name, content) in enumerate(blockers.items()):
            if number == MOST:
                eventually(lambda: watch.of("stub")["busy"] == min(MOST, CORES), 60, "up to workers.max, or all cores")
            engine = "stub" if number < MOST else "echo"
            drop(daemon, "zoe", name, content, engine=engine, options={"pace": 2}, priority=0)
        eventually(lambda: watch.at_work == CORES, 60, "all cores have something to do")
        for number, (name, content) in enumerate(songs.items()):
            low = {"priority": 9} if name == "eli-0" else {}
            drop(daemon, name.split("-")[0], name, content, engine=("stub", "echo")[number % 2], **low)
        queued = eventually(lambda: _queued(daemon), 240, "all are queued")
        eventually(lambda: time.time() > queued + 5, 10, "all have aged to the same urgency")
        for job in _of_user(daemon, "zoe"):
            assert daemon.stemd("cancel", job).returncode == 0
        eventually(lambda: len(daemon.events("job_ended")) == len(songs) + len(blockers), 900, "all have ended")
        least = {"stub": 1, "echo": 0}
        eventually(lambda: all(watch.of(each)["workers"] == least[each] for each in least), 60, "down to the least")
        assert watch.of("stub")["desired"] == 1
        decisions = daemon.http("/metrics")[1]
        told = daemon.stemd("status").stdout
    assert daemon.events("autoscaled")
    assert not watch.wrong, "\n".join(watch.wrong[:3])
    assert watch.samples > 50
    for way in ("up", "down"):
        pattern = rf'^stemd_autoscale_decisions_total{{direction="{way}",engine="stub",reason="\w+"}} [1-9]'
        assert re.search(pattern, decisions, re.MULTILINE), way
    assert "stub: 1 worker (0 busy), 1 wanted: workers.min" in told

    shares = shares_under_backlog(daemon)
    fair = sum(shares.values()) / len(USERS)
    assert fair >= EACH / 2, f"too few to tell: {shares}"
    assert all(abs(share - fair) <= 0.1 * fair for share in shares.values()), shares
    titles = {event["job_uuid"]: event["title"] for event in events(daemon) if event["event"] == "queued"}
    order = [titles[each["job_uuid"]] for each in events(daemon) if each["event"] == "started"]
    order = [title for title in order if title in songs]
    assert order.index("eli-0") < len(order) - EACH, "the least urgent of all was not left for the end"
    assert _most_at_a_time(daemon, "ana") == 1

    results = daemon.results()
    assert sorted(results) == sorted(songs)
    assert Counter(each["engine"] for each in results.values()) == {"stub": len(songs) // 2, "echo": len(songs) // 2}
    assert {each["code"] for each in _reports(daemon)} == {"STEMD-P002"}
    assert violations(daemon.spool, [*songs.values(), *blockers.values()]) == []


def _queued(daemon: Daemon) -> float | None:
    """When the last of the songs was queued, once all are."""
    queued = [event for event in events(daemon) if event["event"] == "queued" and event["user_id"] in USERS]
    return time.time() if len(queued) == len(USERS) * EACH else None


def _of_user(daemon: Daemon, user: str) -> list[str]:
    return sorted({event["job_uuid"] for event in events(daemon) if event.get("user_id") == user})


def _most_at_a_time(daemon: Daemon, user: str) -> int:
    running, most = 0, 0
    for event in events(daemon):
        if event.get("user_id") == user and event["event"] in {"started", "job_ended"}:
            running += 1 if event["event"] == "started" else -1
            most = max(most, running)
    return most


def _reports(daemon: Daemon) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in daemon.spool.orphan.glob("*/*/error.json")]
