"""The disk is full, of bytes or of inodes, at every stage of a job: nothing is lost, and with room again all ends well.

What happens in between (attempts that fail, entries that stay in the inbox, jobs that wait) is not looked at.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import psutil
import pytest

from stemd.core.errors import Exit
from tests.crash.soak import Ledger, recording
from tests.support.daemon import Daemon, eventually
from tests.support.spools import violations
from tests.support.system import fill, mounted, needs_root

pytestmark = needs_root


def use_up_inodes(folder: Path) -> list[Path]:
    made = []
    for number in count():
        path = folder / f".ballast-{number}"
        try:
            path.touch()
        except OSError:
            return made
        made.append(path)
    raise AssertionError("numbers do not end")


#: Kinds of scarcity: options of the tmpfs, and what uses up the rest of it (returns what was made).
SCARCE: dict[str, tuple[str, Callable[[Path], list[Path]]]] = {
    "bytes": ("size=64m", lambda folder: [fill(folder)]),
    "inodes": ("size=64m,nr_inodes=400", use_up_inodes),
}


class Tight:
    """A daemon on a small disk that can be filled and emptied."""

    def __init__(self, daemon: Daemon, kind: str) -> None:
        self.daemon, self.spool, self.ledger, self.kind = daemon, daemon.spool, Ledger(), kind
        self._use_up, self._rng, self._ballast = SCARCE[kind][1], random.Random(0), list[Path]()

    def drop(self, name: str, seconds: float = 0.3) -> None:
        content = recording(self._rng, seconds)
        digest = self.ledger.doubt(content)
        hidden = self.spool.root / ".arriving"
        hidden.write_bytes(content)
        hidden.rename(self.spool.inbox / name)
        self.ledger.accept(digest)

    def fill(self) -> None:
        self._ballast += self._use_up(self.spool.root)

    def make_room(self) -> None:
        for path in self._ballast:
            path.unlink()
        self._ballast = []

    @property
    def process(self) -> psutil.Process:
        assert self.daemon.process is not None
        return psutil.Process(self.daemon.process.pid)

    def separates(self) -> bool:
        """As the daemon sees it: a status file may be old where nothing can be written."""
        return self.daemon.metric('stemd_jobs{state="running"}') > 0

    def idle(self) -> bool:
        return not any(self.spool.inbox.rglob("*.wav")) and not any(self.spool.work.iterdir())

    def starts(self) -> bool:
        """Start the daemon; whether it comes to be ready."""
        before = len(self.daemon.events("ready"))
        self.daemon.start(ready=False)
        assert self.daemon.process is not None
        dead = self.daemon.process.poll
        eventually(lambda: dead() is not None or len(self.daemon.events("ready")) > before, 60)
        return dead() is None

    def answers(self) -> None:
        """The daemon lives, and says how things are."""
        status = self.daemon.stemd("status")
        assert status.returncode == 0, status.stderr
        assert self.daemon.process is not None
        assert self.daemon.process.poll() is None, self.daemon.log.read_text()[-3000:]

    def ends_well(self) -> None:
        """With room again, and what failed put back once, everything is in the outbox."""
        self.make_room()
        eventually(self.idle, 120, "everything has ended")
        if any(self.spool.orphan.glob("*/*")):
            self.daemon.stemd("retry", "--all", check=True)
            eventually(self.idle, 120, "everything has ended again")
        assert len(self.daemon.results()) == len(self.ledger.least)
        assert [*self.ledger.faults(self.spool), *violations(self.spool, [])] == []


@pytest.fixture(scope="module", params=SCARCE)
def tight(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tight]:
    options, _ = SCARCE[request.param]
    home = tmp_path_factory.mktemp(request.param)
    (home / "spool").mkdir()
    stub = {"engine": "stub", "model": "stub"}
    settings = {"inboxes": {"paced": {"options": {"pace": 0.5}}}, "retry": {"base": "100ms", "cap": "300ms"}}
    with (
        mounted("-t", "tmpfs", "-o", f"{options},mode=0755", "tmpfs", home / "spool"),
        Daemon(home, defaults=stub, **settings) as daemon,
    ):
        yield Tight(daemon, request.param)


@contextmanager
def held_still(process: psutil.Process) -> Iterator[None]:
    """One process, the daemon or a worker, does nothing during the block."""
    process.suspend()
    eventually(lambda: process.status() == psutil.STATUS_STOPPED, what="it has been stopped")
    try:
        yield
    finally:
        with suppress(psutil.NoSuchProcess):
            process.resume()


def test_full_before_the_claim(tight, tally):
    with held_still(tight.process):
        tight.drop("song.wav")
        tight.fill()
    time.sleep(2)  # for it to try, in vain
    tight.answers()
    tight.ends_well()
    tally("full disk", stages=1, lost=0)


def test_full_during_separation(tight, tally):
    tight.drop("paced/song.wav", 6.0)
    eventually(tight.daemon.running, 60, "it separates")
    tight.fill()
    eventually(lambda: not tight.separates(), 60, "a chunk finds no room")
    tight.answers()
    tight.ends_well()
    tally("full disk", stages=1, lost=0)


def test_full_when_it_is_published(tight, tally):
    tight.drop("paced/song.wav", 5.0)
    eventually(tight.daemon.running, 60, "it separates")
    with held_still(tight.process):
        eventually(lambda: any(tight.spool.work.glob("*/out.partial/manifest.json")), 60, "it is staged")
        tight.fill()
    eventually(lambda: not tight.separates(), 60, "the daemon has heard of it")
    tight.answers()
    tight.ends_well()
    tally("full disk", stages=1, lost=0)


def test_full_when_it_goes_to_orphan(tight, tally):
    tight.drop("first.wav")
    eventually(tight.idle, 60, "it is done; a worker waits")
    with held_still(tight.daemon.worker()):
        tight.drop("song.wav")
        job = eventually(lambda: tight.daemon.in_state("running"), 60, "its worker has been told")["job_uuid"]
        tight.fill()
        assert tight.daemon.stemd("cancel", job).returncode == 0
        tight.daemon.worker().kill()
    eventually(lambda: not tight.separates(), 60, "the daemon has heard of it")
    tight.answers()
    tight.make_room()
    if tight.kind == "inodes":  # instead of coming back to it after a while, a new daemon finds it
        tight.daemon.kill()
        tight.daemon.start()
    tight.ends_well()
    tally("full disk", stages=1, lost=0)


def test_full_at_a_restart(tight, tally):
    tight.drop("paced/song.wav", 6.0)
    tight.drop("other.wav")
    eventually(tight.daemon.running, 60, "it separates")
    tight.daemon.kill()
    tight.fill()
    if tight.starts():
        tight.answers()
        tight.make_room()
    else:  # it says that it cannot even start, and the service manager tries again
        assert tight.daemon.process.returncode == Exit.TRY_LATER
        tight.make_room()
        tight.daemon.start()
    tight.ends_well()
    tally("full disk", stages=1, lost=0)
