"""The right to be forgotten: everything of a user or a job is deleted, on every path, and does not come back.

An erasure is an *order*, written down before anything is done and removed when all is: a crash in between is gone on
from, by the next daemon before it takes anything up, or by the next command. Every step can be repeated:

| step | what happens |
|---|---|
| G1 | the order is on the disk |
| G2 | tombstones for all its jobs: from here on nothing of them is taken up again, or handed over |
| G3 | everything found is out of sight (D1), then gone (D2, D3) |
| G4 | albums of others' jobs, and whoever else keeps books, name it no more |
| G5 | it stands in the audit trail; then the keys to its pseudonyms go |
| G6 | a search of all that is kept finds nothing; the receipt is on the disk |
| G7 | the order is gone |
"""

from __future__ import annotations

import errno
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from stemd.core import compliance
from stemd.core.access import Person
from stemd.core.config import Config
from stemd.core.errors import StemdError
from stemd.core.job import SCHEMA_VERSION, JobState, decode_name, encode_name
from stemd.spool import belongings, durable, handover, holdings, intents, joblock, ledger, sidecar, usage
from stemd.spool.belongings import Found, Subject
from stemd.spool.books import Books, bury, is_buried
from stemd.spool.halt import HaltedError
from stemd.spool.layout import Spool
from stemd.spool.steps import step
from stemd.spool.trail import Trail
from stemd.spool.trash import Trash
from stemd.spool.verification import Secrets, search

#: What else keeps something of users and jobs, by name: each deletes it, may be called again, and says how much it was.
#: The arguments: the configuration, the user (``None``: only the jobs), the jobs.
Eraser = Callable[[Config, str | None, frozenset[str]], int]
ERASERS: dict[str, Eraser] = {"decisions": intents.erase}
#: A folder may be filled once more by what was under way when it was taken.
_PASSES = 5
#: Why something cannot be deleted now, nor a minute later: somebody else owns it, or nested it too deep.
_LASTING = frozenset({errno.EACCES, errno.EPERM, errno.ENAMETOOLONG})
#: What to do about an order that a hold has stopped.
_WHEN_LIFTED = (
    "When the hold or the duty to keep it is over, take it out of the configuration and `stemd reload`: the order is "
    "carried out within the hour. If more comes until then, ask again."
)
_ASK_AGAIN = "`stemd erase` again, if that is to go as well: then all of it does."


