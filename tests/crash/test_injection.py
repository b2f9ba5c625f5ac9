"""Single system calls of the running daemon and its worker fail, or are the last thing the process does.

``strace`` attaches to one thread (the daemon's loop, the thread that seals, the worker's) and makes its N-th call of a
kind fail or kill it. N runs over the calls that one job makes between claim and end, as a clean run counts them; each
place in the code that flushes or renames is hit that way.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import psutil
import pytest

from stemd.core.errors import Exit
from tests.crash.soak import recording
from tests.support.daemon import Daemon, eventually
from tests.support.spools import violations

#: Every place instead of a selection.
EVERYTHING = bool(os.environ.get("STEMD_TEST_EVERYTHING"))
_CALLS = "openat,write,pwrite64,fsync,rename,renameat2,mkdir,unlink,unlinkat,rmdir,ftruncate"
_CALL = re.compile(r"^(?P<time>\d+\.\d+) (?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+|\?)(?P<rest>.*)$")
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
_KEY = re.compile(r"/keys/[0-9a-f]{2}|[0-9a-f]{40}")


def _strace_works() -> bool:
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not _strace_works(), reason="strace is not installed, or may not trace here")


@dataclass(frozen=True, slots=True)
class Call:
    """One traced call. ``paths`` are those below the spool; ``number`` counts the thread's calls of this name."""

    time: float
    name: str
    number: int
    paths: tuple[str, ...]
    text: str

    @property
    def failed(self) -> bool:
        return " = -1 " in self.text

    @property
    def injected(self) -> bool:
        return "INJECTED" in self.text

    @property
    def site(self) -> str:
        """The kind of call and of place, whatever the job, its keys and the recording are called."""
        paths = _KEY.sub("K", " ".join(self.paths))
        return f"{self.name} {_ID.sub('J', re.sub(r'song-[0-9]+', 'song', paths))}"


def parse(log: Path, root: Path) -> list[Call]:
    """The calls in the ``strace -y -ttt`` of one thread."""
    calls, numbers = [], Counter[str]()
    for line in log.read_text(errors="replace").splitlines():
        if (found := _CALL.match(line)) is not None:
            name = found["name"]
            numbers[name] += 1
            paths = re.findall(rf'[<"]{re.escape(str(root))}/([^>"]*)[>"]', found["arguments"])
            calls.append(Call(float(found["time"]), name, numbers[name], tuple(paths), line))
    return calls


def unsound(calls: Iterable[Call]) -> list[str]:
    """Invariant I10: what was flushed in vain and then flushed again or published, without being made anew.

    The recording in the inbox is its dropper's and cannot be made anew. A file that grows is cut back to what it was;
    the head of the audit trail, smaller than a page, is written anew with each record.
    """
    found, bad = [], dict[str, Call]()
    ordered = sorted((call for call in calls if call.paths), key=lambda call: call.time)
    folders = {str(Path(path).parent) for call in ordered for path in call.paths}
    for call in ordered:
        path, target = call.paths[0], call.paths[-1]
        if call.name == "fsync" and call.failed:
            if path not in folders and not path.startswith("inbox/") and not path.endswith(".head"):
                bad[path] = call
        elif call.failed:
            continue
        elif call.name in {"mkdir", "ftruncate"} or "O_TRUNC" in call.text or "O_EXCL" in call.text:
            bad = {other: why for other, why in bad.items() if other != path and not other.startswith(f"{path}/")}
        elif call.name in {"rename", "renameat2"}:
            published = {other for other in bad if other.startswith(f"{path}/") and target.startswith("outbox/")}
            found += [f"{call.text} after {bad[other].text}" for other in published | ({path} & bad.keys())]
        elif call.name == "fsync" and path in bad:
            found.append(f"{call.text} after {bad[path].text}")
    return found


@contextmanager
def traced(thread: int, log: Path, *options: str) -> Iterator[None]:
    """``strace`` on one thread (``-f``: on all of its process) for the block."""
    command = ["strace", "-y", "-ttt", "-s", "300", "-o", str(log), "-e", f"trace={_CALLS}", *options]
    process = subprocess.Popen([*command, "-p", str(thread)], stderr=subprocess.PIPE)
    assert process.stderr is not None
    with process.stderr:
        if b"attached" not in (said := process.stderr.readline()):
            process.wait(timeout=120)
            raise ProcessLookupError(said.decode())
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=120)


