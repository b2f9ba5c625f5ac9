"""The watcher on real folders: what it knows about arrivals, what it forgets, and what it survives."""

import os
import shutil
from pathlib import Path

import pytest

from stemd.daemon.watcher import POLL_INTERVAL, RESCAN_INTERVAL, Mode, Watcher
from stemd.spool.settle import Arrival
from tests.support.system import mounted, needs_root


class Watched:
    """An inbox with a watcher on it; ``news`` counts how often a look was worthwhile."""

    def __init__(self, home: Path) -> None:
        self.home, self.inbox = home, home / "inbox"
        (self.inbox / "ana").mkdir(parents=True)
        self.news = 0
        self.watcher = Watcher(self._moved)
        self.doors = {str(self.inbox): "auto", str(self.inbox / "ana"): "auto"}
        self.watcher.watch(self.doors)
        self.settle()

    def _moved(self) -> None:
        self.news += 1

    def settle(self) -> None:
        self.watcher.read()
        self.news = 0

    def outside(self, name: str = "song.wav") -> Path:
        path = self.home / name
        path.write_bytes(b"recording")
        return path

    def arrived(self) -> dict[str, Arrival]:
        return {os.path.relpath(path, self.inbox): how for path, how in self.watcher.arrivals().items()}


@pytest.fixture
def watched(tmp_path):
    watched = Watched(tmp_path)
    yield watched
    watched.watcher.stop()


