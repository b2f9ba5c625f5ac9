"""Retention: what has been kept long enough is deleted. ``plan`` decides and is pure; ``apply`` does it.

Only what is left of ended jobs is ever looked at (I12): nothing in an inbox, nothing in work/, no status of a living
job. A consumer who moved a folder away is no error. A clock that jumped cannot delete everything: a run is bounded,
and nothing is deleted at all until the clock has gone steadily from one run to the next.
"""

from __future__ import annotations

import heapq
import os
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from stemd.core import compliance
from stemd.core.access import Person
from stemd.core.config import Config
from stemd.core.errors import StemdError
from stemd.spool import attempts, durable, halt, holdings
from stemd.spool.books import Books, tombstones
from stemd.spool.holdings import Holding
from stemd.spool.layout import Spool
from stemd.spool.trail import Trail
from stemd.spool.trash import Trash, remove_empty

#: Thrown away together before any of it is deleted: one flush for each folder they came from.
_BATCH = 256
#: Chosen at one look, however many a run may delete: that many are in memory, and then it looks again.
_CHOSEN = 10_000
#: A clock may run so much faster or slower than the machine's own between two runs …
_DRIFT = 3600.0
#: … and a machine may be off for so long without arousing suspicion (seconds).
_AWAY = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Rules:
    """What applies now: the term of each area in seconds (``None``: for ever), what is held, which jobs are erased."""

    terms: Mapping[str, float | None]
    held: Callable[[Holding], bool] = lambda holding: False
    erased: Callable[[str], bool] = lambda job: False


@dataclass(frozen=True, slots=True)
class Plan:
    """``chosen`` are to be deleted now, those first that have been due for longest; ``due`` counts all by area."""

    chosen: tuple[Holding, ...]
    due: Mapping[str, int]
    held: int
    kept: int


def ends(holding: Holding, rules: Rules) -> float | None:
    """When its term ends; ``None`` never. What its records say was promised; what says nothing has today's term."""
    if holding.until is not None:
        return holding.until
    term = rules.terms.get(holding.area)
    return None if term is None else holding.since + term


def plan(now: float, entries: Iterable[Holding], rules: Rules, most: int | None = None) -> Plan:
    """What of ``entries`` to delete at ``now``: at most ``most``, what was erased (and came back) before all else."""
    due, held, kept = Counter[str](), 0, 0

    def waiting() -> Iterator[tuple[float, int, Holding]]:
        nonlocal held, kept
        for number, holding in enumerate(entries):
            end = float("-inf") if holding.job and rules.erased(holding.job) else ends(holding, rules)
            if end is None or end > now:
                kept += 1
            elif rules.held(holding):
                held += 1
            else:
                due[holding.area] += 1
                yield end, number, holding

    # of none at all nsmallest does not even look, and nothing would be counted
    ranked = sorted(waiting()) if most is None else heapq.nsmallest(max(1, most), waiting())[:most]
    return Plan(tuple(holding for _, _, holding in ranked), due, held, kept)


# ---- the clock


@dataclass(frozen=True, slots=True)
class Clock:
    """What the clocks say: the wall's, and that of the machine since its start ``boot`` (seconds)."""

    wall: float
    running: float
    boot: str

    @classmethod
    def now(cls) -> Clock:
        return cls(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), attempts.boot_id())


def is_steady(before: Clock | None, now: Clock) -> bool:
    """Whether the wall clock went on from ``before`` as clocks do. Without a ``before`` nothing speaks against it."""
    if before is None:
        return True
    passed = now.wall - before.wall
    if now.boot == before.boot:
        return abs(passed - (now.running - before.running)) <= _DRIFT
    return -_DRIFT <= passed <= _AWAY


def look_at_clock(books: Books, *, force: bool = False) -> bool:
    """Whether the clock is steady, or has to be believed (``force``): then it is what the next run compares with.

    Otherwise that stays what it was. A clock that is wrong goes on as steadily as one that is right.
    """
    known = durable.read_json(books.clock)
    try:
        before = Clock(**known) if known else None
    except TypeError:
        before = None
    now = Clock.now()
    believed = force or is_steady(before, now)
    if believed:
        durable.write_json(books.clock, {"wall": now.wall, "running": now.running, "boot": now.boot})
    return believed


# ---- a run


@dataclass(slots=True)
class Outcome:
    """How a run went, by area; ``left`` are those that were due and are still there."""

    deleted: Counter[str] = field(default_factory=Counter)
    vanished: int = 0
    failed: list[str] = field(default_factory=list)
    due: Mapping[str, int] = field(default_factory=dict)
    held: int = 0

    @property
    def left(self) -> int:
        return max(0, sum(self.due.values()) - sum(self.deleted.values()) - self.vanished)

    def to_dict(self) -> dict[str, Any]:
        return {
            "deleted": dict(self.deleted),
            "due": dict(self.due),
            "left": self.left,
            "held": self.held,
            "vanished": self.vanished,
            "failed": self.failed,
        }


