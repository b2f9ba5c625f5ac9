"""A power cut after every system call of a prune and of an erasure, on a disk that owes nothing beyond what was
flushed: after a restart (and the prune that comes next) it ends as if nothing had been."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stemd.spool import belongings, erase, holdings
from stemd.spool.belongings import Subject
from stemd.spool.books import Books
from stemd.spool.trail import Trail, records, verify
from tests.crash import test_retention_steps as steps_of
from tests.crash.deletions import prune, way_to
from tests.crash.disk_model import Disk, Tree
from tests.crash.states import State, explain, judge
from tests.crash.test_retention_steps import OTHER, USER, begin_erasure, filled, restart, state, traces
from tests.crash.test_states import needs_strace, place
from tests.crash.trace import Mark, Operation, record
from tests.support.spools import violations
from tests.unit.spool.conftest import Way

__all__ = ["place"]
pytestmark = needs_strace

#: Combinations tried in full at one point, and states that differ only in what is left in the trash.
MOST, ALIKE = 32, 3


@dataclass(frozen=True)
class Left(State):
    """``ordered``: the erasure had been promised by then."""

    ordered: bool = False


def left_by(disk: Disk, operations: list[Operation], tally: Callable[..., None]) -> Iterator[Left]:
    chance, ordered = random.Random(1), False
    seen: set[tuple[Tree, bool]] = set()
    alike: Counter[tuple[Tree, bool]] = Counter()
    for operation in operations:
        ordered = ordered or operation == Mark("G1")
        if not disk.apply(operation) and operation != Mark("G1"):
            continue
        tally("states of deletions", points=1)
        for tree in disk.states(MOST, chance):
            visible = tuple(each for each in tree if not each[0].startswith("work/.trash/")), ordered
            if (tree, ordered) not in seen and alike[visible] < ALIKE:
                seen.add((tree, ordered))
                alike[visible] += 1
                yield Left(tree, str(operation)[:200], 0, False, ordered)


def survey(
    root: Path, what: str, tally: Callable[..., None], check: Callable[[Way, Left, list[str]], list[str]]
) -> list[str]:
    """``check`` every state, with what is there after an undisturbed run; what is wrong with the bad ones.

    The states are made real where the run was: the books are called like the place.
    """
    disk = Disk.load(root)
    command = [sys.executable, "-B", "-m", "tests.crash.deletions", str(root), what]
    operations = record(command, root, root.with_suffix(".strace"))
    end = state(way_to(root))
    states = list(left_by(disk, operations, tally))

    def verdict(left: Left) -> list[str]:
        way = way_to(root)
        before = [f"before: {fault}" for fault in violations(way.spool, [], idle=False) if fault.startswith("I2")]
        wrong = [*before, *check(way, left, end), *violations(way.spool, [], idle=False)]
        wrong += list(verify(Books.of(way.config)))
        if (way.spool.inbox / "ben" / "other.wav").read_bytes() != OTHER:
            wrong.append("what ben dropped is not what it was")
        return wrong + [f"{path}: not as after an undisturbed run" for path in {*state(way)} ^ {*end}]

    answers = judge(states, root, verdict)
    bad = [explain(left, wrong) for left, wrong in zip(states, answers, strict=True) if wrong]
    tally("states of deletions", states=len(states), violations=len(bad))
    assert len(states) > 100
    return bad


def at_work(way: Way) -> int:
    return len(list(way.spool.work.glob("[!.]*")))


def test_every_state_a_power_cut_can_leave_of_a_prune_ends_the_same(place, tally):
    root = place / "spool"
    way = filled(root)
    trail = Trail(Books.of(way.config))
    kept = {path: holdings.job_of(path) for area in ("outbox", "orphan") for path in (root / area).glob("*/*")}
    for job in kept.values():
        trail.record("ended", job=job)
    told_as = {job: trail.keys.pseudonym("job", job) for job in kept.values()}

    def check(way: Way, left: Left, end: list[str]) -> list[str]:
        books = Books.of(way.config)
        Trail(books)  # cuts what was never written to its end
        told = {each.get("job") for each in records(books) if each["event"] == "pruned"}
        gone = {job for path, job in kept.items() if not path.exists()}
        restart(way)
        prune(way)
        wrong = [f"job {job} is gone, and the trail does not say so" for job in gone if told_as[job] not in told]
        return wrong + (["what is at work was touched"] if at_work(way) != 2 else [])

    bad = survey(root, "prune", tally, check)
    assert not bad, f"{len(bad)} states; the first: {bad[0]}"


def test_every_state_a_power_cut_can_leave_of_an_erasure_ends_the_same(place, tally):
    root = place / "spool"
    way = filled(root)
    steps_of.HASHES[:] = [digest.encode() for digest in belongings.find(way.config, Subject(user=USER)).hashes]

    def check(way: Way, left: Left, end: list[str]) -> list[str]:
        restart(way)
        if traces(way) and not left.ordered:
            begin_erasure(way)  # nobody was promised anything: it is asked for once more
        wrong = [f"{path} tells of who was erased" for path in traces(way)]
        wrong += [f"order {order.id} stands" for order in erase.pending(Books.of(way.config))]
        return wrong + (["ben's job is gone"] if at_work(way) != 1 else [])

    bad = survey(root, "erase", tally, check)
    assert not bad, f"{len(bad)} states; the first: {bad[0]}"
