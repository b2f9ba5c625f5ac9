"""What watch folders get wrong, tried on the real daemon: none of it may happen here.

Time stamps believed, events believed, mounts and folders taken for what they were a moment ago.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stemd.spool.layout import Spool
from tests.support.audio import write_wav
from tests.support.daemon import Daemon, ended, eventually
from tests.support.spools import violations
from tests.support.system import mounted, needs_root

STUB = {"engine": "stub", "model": "stub"}
#: No entry settles within a test: what is taken was seen to come whole.
NEVER = {**STUB, "settle": "1h", "settle_unprobed": "1h"}
#: Seconds without change that no machine is too busy to make one in: whoever drips must not be thought to be done.
PATIENT = {**STUB, "settle": "15s"}
#: ``python … -m stemd WORDS`` without the look at everything once a minute: what is found is found for another reason.
NO_RESCAN = """
import sys
from stemd.cli.main import main
from stemd.daemon import watcher
watcher.RESCAN_INTERVAL = 86_400.0
sys.argv = ["stemd", *sys.argv[3:]]
main()
"""


def without_rescan(daemon: Daemon) -> Daemon:
    daemon.python = [sys.executable, "-c", NO_RESCAN]
    return daemon


class Dripping(threading.Thread):
    """Writes a recording bit by bit, closing it each time, so that only its growth tells that it is not complete."""

    def __init__(self, source: Path, target: Path, after_each: Callable[[Path], None] = lambda path: None) -> None:
        super().__init__(daemon=True)
        self._data, self._target, self._after_each = source.read_bytes(), target, after_each
        self._last = threading.Event()
        self.gone = False
        target.write_bytes(b"")
        self._append(4096)

    def move(self, target: Path) -> None:
        self._target = self._target.rename(target)

    def run(self) -> None:
        try:
            while not self._last.wait(0.1):
                self._append(64)
            self._append(len(self._data))
        except FileNotFoundError:
            self.gone = True

    def _append(self, count: int) -> None:
        with os.fdopen(os.open(self._target, os.O_WRONLY | os.O_APPEND), "wb") as file:
            file.write(self._data[:count])
        self._data = self._data[count:]
        self._after_each(self._target)

    def was_left_alone(self, seconds: float = 5.0) -> bool:
        """Go on for so long, then write the rest; whether nobody took the file before."""
        self.join(seconds)
        self._last.set()
        self.join(60)
        return not self.is_alive() and not self.gone


def years_ago(path: Path) -> None:
    os.utime(path, (946_684_800, 946_684_800))


@pytest.fixture
def song(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "song.wav", seconds=0.5)


def done(daemon: Daemon, number: int, what: str, seconds: float = 120.0) -> None:
    eventually(lambda: len(daemon.results()) == number and not any(daemon.spool.work.iterdir()), seconds, what)
    assert daemon.failures() == {}


# ---- when is a file complete?


def test_what_is_there_at_the_start_settles_like_the_rest(tmp_path, song):
    daemon = Daemon(tmp_path, defaults=PATIENT)
    dripping = Dripping(song, daemon.spool.inbox / "song.wav", years_ago)
    dripping.start()
    with daemon:
        assert dripping.was_left_alone()
        done(daemon, 1, "it is taken once it is complete")
    assert violations(daemon.spool, [song.read_bytes()]) == []


def test_the_age_of_a_time_stamp_says_nothing(tmp_path, song):
    with Daemon(tmp_path, defaults=PATIENT) as daemon:
        dripping = Dripping(song, daemon.spool.inbox / "song.wav", years_ago)
        dripping.start()
        assert dripping.was_left_alone()
        done(daemon, 1, "it is taken once it is complete")
    assert violations(daemon.spool, [song.read_bytes()]) == []


# ---- events that are lost


def flood(inbox: Path) -> None:
    """Creations until the kernel's queue of events is more than full."""
    for number in range(int(Path("/proc/sys/fs/inotify/max_queued_events").read_text()) // 3 + 10):
        path = inbox / f".flood{number}"  # created, closed, deleted: three events of a name nobody takes
        path.touch()
        path.unlink()


def test_lost_events_lose_no_file_and_make_none_complete(tmp_path, song):
    with without_rescan(Daemon(tmp_path, defaults=PATIENT)) as daemon:
        inbox = daemon.spool.inbox
        assert daemon.metric("stemd_watch_overflows_total") == 0
        daemon.process.send_signal(signal.SIGSTOP)
        # that this one came by a rename is the last thing the daemon hears of it
        dripping = Dripping(song, daemon.home / "growing.wav")
        dripping.move(inbox / "growing.wav")
        flood(inbox)
        for number in range(10):
            daemon.drop(song, f"moved{number}.wav")
            shutil.copyfile(song, inbox / f"copied{number}.wav")
        (inbox / "job").mkdir()
        shutil.copyfile(song, inbox / "job" / "in.wav")
        (inbox / "job" / "job.yaml").write_text("input: in.wav\n")
        dripping.start()
        daemon.process.send_signal(signal.SIGCONT)
        eventually(lambda: len(daemon.events("claimed")) >= 20, what="they are claimed")
        assert dripping.was_left_alone(), "it settles like the rest"
        done(daemon, 22, "every file has its result")
        assert daemon.metric("stemd_watch_overflows_total") >= 1
        assert daemon.events("watch_overflow")
        daemon.drop(song, "after.wav")
        done(daemon, 23, "events come as before")
    assert violations(daemon.spool, []) == []


# ---- mounts

MOUNTS = {"tmpfs": ("-t", "tmpfs", "tmpfs"), "bind": ("--bind", "{elsewhere}")}


@contextmanager
def mounted_over(folder: Path, kind: str) -> Iterator[None]:
    """Another mount on top of ``folder``: another file system, or the same one once more."""
    elsewhere = folder.parent.parent / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    with mounted(*(word.format(elsewhere=elsewhere) for word in MOUNTS[kind]), folder):
        yield


@needs_root
@pytest.mark.parametrize("kind", MOUNTS)
@pytest.mark.parametrize("area", ["inbox", "work"])
def test_an_area_on_a_mount_of_its_own_is_refused_at_the_start(tmp_path, song, area, kind):
    daemon = Daemon(tmp_path, defaults=STUB)
    (daemon.spool.root / area).mkdir(exist_ok=True)
    with mounted_over(daemon.spool.root / area, kind):
        shutil.copyfile(song, daemon.spool.inbox / "song.wav")
        refused = daemon.stemd("run", "--once")
        assert (refused.returncode, "STEMD-S002" in refused.stderr) == (75, True), refused.stderr
        assert (daemon.spool.inbox / "song.wav").read_bytes() == song.read_bytes()
        assert list(daemon.spool.work.iterdir()) == []


@needs_root
@pytest.mark.parametrize("kind", MOUNTS)
def test_a_mount_over_the_inbox_of_a_running_daemon_makes_no_copies(tmp_path, song, kind):
    with without_rescan(Daemon(tmp_path, defaults=STUB)) as daemon:
        inbox = daemon.spool.inbox
        with mounted_over(inbox, kind):
            shutil.copyfile(song, inbox / "song.wav")
            before = (inbox / "song.wav").stat()
            (failed,) = eventually(lambda: daemon.events("claim_failed"), what="it says that it cannot take it")
            assert failed["code"] == "STEMD-S002"
            assert eventually(lambda: "STEMD-S002" in daemon.stemd("why", str(inbox / "song.wav")).stderr, 20)
            assert os.path.samestat((inbox / "song.wav").stat(), before), "it is still where it was dropped"
            # it goes on trying: a job's folder may be there for a moment
            eventually(lambda: not any(daemon.spool.work.iterdir()), what="nothing is left of a try")
            assert daemon.results() == {}
        daemon.drop(song, "after.wav")
        done(daemon, 1, "without the mount it goes on")
        assert set(daemon.results()) == {"after"}
    assert violations(daemon.spool, [song.read_bytes()]) == []


# ---- folders that are made anew


def removed(folder: Path, home: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def renamed(folder: Path, home: Path) -> None:
    folder.rename(home / "old")
    folder.mkdir()


@pytest.mark.parametrize("door", ["", "karaoke"])
def test_a_folder_made_anew_is_watched_as_the_one_before(tmp_path, song, door):
    with without_rescan(Daemon(tmp_path, defaults=NEVER, inboxes={"karaoke": STUB})) as daemon:
        folder = daemon.spool.inbox / door
        wanted = {"inbox": str(folder), "mode": "events"}

        def noticed() -> int:
            return sum(wanted.items() <= event.items() for event in daemon.events("inbox_replaced"))

        for number, anew in enumerate((removed, renamed), start=1):
            before = noticed()
            anew(folder, tmp_path)
            eventually(lambda before=before: noticed() > before, what="the daemon has noticed")
            daemon.drop(song, str(folder / f"{number}.wav"))
            done(daemon, number, "its events are heard: nothing settles here within an hour")


@pytest.mark.parametrize("door", ["", "karaoke"])
def test_what_is_dropped_right_after_is_taken(tmp_path, song, door):
    with without_rescan(Daemon(tmp_path, defaults=STUB, inboxes={"karaoke": STUB})) as daemon:
        folder = daemon.spool.inbox / door
        for number, anew in enumerate((removed, renamed), start=1):
            anew(folder, tmp_path)
            shutil.copyfile(song, folder / f"{number}.wav")
            done(daemon, number, "it is taken without a rescan")


# ---- the spool's own mount


def test_a_root_that_is_not_mounted_is_left_empty(tmp_path, song):
    daemon = Daemon(tmp_path, defaults=STUB)
    real = daemon.spool.root.rename(tmp_path / "real")
    daemon.spool.root.mkdir()
    for words in (["run"], ["run", "--once"], ["list"], ["status", "0192f0c1"], ["submit", str(song)]):
        refused = daemon.stemd(*words)
        assert (refused.returncode, "STEMD-S019" in refused.stderr) == (75, True), (words, refused.stderr)
        assert "mkdir" in refused.stderr
    doctor = daemon.stemd("doctor")
    assert (doctor.returncode, "STEMD-S019" in doctor.stdout) == (1, True)
    assert list(daemon.spool.root.iterdir()) == []
    daemon.spool.root.rmdir()
    real.rename(daemon.spool.root)
    with daemon:
        daemon.drop(song, "song.wav")
        done(daemon, 1, "once it is there it is a spool")
    assert daemon.spool.marker.exists()


class Place:
    """A root whose spool can be taken away under the daemon, and put back."""

    def __init__(self, home: Path) -> None:
        self.home, self.root = home, home / "spool"
        self.root.mkdir(exist_ok=True)

    def mount(self) -> None: ...

    def vanish(self) -> None: ...


class Renamed(Place):
    """No mount at all: the root is renamed away, and an empty folder is in its place."""

    def mount(self) -> None:
        if (self.home / "away").exists():
            self.root.rmdir()
            (self.home / "away").rename(self.root)

    def vanish(self) -> None:
        self.root.rename(self.home / "away")
        self.root.mkdir()


class Bound(Place):
    """A bind mount over an empty root."""

    def mount(self) -> None:
        (self.home / "real").mkdir(exist_ok=True)
        mount("--bind", self.home / "real", self.root)

    def vanish(self) -> None:
        subprocess.run(["umount", "-l", self.root], check=True)


class Loop(Bound):
    """A file system of its own in an image, as on a disk that is pulled out."""

    def mount(self) -> None:
        image = self.home / "disk.img"
        if not image.exists():
            with image.open("wb") as file:
                file.truncate(1 << 30)
            subprocess.run(["mkfs.ext4", "-q", image], check=True)
        mount("-o", "loop", image, self.root)


def mount(*words: str | Path) -> None:
    done = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"mount is refused here: {done.stderr.strip()}")


@pytest.fixture(params=[Renamed, Bound, Loop], ids=lambda place: place.__name__.lower())
def place(request, tmp_path) -> Iterator[Place]:
    if request.param is not Renamed and os.geteuid() != 0:
        pytest.skip("mounting needs root")
    place = request.param(tmp_path)
    yield place
    if request.param is not Renamed:
        subprocess.run(["umount", "-l", place.root], check=False, capture_output=True)


def test_a_spool_that_vanishes_stops_the_daemon_and_a_restart_goes_on(place, tmp_path):
    long = write_wav(tmp_path / "long.wav", seconds=10.0)
    short = write_wav(tmp_path / "short.wav", seconds=0.5)
    place.mount()
    pace = {**STUB, "options": {"pace": 0.5}}
    with Daemon(tmp_path, defaults=STUB, inboxes={"slow": pace}) as daemon:
        shutil.copyfile(long, daemon.spool.inbox / "slow" / "long.wav")
        eventually(daemon.running, 60, "it separates")
        shutil.copyfile(short, daemon.spool.inbox / "short.wav")
        worker = daemon.worker()
        place.vanish()
        assert daemon.process.wait(120) == 75
        (event,) = daemon.events("spool_vanished")
        assert event["code"] == "STEMD-S020"
        eventually(lambda: ended(worker), what="its worker has ended")
        assert list(place.root.iterdir()) == [], "nothing is made or written in what is there now"
        assert daemon.stemd("run", "--once").returncode == 75, "the service manager tries in vain"
        place.mount()
        daemon.start()
        done(daemon, 2, "both are done")
        status = next(status for status in daemon.states().values() if status["title"] == "long")
        assert (status["interruptions"], status["attempts"]) == (1, 1)
        assert violations(daemon.spool, [long.read_bytes(), short.read_bytes()]) == []


# ---- one spool, two daemons


@contextmanager
def another_name(spool: Spool, kind: str) -> Iterator[Path]:
    path = spool.root.parent / "alias"
    if kind == "symlink":
        path.symlink_to(spool.root)
        yield path
    else:
        path.mkdir()
        with mounted("--bind", spool.root, path):
            yield path


@pytest.mark.parametrize("kind", ["symlink", pytest.param("bind mount", marks=needs_root)])
def test_a_second_daemon_is_refused_by_whatever_name_it_calls_the_spool(tmp_path, song, kind):
    with Daemon(tmp_path, defaults=STUB) as daemon, another_name(daemon.spool, kind) as path:
        second = daemon.stemd("run", "--spool", str(path))
        assert (second.returncode, "STEMD-S001" in second.stderr) == (75, True), second.stderr
        daemon.drop(song)
        done(daemon, 1, "the first goes on")


# ---- where events do not work


def without_inotify(daemon: Daemon) -> Daemon:
    """Run it in a user namespace of its own that may have no inotify instance; nobody else notices."""
    script = 'echo 0 > /proc/sys/user/max_inotify_instances && exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("user namespaces are refused here")
    daemon.python = [*command, sys.executable]
    return daemon


def test_without_events_it_polls_and_says_so(tmp_path, song):
    with without_inotify(Daemon(tmp_path, defaults=STUB)) as daemon:
        (event,) = daemon.events("watching")
        assert event["mode"] == "poll"
        assert "max_user_instances" in event["why"]
        assert daemon.metric(f'stemd_watch_mode{{inbox="{daemon.spool.inbox}",mode="poll"}}') == 1
        daemon.drop(song)
        done(daemon, 1, "it is found all the same")


def test_events_that_are_demanded_and_do_not_work_are_no_start(tmp_path):
    daemon = without_inotify(Daemon(tmp_path, defaults=STUB, inboxes={"karaoke": {**STUB, "watch": "events"}}))
    daemon.start(ready=False)
    assert daemon.process.wait(120) == 78
    said = daemon.log.read_text()
    assert "STEMD-S004" in said
    assert "inbox/karaoke: watch is `events`" in said


def test_one_inbox_may_be_polled_and_the_others_not(tmp_path, song):
    settings = {"defaults": NEVER, "inboxes": {"nas": {**STUB, "watch": "poll", "settle": "300ms"}}}
    with Daemon(tmp_path, **settings) as daemon:
        modes = {event["inbox"]: event["mode"] for event in daemon.events("watching")}
        assert modes == {str(daemon.spool.inbox): "events", str(daemon.spool.inbox / "nas"): "poll"}
        shutil.copyfile(song, daemon.spool.inbox / "nas" / "copied.wav")
        daemon.drop(song, "moved.wav")
        done(daemon, 2, "each comes its own way")
