"""The power fails: real file systems, a real journal replay, then recovery, then the invariants.

Each scenario runs in a forked child that cuts the power of its file system just before its k-th change of the disk,
or just after its k-th step, and ends. k goes up until the scenario survives, and then the power is cut too: what has
ended must stay ended.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stemd.core.errors import StemdError
from stemd.spool import durable, steps
from stemd.spool.layout import Spool
from tests.crash.images import FILE_SYSTEMS, Image, cut, image
from tests.crash.scenarios import (
    EXTRA,
    SOURCE,
    Pipeline,
    drop,
    drop_staged,
    failing,
    failing_late,
    restart,
    retried,
    whole,
)
from tests.crash.soak import Ledger, recording
from tests.support.daemon import Daemon, eventually
from tests.support.spools import make_spool, violations

#: Every point instead of a selection.
EVERYTHING = bool(os.environ.get("STEMD_TEST_EVERYTHING"))
_CUT, _CUT_BEFORE_ACCEPTANCE = 77, 78
_CHANGES = frozenset({"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.chmod", "os.truncate"})


class Fuse:
    """Cuts the power at the ``limit``-th point and ends the process, with a status that says if A2 was reached."""

    def __init__(self, limit: int, folder: Path, *, accepted: bool) -> None:
        self._left, self._folder, self._accepted = limit, folder, accepted

    def install(self) -> None:
        """From now on count the steps, and what is about to change or flush the disk."""
        sys.addaudithook(self._audit)
        steps.install(self._step)
        self._count_calls_of(os, "fsync")
        self._count_calls_of(durable, "rename")

    def _point(self) -> None:
        self._left -= 1
        if self._left == 0:
            cut(self._folder)
            os._exit(_CUT if self._accepted else _CUT_BEFORE_ACCEPTANCE)

    def _step(self, name: str) -> None:
        self._accepted = self._accepted or name == "A2"
        self._point()

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in _CHANGES or (event == "open" and isinstance(flags := arguments[2], int) and flags & os.O_CREAT):
            self._point()

    def _count_calls_of(self, module: object, name: str) -> None:
        call = getattr(module, name)

        def counted(*arguments: object) -> None:
            self._point()
            call(*arguments)

        setattr(module, name, counted)


def run_until_cut(limit: int, scenario: Callable[[Pipeline], None], spool: Spool, *, accepted: bool = False) -> int:
    """Run the scenario in a child whose power fails at the ``limit``-th point; 0 if it came through to its end."""
    child = os.fork()
    if child == 0:
        try:
            Fuse(limit, spool.root, accepted=accepted).install()
            scenario(Pipeline(spool))
            cut(spool.root)
            os._exit(0)
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {0, _CUT, _CUT_BEFORE_ACCEPTANCE}, f"the scenario itself failed before point {limit}"
    return status


@pytest.fixture(params=FILE_SYSTEMS)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Image]:
    with image(tmp_path, request.param, tmp_path / "disk") as mounted:
        yield mounted


def new_spool(disk: Image, name: str) -> Spool:
    """A prepared, empty spool whose folders are on the disk."""
    spool = make_spool(disk.mount / name)
    disk.flush()
    return spool


def take_away(spool: Spool) -> None:
    """What was not accepted may be lost or torn: whoever dropped it has to look, and here takes it away."""
    for path in spool.inbox.iterdir():
        durable.remove_tree(path)


def ends(spool: Spool) -> int:
    return len(list(spool.outbox.glob("*/*/manifest.json"))) + len(list(spool.orphan.glob("*/*/error.json")))


#: Scenario, arrival, what becomes of the source, and every how many points the power is cut.
SELECTION = [
    (whole, drop, "keep", 2),
    (whole, drop, "delete", 8),
    (whole, drop_staged, "keep", 8),
    (failing, drop, "keep", 6),
    (failing_late, drop_staged, "delete", 8),
    (retried, drop, "keep", 8),
]


@pytest.mark.parametrize(("scenario", "arrive", "keep", "stride"), SELECTION)
def test_a_power_cut_at_any_point_loses_nothing(disk, scenario, arrive, keep, stride, monkeypatch, tally):
    monkeypatch.setitem(EXTRA, "defaults.source", keep)
    stride = 1 if EVERYTHING else stride
    # where points are left out, each file system takes others
    point, cuts, status = 1 + list(FILE_SYSTEMS).index(disk.name) % stride, 0, -1
    while status != 0:
        spool = new_spool(disk, f"{point}")
        arrive(spool)
        status = run_until_cut(point, scenario, spool)
        disk.power_up()
        accepted = status != _CUT_BEFORE_ACCEPTANCE
        sources = [SOURCE] if keep == "keep" else []
        between = violations(spool, sources if accepted else [], idle=False)
        if not accepted:
            take_away(spool)
            arrive(spool)
        restart(spool)
        disk.cut()  # what recovery has brought to its end must stay there as well
        disk.power_up()
        restart(spool)
        assert (between, violations(spool, sources), ends(spool)) == ([], [], 1), f"power cut at point {point}"
        cuts += 1
        point += stride
    assert cuts >= 8
    tally("power", points=cuts, cuts=2 * cuts, lost=0)


def test_a_power_cut_during_recovery_is_recovered_too(disk, tally):
    cuts = 0
    for first in (15, 36, 56, 64, 78, 90) if EVERYTHING else (36, 64, 90):
        second, status = 1, -1
        while status != 0:
            spool = new_spool(disk, f"{first}-{second}")
            drop(spool)
            assert run_until_cut(first, whole, spool) == _CUT, "the scenario has fewer points than that"
            disk.power_up()
            status = run_until_cut(second, lambda pipeline: restart(pipeline.spool), spool, accepted=True)
            disk.power_up()
            restart(spool)
            assert violations(spool, [SOURCE]) == [], f"power cut at point {first}, then at {second} of recovery"
            cuts += 2
            second += 1 if EVERYTHING else 23
    tally("power", points=cuts // 2, cuts=cuts, lost=0)


class Dropper(threading.Thread):
    """Drops one recording after the other, as carefully as a program can: flushed, renamed, its folder flushed."""

    def __init__(self, spool: Spool, ledger: Ledger, rng: random.Random) -> None:
        super().__init__()
        self.enough = threading.Event()
        self._inbox, self._ledger, self._rng = spool.inbox, ledger, rng

    def run(self) -> None:
        while not self.enough.wait(self._rng.uniform(0, 0.3)):
            content = recording(self._rng, self._rng.uniform(0.05, 0.5))
            digest = self._ledger.doubt(content)
            try:
                durable.write(self._inbox / f"{digest[:8]}.wav", content)
            except (OSError, StemdError):
                return  # the power is gone; what was on its way may be there or not
            self._ledger.accept(digest)


@pytest.mark.parametrize(("name", "seed"), [("ext4-writeback", 1), ("xfs", 2)])
def test_power_cuts_under_the_running_daemon_lose_nothing(tmp_path, name, seed, tally):
    rng, ledger, cuts = random.Random(seed), Ledger(), 3
    with image(tmp_path, name, tmp_path / "spool") as disk:
        with Daemon(tmp_path, defaults={"engine": "stub", "model": "stub"}) as daemon:
            for _ in range(cuts):
                dropper = Dropper(daemon.spool, ledger, rng)
                dropper.start()
                time.sleep(rng.uniform(0, 4))
                disk.cut()
                time.sleep(rng.choice([0, 0.2]))  # so long it may try on, in vain
                dropper.enough.set()
                dropper.join()
                daemon.kill()
                disk.power_up()
                daemon.start()
            eventually(lambda: not pending(daemon.spool), 120, "everything has ended")
            assert daemon.stop() == 0
        assert [*ledger.faults(daemon.spool), *violations(daemon.spool, [])] == []
    assert ledger.least
    tally("power under the daemon", cuts=cuts, accepted=len(ledger.least), lost=0)


def pending(spool: Spool) -> list[Path]:
    return [*spool.inbox.glob("[!.]*"), *spool.work.iterdir()]