def flood(folder: Path) -> None:
    """More events than the kernel keeps, of growing files only; no two in a row are alike, so none are merged."""
    with (folder / ".one").open("wb", buffering=0) as one, (folder / ".two").open("wb", buffering=0) as two:
        for _ in range(int(Path("/proc/sys/fs/inotify/max_queued_events").read_text()) // 2 + 10):
            one.write(b"x")
            two.write(b"x")


def test_how_an_entry_came(watched):
    watched.outside("moved.wav").rename(watched.inbox / "moved.wav")
    watched.outside("ana.wav").rename(watched.inbox / "ana" / "ana.wav")
    for hidden, name in ((".stemd-1", "own.wav"), (".rsync.1", "rsync.wav")):
        (watched.inbox / hidden).write_bytes(b"x")
        (watched.inbox / hidden).rename(watched.inbox / name)
    (watched.inbox / "copied.wav").write_bytes(b"x")
    assert watched.arrived() == {
        "moved.wav": Arrival.MOVED,
        "ana/ana.wav": Arrival.MOVED,
        "own.wav": Arrival.OWN,
        "rsync.wav": Arrival.GROWN,
    }
    assert watched.news == 1, "one look for all of them"


def test_a_folder_is_as_it_came_until_something_in_it_changes(watched):
    outside = watched.home / "job"
    (outside / "deep").mkdir(parents=True)
    outside.rename(watched.inbox / "job")
    assert watched.arrived() == {"job": Arrival.MOVED}
    (watched.inbox / "job" / "deep" / "late.wav").write_bytes(b"x")
    assert watched.arrived() == {}


def test_what_is_written_to_after_it_came_settles(watched):
    watched.outside().rename(watched.inbox / "song.wav")
    assert watched.arrived() == {"song.wav": Arrival.MOVED}
    with (watched.inbox / "song.wav").open("ab") as file:
        file.write(b"more")
        file.flush()
        assert watched.arrived() == {}


def test_growth_is_no_news_but_its_end_and_a_changed_mode_are(watched):
    with (watched.inbox / "song.wav").open("wb", buffering=0) as file:
        watched.settle()
        file.write(b"x")
        watched.watcher.read()
        assert watched.news == 0
    watched.watcher.read()
    assert watched.news == 1
    (watched.inbox / "song.wav").chmod(0o600)
    watched.watcher.read()
    assert watched.news == 2


def test_reading_is_no_news(watched):
    path = watched.inbox / "song.wav"
    path.write_bytes(b"x")
    watched.settle()
    path.read_bytes()
    list(watched.inbox.iterdir())
    watched.watcher.read()
    assert watched.news == 0


def test_lost_events_are_noticed_and_nothing_that_was_believed_is_believed_on(watched):
    watched.outside().rename(watched.inbox / "song.wav")
    flood(watched.inbox)
    (watched.inbox / "unseen").mkdir()
    watched.outside("late.wav").rename(watched.inbox / "late.wav")
    assert watched.arrived() == {}
    assert watched.watcher.overflows == 1
    watched.settle()
    (watched.inbox / "unseen" / "job.yaml").write_bytes(b"x")
    watched.watcher.read()
    assert watched.news, "the folder that came unseen is watched"
    watched.outside().rename(watched.inbox / "after.wav")
    assert watched.arrived() == {"after.wav": Arrival.MOVED}
    assert watched.watcher.overflows == 1


def test_lost_events_are_news_even_if_nothing_else_is(watched):
    (watched.inbox / ".one").touch()
    (watched.inbox / ".two").touch()
    watched.settle()
    flood(watched.inbox)
    watched.watcher.read()
    assert (watched.watcher.overflows, watched.news) == (1, 1)


@pytest.mark.parametrize("door", ["", "ana"])
@pytest.mark.parametrize("way", ["removed", "renamed"])
def test_a_folder_in_the_place_of_a_door_is_watched(watched, door, way):
    path = watched.inbox / door
    watched.outside().rename(path / "song.wav")
    assert watched.arrived()
    old = path
    if way == "removed":
        shutil.rmtree(path)
    else:
        old = path.rename(watched.home / "old")
    path.mkdir()
    assert str(path) in watched.watcher.renew()
    assert watched.arrived() == {}, "what is known is known of the folder before"
    watched.settle()
    watched.outside("new.wav").rename(path / "new.wav")
    assert list(watched.arrived().values()) == [Arrival.MOVED]
    if way == "renamed":
        watched.settle()
        (old / "stray.wav").write_bytes(b"x")
        watched.watcher.read()
        assert watched.news == 0, "the folder before is nobody's any more"
    assert watched.watcher.renew() == []


def test_a_door_that_is_gone_is_looked_for(watched):
    shutil.rmtree(watched.inbox)
    assert watched.watcher.renew() == list(watched.doors)
    assert {mode.name for mode in watched.watcher.modes.values()} == {"poll"}
    assert watched.watcher.interval == POLL_INTERVAL
    assert watched.watcher.renew() == []
    (watched.inbox / "ana").mkdir(parents=True)
    assert watched.watcher.renew() == list(watched.doors)
    assert {mode.name for mode in watched.watcher.modes.values()} == {"events"}
    assert watched.watcher.interval == RESCAN_INTERVAL


@needs_root
def test_a_mount_over_a_door_is_watched_and_so_is_the_door_after_it(watched, tmp_path):
    with mounted("-t", "tmpfs", "tmpfs", watched.inbox):
        assert str(watched.inbox) in watched.watcher.renew()
        (watched.inbox / "song.wav").write_bytes(b"x")
        watched.settle()
        (watched.inbox / "song.wav").unlink()
        watched.watcher.read()
        assert watched.news
    assert str(watched.inbox) in watched.watcher.renew()
    watched.outside().rename(watched.inbox / "song.wav")
    assert watched.arrived() == {"song.wav": Arrival.MOVED}


def test_a_folder_that_left_is_not_followed(watched):
    (watched.inbox / "album" / "deep").mkdir(parents=True)
    watched.settle()
    gone = (watched.inbox / "album").rename(watched.home / "album")
    watched.settle()
    (gone / "deep" / "x.wav").write_bytes(b"x")
    watched.watcher.read()
    assert watched.news == 0


def test_doors_have_modes_of_their_own(watched):
    watched.watcher.watch({str(watched.inbox): "events", str(watched.inbox / "ana"): "poll"})
    assert watched.watcher.modes == {
        str(watched.inbox): Mode("events"),
        str(watched.inbox / "ana"): Mode("poll", "configured"),
    }
    assert watched.watcher.interval == POLL_INTERVAL
    watched.watcher.insist()


def test_a_folder_where_no_probe_can_be_made_is_polled(tmp_path):
    watcher = Watcher(lambda: None)
    watcher.watch({"/proc/self": "auto"})
    (mode,) = watcher.modes.values()
    assert mode.name == "poll"
    assert mode.why
    watcher.stop()
    assert watcher.fileno() is None
    watcher.read()


def test_reorganising_the_inbox_confuses_nobody(watched):
    """A folder renamed into one that is entered only now gets its watch under two names for a moment."""
    inbox = watched.inbox
    (inbox / "Album" / "CD1").mkdir(parents=True)
    watched.settle()
    (inbox / "Artist").mkdir()
    (inbox / "Album").rename(inbox / "Artist" / "Album")
    watched.watcher.read()
    (inbox / "Album").mkdir()
    watched.watcher.read()
    (inbox / "Artist").rename(watched.home / "gone")
    watched.watcher.read()
    shutil.rmtree(inbox / "Album")
    watched.settle()
    (inbox / "Album").mkdir()
    watched.settle()
    (inbox / "Album" / "late.wav").write_bytes(b"x")
    watched.watcher.read()
    assert watched.news