class Bench:
    """A daemon that is warm: a job has gone through, so that all threads are there and a worker waits."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon, self.spool = daemon, daemon.spool
        self.threads: dict[str, int] = {}
        self.hit: set[str] = set()
        self.ends: Counter[int] = Counter()
        self._rng, self._number = random.Random(0), 0
        self._logs = daemon.home / "traces"
        self._logs.mkdir()

    def suffer(self, thread: str, *injections: str) -> dict[str, list[Call]]:
        """One job from drop to end while ``thread`` is injected; checks the spool and returns the calls by thread.

        A daemon that ended is started again.
        """
        try:
            return self._suffer(thread, *injections)
        except ProcessLookupError:  # what was done to it before has ended the daemon, but only after the job's end
            eventually(self._dead, 30, "the daemon ends")
            return self._suffer(thread, *injections)

    def _suffer(self, thread: str, *injections: str) -> dict[str, list[Call]]:
        with ExitStack() as stack:
            threads = self._warm_up()
            for name, number in threads.items():
                options = [f"-einject={injection}" for injection in injections if name == thread]
                stack.enter_context(traced(number, self._logs / name, *options))
            before = self._completed()
            source = self._drop()
            eventually(lambda: self._is_through(before), 60, f"{thread} {injections}: it ends")
        if not self._dead() and self._left():
            self.daemon.stop()
            self.daemon.start()
            self.threads = {}
            eventually(self._ended, 60, f"{thread} {injections}: it is put away")
        if self._dead():
            self._start_again()
            eventually(self._ended, 60, f"{thread} {injections}: it ends after a restart")
        assert violations(self.spool, [source]) == [], (thread, injections)
        calls = {name: parse(self._logs / name, self.spool.root) for name in threads}
        assert unsound(call for each in calls.values() for call in each) == [], (thread, injections)
        self.hit |= {call.site for call in calls[thread] if call.injected or "= ?" in call.text}
        self._clear()
        return calls

    @property
    def ended(self) -> int:
        """How often the daemon ended by itself."""
        return self.ends[Exit.SOFTWARE] + self.ends[Exit.TRY_LATER]

    def _drop(self) -> bytes:
        self._number += 1
        source = recording(self._rng, 0.1)
        file = self.daemon.home / "song.wav"
        file.write_bytes(source)
        self.daemon.drop(file, f"song-{self._number}.wav")
        return source

    def _ended(self) -> bool:
        if any(self.spool.inbox.iterdir()) or any(self.spool.work.iterdir()):
            return False
        return bool([*self.spool.outbox.glob("*/*"), *self.spool.orphan.glob("*/*")])

    def _is_through(self, before: float) -> bool:
        return self._dead() or (self._completed() > before and (self._ended() or self._left()))

    def _left(self) -> bool:
        """Whether a job is done and could not be put away: that is for the next start."""
        return any((work / "published").exists() for work in self.spool.work.iterdir())

    def _completed(self) -> float:
        """How many jobs the daemon is through with, its last flush included."""
        try:
            numbers = re.findall(
                r"^stemd_jobs_completed_total\{.*\} (\S+)$", self.daemon.http("/metrics")[1], re.MULTILINE
            )
        except (OSError, HTTPException):  # it has just ended
            return 0
        return sum(map(float, numbers))

    def _dead(self) -> bool:
        assert self.daemon.process is not None
        return self.daemon.process.poll() is not None

    def _start_again(self) -> None:
        """Start a daemon that was killed, or that ended because of the disk in a way that is documented."""
        assert self.daemon.process is not None
        status = self.daemon.process.returncode
        assert status in {-signal.SIGKILL, Exit.SOFTWARE, Exit.TRY_LATER}, self.daemon.log.read_text()[-5000:]
        self.ends[status] += 1
        self.threads = {}
        self.daemon.start()

    def _warm_up(self) -> dict[str, int]:
        """All that is needed for a job is there; what is missing comes with an ordinary one. Returns the threads."""
        if self._dead():
            self._start_again()
        assert self.daemon.process is not None
        if not self.threads or not psutil.pid_exists(self.threads["worker"]):
            daemon = self.daemon.process.pid
            with traced(daemon, self._logs / "all", "-f", "-b", "execve"):
                self._drop()
                eventually(self._ended, 60, "an ordinary job ends")
            log = (self._logs / "all").read_text()
            sealers = re.findall(r"^(\d+) .*fsync\(.*/\.job\.json\.tmp", log, re.MULTILINE)
            self.threads = {"loop": daemon, "sealer": int(sealers[-1]), "worker": self.daemon.worker().pid}
            self._clear()
        return self.threads

    def _clear(self) -> None:
        for folder in [*self.spool.outbox.iterdir(), *self.spool.orphan.iterdir()]:
            shutil.rmtree(folder)


#: With one thread that seals, so that the one which is hit is the one that has the job.
_ONE_SEALER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from stemd.cli.main import main
from stemd.daemon import sealing
sealing.ThreadPoolExecutor = lambda count, **how: ThreadPoolExecutor(1, **how)
main(sys.argv[3:])
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    stub, retry = {"engine": "stub", "model": "stub"}, {"base": "20ms", "cap": "50ms"}
    daemon = Daemon(tmp_path_factory.mktemp("bench"), defaults=stub, retry=retry)
    daemon.python = [sys.executable, "-c", _ONE_SEALER]
    with daemon:
        yield Bench(daemon)


def places(calls: list[Call], name: str, most: int | None = None) -> list[Call]:
    """Which calls of this name to hit: the first of each place in the code, or a selection of ``most`` of these."""
    sites: dict[str, Call] = {}
    for call in calls:
        if call.name == name and call.paths:
            sites.setdefault(f"{call.site} {call.number if EVERYTHING else ''}", call)
    found = list(sites.values())
    return found if most is None or EVERYTHING or len(found) <= most else random.Random(most).sample(found, most)


THREADS = ("loop", "sealer", "worker")


@pytest.mark.parametrize("thread", THREADS)
def test_no_flush_and_no_rename_that_fails_loses_anything(bench, thread, tally):
    runs, ended = 0, bench.ended
    for name, error in (("fsync", "EIO"), ("renameat2", "EIO"), ("renameat2", "ENOSPC")):
        bench.hit = set()
        for _ in range(12):  # a report of progress more or less moves the numbers: what was missed is tried again
            wanted = places(bench.suffer(thread)[thread], name)
            missed = [call for call in wanted if call.site not in bench.hit]
            if not missed:
                break
            for call in missed:
                bench.suffer(thread, f"{name}:error={error}:when={call.number}")
                runs += 1
        assert wanted or (thread, name) == ("sealer", "renameat2"), "it has none of these"
        assert {call.site for call in wanted} <= bench.hit
    tally("injected errors", runs=runs, daemon_ended=bench.ended - ended, lost=0)


@pytest.mark.parametrize("thread", THREADS)
def test_a_full_disk_at_any_other_call_loses_nothing(bench, thread, tally):
    clean = bench.suffer(thread)[thread]
    runs, ended = 0, bench.ended
    for name in ("write", "openat", "rename", "fsync"):
        for call in places(clean, name, 2):
            bench.suffer(thread, f"{name}:error=ENOSPC:when={call.number}")
            runs += 1
    assert runs
    tally("injected errors", runs=runs, daemon_ended=bench.ended - ended, lost=0)


@pytest.mark.parametrize("thread", THREADS)
def test_whatever_call_is_the_last_one_nothing_is_lost(bench, thread, tally):
    clean = bench.suffer(thread)[thread]
    runs = 0
    for name, most in (("fsync", 2), ("renameat2", 2), ("openat", 1)):
        for call in places(clean, name, most):
            killed = bench.ends[-signal.SIGKILL]
            for _ in range(12):  # as above: a run may have fewer calls
                bench.suffer(thread, f"{name}:signal=KILL:when={call.number}")
                if thread == "worker" or bench.ends[-signal.SIGKILL] > killed:
                    break
            runs += 1
            assert thread == "worker" or bench.ends[-signal.SIGKILL] > killed
    assert runs
    tally("kills at a call", runs=runs, lost=0)


def test_an_error_amid_a_workers_words_leaves_none_of_them_unheard(tmp_path):
    checkpoints = {"threshold": "1s", "checkpoint": "1s"}
    stub = {"engine": "stub", "model": "stub"}
    with Daemon(tmp_path, defaults=stub, chunking=checkpoints, inboxes={"paced": {"options": {"pace": 0.3}}}) as daemon:
        song = tmp_path / "song.wav"
        song.write_bytes(recording(random.Random(0), 4.0))
        daemon.drop(song, "paced/song.wav")
        eventually(daemon.running, 60, "it separates")
        os.kill(daemon.process.pid, signal.SIGSTOP)
        eventually(lambda: any(daemon.spool.work.glob("*/out.partial/manifest.json")), 60, "all is said")
        with traced(daemon.process.pid, tmp_path / "trace", "-einject=fsync:error=EIO:when=1"):
            os.kill(daemon.process.pid, signal.SIGCONT)
            eventually(daemon.results, 60, "it is done")
        assert "INJECTED" in (tmp_path / "trace").read_text()
        assert daemon.stop() == 0
    assert violations(daemon.spool, [song.read_bytes()]) == []


def test_a_log_on_a_full_disk_ends_nobody(tmp_path):
    with Daemon(tmp_path, defaults={"engine": "stub", "model": "stub"}) as daemon:
        song = tmp_path / "song.wav"
        song.write_bytes(recording(random.Random(0), 0.2))
        only_the_log = ("-P", str(daemon.log), "-einject=write:error=ENOSPC")
        with traced(daemon.process.pid, tmp_path / "trace", "-f", "-b", "execve", *only_the_log):
            daemon.drop(song)
            eventually(lambda: daemon.results() and not any(daemon.spool.work.iterdir()), 60, "it is done")
        assert "INJECTED" in (tmp_path / "trace").read_text()
        assert daemon.stop() == 0
    assert violations(daemon.spool, [song.read_bytes()]) == []