def rules_of(config: Config, books: Books) -> Rules:
    """The rules of this configuration."""
    terms = config.retention
    held = lru_cache(10_000)(lambda inbox, user: compliance.held(config, inbox, user))
    return Rules(
        {
            "outbox": terms.outbox, "album": terms.outbox, "orphan": terms.orphan, "status": terms.status,
            "logs": terms.logs, "caches": terms.caches,
        },
        lambda holding: holding.job in config.compliance.held_jobs or held(holding.inbox, holding.user),
        tombstones(books),
    )  # fmt: skip


def look(
    config: Config, books: Books, most: int | None = None, *, now: float | None = None, without: Container[str] = ()
) -> Plan:
    """What a run would do ``now``; with ``most`` unbounded this shows all. Places in ``without`` are passed over."""
    found = (each for each in entries(config) if each.place not in without)
    return plan(time.time() if now is None else now, found, rules_of(config, books), most)


def entries(config: Config) -> Iterator[Holding]:
    """All that is kept in all spools."""
    for root in config.spool:
        yield from holdings.everything(Spool(root), config.state_of(root))


def run(
    config: Config, trail: Trail, books: Books, *, actor: Person | None = None, force: bool = False,
    told: Callable[[Outcome], None] = lambda outcome: None,
) -> Outcome:  # fmt: skip
    """One run of retention. Needs the spools' locks, or to be the daemon. ``told`` is called after each batch.

    Raises:
        StemdError: STEMD-S021, the clock jumped (unless ``force``); the audit trail could not be written.
        HaltedError: the process ends; what was taken out of sight goes at the next start.
    """
    if not look_at_clock(books, force=force):
        raise StemdError("STEMD-S021", "the clock is not where it should be since the last run")
    for root in config.spool:
        Trash(Spool(root)).empty()  # what of it cannot be deleted is told after the last batch
    now, most, outcome, stuck = time.time(), config.retention.per_run, Outcome(), set[str]()
    while most > 0:
        chosen = look(config, books, min(most, _CHOSEN), now=now, without=stuck)
        # a status is due once its result is gone: a later look may find more
        outcome.due = Counter(outcome.due) | (outcome.deleted + Counter(chosen.due))
        outcome.held = chosen.held
        todo = sorted(chosen.chosen, key=lambda each: (each.area, each.place))  # neighbours share their flushes
        for number in range(0, len(todo), _BATCH):
            halt.check()
            stuck |= apply(config, trail, todo[number : number + _BATCH], outcome, actor)
            told(outcome)
        most -= _CHOSEN if len(todo) == _CHOSEN else most
    for root in config.spool:
        outcome.failed += [f"the trash: {_cause(error)}" for error in Trash(Spool(root)).empty()]
    if config.retention.audit is not None:
        trail.prune(time.time() - config.retention.audit, actor)
    if outcome.due:
        trail.record("pruned_all", actor=actor, deleted=dict(outcome.deleted), left=outcome.left, held=outcome.held)
    return outcome


def apply(
    config: Config, trail: Trail, batch: Iterable[Holding], outcome: Outcome, actor: Person | None = None
) -> set[str]:
    """Delete one batch: told in the audit trail first, then out of sight, then gone; returns where that failed."""
    batch, stuck = tuple(batch), set[str]()
    trail.record_all(
        [
            trail.entry(
                "pruned", actor=actor, user=each.user or None, job=each.job or None, area=each.area, known_only=True
            )
            for each in batch
        ]
    )
    for root in config.spool:
        spool, trash = Spool(root), Trash(Spool(root))
        emptied: list[Path] = []
        for each in batch:
            try:
                if each.area in {"logs", "caches"}:
                    if each.path.is_relative_to(config.state_of(root)):
                        each.path.unlink(missing_ok=True)
                        outcome.deleted[each.area] += 1
                elif each.path.is_relative_to(root):
                    gone = trash.take(each.path, lambda path, each=each: _is_still(path, each))  # type: ignore[misc]
                    outcome.deleted[each.area] += gone
                    outcome.vanished += not gone
                    if each.area == "outbox":
                        emptied.append(each.path.parent)
            except (StemdError, OSError) as error:
                outcome.failed.append(f"{each.area} of job {each.job or 'unknown'}: {_cause(error)}")
                stuck.add(each.place)
        trash.empty()
        for folder in emptied:  # of an album; users' own folders stay: a job may be on its way there
            remove_empty(folder, spool.outbox / folder.relative_to(spool.outbox).parts[0])
    return stuck


def _cause(error: StemdError | OSError) -> str:
    """Why, with no name in it: this goes into the journal."""
    number = error.errno if isinstance(error, OSError) else error.detail.get("errno")
    return os.strerror(number) if isinstance(number, int) else str(getattr(error, "code", "unknown"))


def _is_still(path: Path, holding: Holding) -> bool:
    """Whether what lies there is what was planned: another result may have got its name, the job be put back."""
    match holding.area:
        case "status":
            return holdings.is_status_ended(path)
        case "album":
            return holdings.job_of(path) == holding.job and next(path.rglob("manifest.json"), None) is None
        case _:
            return holdings.job_of(path) == holding.job