@dataclass(slots=True)
class Order:
    """One erasure. ``jobs``, ``names`` and ``hashes`` grow as they are found; ``owner`` is kept: records go.

    ``held``: a legal hold, or a duty to keep, has stopped it since it was asked for last. What came meanwhile it does
    not take along unless somebody asks for it again.
    """

    id: str
    subject: Subject
    asked_at: float
    actor: Person | None = None
    jobs: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    hashes: set[str] = field(default_factory=set)
    deleted: Counter[str] = field(default_factory=Counter)
    owner: str | None = None
    held: bool = False

    def to_dict(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "id": self.id,
            "user": self.subject.user,
            "job": self.subject.job,
            "asked_at": self.asked_at,
            "actor": [self.actor.name, self.actor.role] if self.actor else None,
            "jobs": sorted(self.jobs),
            "names": [encode_name(name) for name in sorted(self.names)],
            "hashes": sorted(self.hashes),
            "deleted": dict(self.deleted),
            "owner": self.owner,
            "held": self.held,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Order:
        return cls(
            data["id"], Subject(data["user"], data["job"]), data["asked_at"],
            Person(*data["actor"]) if data["actor"] else None, set(data["jobs"]),
            {decode_name(name) for name in data["names"]}, set(data["hashes"]), Counter(data["deleted"]),
            data.get("owner"), data.get("held", False),
        )  # fmt: skip

    def take_over(self, found: Found) -> None:
        self.jobs |= found.jobs.keys()
        self.names |= found.names
        self.hashes |= found.hashes
        self.owner = self.owner or found.owner


def check(config: Config, subject: Subject, found: Found) -> None:
    """Whether the law and the operator let this be erased.

    Raises:
        StemdError: STEMD-P011 (a legal hold lies on it), STEMD-P012 (it must be kept).
    """
    users = found.users | ({subject.user} if subject.user is not None else set())
    boxes = {*found.inboxes, ""}
    if any(compliance.held(config, box, user) for box in boxes for user in users or {""}) or any(
        compliance.held(config, None, None, job) for job in found.jobs
    ):
        raise StemdError("STEMD-P011", f"a legal hold lies on {subject.words}")
    if not all(compliance.erasable(config, box, user) for box in boxes for user in users or {""}):
        raise StemdError("STEMD-P012", f"{subject.words} must be kept")


def begin(books: Books, subject: Subject, found: Found, actor: Person | None) -> Order:
    """Step G1: from here on it will be done, whatever happens. One that stands for the same is gone on with."""
    open_ones = (order for order in pending(books) if order.subject == subject)
    order = next(open_ones, None) or Order(uuid.uuid4().hex, subject, time.time(), actor)
    order.take_over(found)
    order.held = False
    if subject.job is not None:
        order.jobs.add(subject.job)
    _write(books, order)
    step("G1")
    return order


def pending(books: Books) -> list[Order]:
    """Orders that are not done, oldest first."""
    if not books.orders.is_dir():
        return []
    documents = (durable.read_json(path) for path in books.orders.glob("*.json"))
    return sorted((Order.from_dict(each) for each in documents if each), key=lambda order: order.asked_at)


def allowed(config: Config, books: Books, order: Order) -> Order:
    """An order that stands, if it may be carried out now: before anything is stopped for it.

    Raises:
        StemdError: as ``carry_out``.
    """
    with _disk_told():
        _found(config, books, order)
        _write(books, order)
    return order


def _found(config: Config, books: Books, order: Order) -> Found:
    """What an order is about, and may be deleted now.

    Raises:
        StemdError: STEMD-P011, STEMD-P012: it may not, or it is more than was asked for. The order stands.
    """
    found = belongings.find(config, order.subject, order.jobs, order.owner)
    try:
        check(config, order.subject, found)  # what came since it was ordered may be under a hold, or all of it
    except StemdError as error:
        if not order.held:
            order.held = True
            _write(books, order)
        raise StemdError(error.code, f"{error.message}; the order to erase it stands", remedy=_WHEN_LIFTED) from error
    if order.held and not (found.jobs.keys() <= order.jobs and _waiting(found) <= order.names):
        message = f"since a legal hold stopped the order to erase {order.subject.words}, more has come"
        raise StemdError("STEMD-P011", message, remedy=_ASK_AGAIN)
    order.held = False
    order.take_over(found)
    return found


def _waiting(found: Found) -> set[str]:
    """The names of what lies in the inboxes."""
    return {item.path.name for item in found.items if item.door is not None}


def refuse_return(books: Books, orphan: Path, job: str) -> None:
    """Nothing that is erased, or that a standing order is about, is put back into work/: it would be deleted there.

    Raises:
        StemdError: STEMD-S016.
    """
    origin = durable.read_json(orphan / "origin.json") or {}
    users = {orphan.parent.name, (durable.read_json(orphan / "error.json") or {}).get("user_id")} - {None}
    family = {job, *holdings.origins(origin)}
    orders = [order for each in (books, *books.others) for order in pending(each) if not order.held]
    if any(order.subject.user in users or not family.isdisjoint(order.jobs) for order in orders):
        raise StemdError("STEMD-S016", f"job {job} is being erased")
    if is_buried(books, job):
        raise StemdError("STEMD-S016", f"job {job} was erased")


def carry_out(config: Config, books: Books, trail: Trail, order: Order) -> dict[str, Any]:
    """Steps G2 to G7; returns the receipt. Nothing of its jobs may be at work in this process.

    Raises:
        StemdError: the disk failed, or a legal hold came to lie on it (STEMD-P011, P012); the order stands, and can be
            carried out again.
    """
    left: list[str] = []
    _forget_torn(books)
    for _ in range(_PASSES):
        found = _found(config, books, order)
        _write(books, order)
        bury(books, sorted(order.jobs))
        for root in config.spool:  # before anything goes: a hand-over rewrites what it has moved
            recalled = _recall(Spool(root), order.subject.user, frozenset(order.jobs))
            order.deleted["hand-overs"] += recalled
        step("G2")
        left = _delete(config, order, found)
        _write(books, order)
        step("G3")
        if len(found.items) <= len(left):
            break  # nothing was found, or only what may not be deleted
    jobs = frozenset(order.jobs)
    for root in config.spool:
        order.deleted["albums"] += ledger.erase(Spool(root), jobs)
        order.deleted["usage"] += _uncounted(config, root, order.subject.user, jobs)
    for name, eraser in ERASERS.items():
        order.deleted[name] += eraser(config, order.subject.user, jobs)
    _write(books, order)
    step("G4")
    user = order.subject.user
    point = trail.record(
        "erased", actor=order.actor, user=user, job=order.subject.job, known_only=True,
        order=order.id, jobs=len(jobs), deleted=+order.deleted,
    )  # fmt: skip
    trail.forget(user, jobs)
    step("G5")
    hashes = order.hashes - belongings.hashes_of_others(config, jobs)
    hits = search(config, books, Secrets(user, frozenset(order.names), frozenset(hashes), jobs), order.id)
    hits += sorted({*left, *_remains(config)} - set(hits))
    receipt = {
        "schema_version": SCHEMA_VERSION,
        "order": order.id,
        "erased_at": sidecar.iso(time.time()),
        "jobs": sorted(jobs),
        "deleted": dict(+order.deleted),
        "audit": {"seq": point.seq, "hash": point.hash},
        "verified": not hits,
        "left": hits,
    }
    kept = {**receipt, "left": len(hits)}
    durable.write_json(books.receipts / f"{order.id}.json", kept)
    for root in config.spool:
        _tell(Spool(root), jobs)
    step("G6")
    (books.orders / f"{order.id}.json").unlink(missing_ok=True)
    durable.fsync(books.orders)
    step("G7")
    return receipt


def resume(config: Config, books: Books, trail: Trail) -> tuple[list[dict[str, Any]], list[StemdError]]:
    """Carry out what a crash interrupted; returns the receipts, and why orders still stand: to be tried again."""
    receipts: list[dict[str, Any]] = []
    failed: list[StemdError] = []
    _forget_torn(books)
    for order in pending(books):
        try:
            receipts.append(attempt(config, books, trail, order))
        except StemdError as error:
            failed.append(error)
    return receipts, failed


def attempt(config: Config, books: Books, trail: Trail, order: Order) -> dict[str, Any]:
    """``carry_out``, of which whatever the disk does is told as such; a bug is one order's trouble and nobody else's.

    Raises:
        StemdError: the order stands.
        HaltedError: so it does; the process ends.
    """
    with _disk_told():
        return carry_out(config, books, trail, order)


@contextmanager
def _disk_told() -> Iterator[None]:
    try:
        yield
    except (StemdError, HaltedError):
        raise
    except OSError as error:
        raise StemdError("STEMD-S014", f"erase: {error.strerror}", detail={"errno": error.errno}) from error
    except RecursionError as error:  # a consumer's folders within folders within …
        raise StemdError("STEMD-S014", "erase: folders are nested too deep") from error
    except Exception as error:
        raise StemdError("STEMD-X001", f"erase: {type(error).__name__}: {error}") from error


def _recall(spool: Spool, user: str | None, jobs: frozenset[str]) -> int:
    """What waits to be handed over to a next stage is not."""
    if not handover.folder(spool).is_dir():
        return 0
    return len(handover.forget(spool, user=user, jobs=jobs))


def _uncounted(config: Config, root: Path, user: str | None, jobs: frozenset[str]) -> int:
    """What was counted for a quota is forgotten (a daemon has forgotten it in its memory before)."""
    file = usage.place(config.state_of(root), root)
    if user is not None:
        return usage.erase(file, user=user)
    return sum(usage.erase(file, job=job) for job in sorted(jobs))


def sweep(spool: Spool, books: Books) -> list[StemdError]:
    """Finish what a kill left in the trash, and remove what has come back into work/ of erased jobs.

    Returns what could not be: none of it is a reason not to begin.
    """
    trash = Trash(spool)
    failed: list[StemdError] = []
    for work in spool.jobs():
        if is_buried(books, work.job_id):
            joblock.release(work)
            try:
                trash.take(work.path)
            except StemdError as error:
                failed.append(error)
    try:
        return failed + trash.empty()
    except StemdError as error:
        return [*failed, error]


def _delete(config: Config, order: Order, found: Found) -> list[str]:
    """Throw away all that was found; returns the places of what may not be moved.

    Raises:
        StemdError: the disk failed; to be called again.
    """
    left: list[str] = []
    for root in config.spool:
        spool, trash = Spool(root), Trash(Spool(root))
        for item in found.items:
            if not item.path.is_relative_to(root):
                continue
            if item.area == "work" and item.path.is_dir():
                joblock.release(spool.job(item.path.name))
                ledger.note(spool, spool.job(item.path.name), JobState.ERASED)
            still = partial(belongings.is_still, config, order.subject.user, item)
            try:
                order.deleted[item.area] += trash.take(item.path, still)
            except StemdError as error:
                _must_last(error)
                left.append(str(item.path.relative_to(root)))
        for failed in trash.empty():
            _must_last(failed)
        spool.waiting.unlink(missing_ok=True)
    return left


def _must_last(error: StemdError) -> None:
    """Pass over what another attempt would not change: something of another owner. All else is tried again.

    Raises:
        StemdError: what it was given.
    """
    if error.detail.get("errno") not in _LASTING:
        raise error


def _remains(config: Config) -> list[str]:
    """What of anything thrown away, out of sight, could not be deleted."""
    trashes = ((root, Spool(root).trash) for root in config.spool)
    return [str(path.relative_to(root)) for root, trash in trashes if trash.is_dir() for path in trash.iterdir()]


def _tell(spool: Spool, jobs: frozenset[str]) -> None:
    """Whoever waits for one of the jobs learns that it is erased, and nothing else."""
    for job in jobs:
        if spool.status.is_dir():
            sidecar.write_status(spool, job, {"state": JobState.ERASED.value})


def _write(books: Books, order: Order) -> None:
    durable.write_json(books.orders / f"{order.id}.json", order.to_dict(), ready=lambda path: path.chmod(0o600))


def _forget_torn(books: Books) -> None:
    """What a crash amid the writing of an order left names who was to be erased, and nobody would look there again."""
    with suppress(OSError):
        for path in books.orders.glob(".*.tmp"):
            path.unlink(missing_ok=True)


def receipts(books: Books) -> list[Path]:
    return sorted(books.receipts.glob("*.json"))
