"""Prune and erase while the daemon runs: the loop stops what is at work, a thread deletes what lies there.

Whoever asks gets a number and comes back for the answer: the socket must not wait for a disk.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from stemd.core.access import Action, Person
from stemd.core.config import Config
from stemd.core.errors import StemdError
from stemd.core.job import JobState
from stemd.daemon.chronicle import Chronicle
from stemd.daemon.dispatcher import Dispatcher
from stemd.daemon.live import Live
from stemd.daemon.surviving import bug
from stemd.ops import logs
from stemd.spool import belongings, durable, erase, retention
from stemd.spool.belongings import Found, Subject
from stemd.spool.books import Books
from stemd.spool.erase import Order
from stemd.spool.layout import Spool
from stemd.spool.retention import Outcome

#: How often what is overdue is counted (seconds), and how late it then is.
_COUNT_INTERVAL = 3600.0
_OVERDUE = 86_400.0
#: An order that could not be carried out is tried again after so long, then after twice as long each time (seconds).
_FIRST_RETRY, _LAST_RETRY = 60.0, 3600.0
#: Answers that nobody came for are forgotten after so many others.
_ANSWERS = 50
#: Of each list in an answer so many entries go in one message: there may be very many.
_PAGE = 1000


@dataclass(slots=True)
class _Task:
    """Something that ``person`` asked for (``None``: nobody waits for it). Of an erasure there is an ``ordered``: when
    that is written down, its jobs must be stopped first."""

    number: str
    person: Person | None
    work: Callable[[], Mapping[str, Any]] | None = None
    ordered: Future[Order] | None = None
    progress: dict[str, Any] = field(default_factory=dict)
    future: Future[Mapping[str, Any]] | None = None
    lists: bool = False

    @property
    def refused(self) -> bool:
        """Whether there is no order for it."""
        return self.ordered is not None and self.ordered.done() and self.ordered.exception() is not None

    @property
    def ended(self) -> bool:
        return self.refused or (self.future is not None and self.future.done())


class Deleting:
    """Answers ``prune``, ``erase`` and ``deletion`` (how far is it?), and counts what is overdue."""

    def __init__(
        self, dispatcher: Dispatcher, chronicle: Chronicle, books: Books, stop: Callable[[Live], object],
        wake: Callable[[], None],
    ) -> None:  # fmt: skip
        self._dispatcher, self._chronicle, self._books = dispatcher, chronicle, books
        self._stop, self._wake = stop, wake
        self._tasks: dict[str, _Task] = {}
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="delete")
        self._count_due = time.monotonic() + 60.0
        self._retry_due, self._retry_after = 0.0, _FIRST_RETRY

    @property
    def _config(self) -> Config:
        return self._dispatcher.config

    # ---- what is asked

    def answer(self, message: Mapping[str, Any], person: Person) -> Mapping[str, Any]:
        match message:
            case {"op": "prune"}:
                person.require(Action.PRUNE)
                return self._prune(person, bool(message.get("dry_run")), bool(message.get("force")))
            case {"op": "erase", "user": str(user)}:
                person.require(Action.ERASE, user)
                return self._erase(person, Subject(user=user), bool(message.get("dry_run")))
            case {"op": "erase", "job": str(job)}:
                subject = Subject(job=job)
                person.require(Action.ERASE, self._owner_of(job))
                return self._erase(person, subject, bool(message.get("dry_run")))
            case {"op": "deletion", "number": str(number)} if number in self._tasks:
                start = message.get("from", 0)
                return self._answer_of(self._tasks[number], person, start if isinstance(start, int) else 0)
        raise StemdError("STEMD-X001", f"unknown control message {message.get('op')!r}")

    def _owner_of(self, job: str) -> str | None:
        """Whose it is, if that can be told at once; else only an admin may. To search for it the socket cannot wait."""
        live = self._dispatcher.board.get(job)
        if live is not None:
            return live.user
        for scanner in self._dispatcher.scanners:
            if (status := durable.read_json(scanner.spool.status_file(job))) is not None and status.get("user_id"):
                return str(status["user_id"])
        return None

    def _prune(self, person: Person, dry_run: bool, force: bool) -> Mapping[str, Any]:
        if dry_run:
            return self._look(person, lambda: told(retention.look(self._config, self._books)))
        task = _Task(_number(), person, lambda: self._run(person, force, task))
        return self._begin(task)

    def _look(self, person: Person, work: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        return self._begin(_Task(_number(), person, work, lists=True))

    def _run(self, person: Person, force: bool, task: _Task) -> Mapping[str, Any]:
        metrics, counted = self._dispatcher.board.metrics, dict.fromkeys(("outbox",), 0)

        def progress(outcome: Outcome) -> None:
            task.progress = {key: value for key, value in outcome.to_dict().items() if key != "failed"}
            for area, number in outcome.deleted.items():
                metrics.retention_deleted.labels(area).inc(number - counted.get(area, 0))
                counted[area] = number

        outcome = retention.run(
            self._config, self._chronicle.trail, self._books, actor=person, force=force, told=progress
        )
        metrics.retention_overdue.set(self._overdue())
        logs.get().info("pruned", **outcome.to_dict())
        return outcome.to_dict()

    def _erase(self, person: Person, subject: Subject, dry_run: bool) -> Mapping[str, Any]:
        if dry_run:
            return self._look(person, lambda: listed(self._config, subject))

        def order() -> Order:
            found = belongings.find(self._config, subject)
            known(subject, found)
            try:
                erase.check(self._config, subject, found)
            except StemdError as error:
                self._chronicle.refused(person, "erase", user=subject.user, job=subject.job, code=error.code)
                raise
            return erase.begin(self._books, subject, found, person)

        return self._begin(_Task(_number(), person, ordered=self._order(order)))

    def _carry_out(self, order: Order) -> Mapping[str, Any]:
        self._chronicle.catch_up()  # after its keys are gone nothing may be said of a job: that would make new ones
        try:
            return erase.attempt(self._config, self._books, self._chronicle.trail, order)
        except StemdError as error:
            self._failed(order, error)
            raise

    def _begin(self, task: _Task) -> Mapping[str, Any]:
        self._tasks[task.number] = task
        for number in [number for number, each in self._tasks.items() if each.ended][:-_ANSWERS]:
            del self._tasks[number]
        if task.work is not None:
            self._submit(task, task.work)
        self._wake()
        return {"number": task.number}

    def _submit(self, task: _Task, work: Callable[[], Mapping[str, Any]]) -> None:
        task.future = self._threads.submit(work)
        task.future.add_done_callback(lambda _: self._wake())

    def _answer_of(self, task: _Task, person: Person, start: int) -> Mapping[str, Any]:
        """To whoever asked, and to admins: it lists what others have. Lists from their entry ``start`` on; ``next`` is
        where the rest of one of them begins.

        Raises:
            StemdError: STEMD-P003; what was asked for failed.
        """
        if task.person is None or task.person.name != person.name:
            person.require(Action.ERASE)
        if task.refused:
            assert task.ordered is not None
            task.ordered.result()
        if task.future is None or not task.future.done():
            return {"done": False, "progress": task.progress}
        result, following = dict(task.future.result()), start + _PAGE
        lists = {key: value for key, value in result.items() if isinstance(value, list)}
        pages = {key: value[start:following] for key, value in lists.items()}
        rest = {"next": following} if any(len(value) > following for value in lists.values()) else {}
        return {"done": True, "result": {**result, **pages}, **rest}

    # ---- what the loop does

    def tick(self, now: float) -> None:
        """Stop what is to be erased; when it has stopped, let it be deleted."""
        self._count(now)
        self._retry(now)
        open_ones = [task for task in self._tasks.values() if task.ordered is not None and not task.ended]
        ready = [(task, task.ordered.result()) for task in open_ones if task.ordered and task.ordered.done()]
        self._dispatcher.suspended = bool(ready)
        for task, order in ready:
            if task.future is None and self._stopped(order.subject, frozenset(order.jobs)):
                own = order.actor is not None and order.actor.role != "admin"
                self._dispatcher.quotas.forget(user=order.subject.user, job=order.subject.job, counted=own)
                self._forget_lists()
                self._retry_due = max(self._retry_due, now + self._retry_after)
                self._submit(task, partial(self._carry_out, order))

    def _forget_lists(self) -> None:
        """What was shown before may name who is erased now."""
        for number in [number for number, each in self._tasks.items() if each.lists and each.ended]:
            del self._tasks[number]

    def _retry(self, now: float) -> None:
        """Orders that still stand, though nothing carries them out: the disk failed, or a hold lay on them."""
        if now < self._retry_due or any(task.ordered is not None and not task.ended for task in self._tasks.values()):
            return
        orders = erase.pending(self._books)
        self._retry_after = min(2 * self._retry_after, _LAST_RETRY) if orders else _FIRST_RETRY
        self._retry_due = now + self._retry_after
        for order in orders:
            self._begin(_Task(_number(), None, ordered=self._order(partial(self._allowed, order))))

    def _allowed(self, order: Order) -> Order:
        """Nothing is stopped for what a hold lies on."""
        try:
            return erase.allowed(self._config, self._books, order)
        except StemdError as error:
            self._failed(order, error)
            raise

    def _order(self, order: Callable[[], Order]) -> Future[Order]:
        ordered = self._threads.submit(order)
        ordered.add_done_callback(lambda _: self._wake())
        return ordered

    def _failed(self, order: Order, error: StemdError) -> None:
        """The order stands, and is tried again."""
        facts = {"code": error.code, "errno": error.detail.get("errno"), "order": order.id}
        logs.get().error("erasure_failed", **facts, **bug(error))

    def _stopped(self, subject: Subject, jobs: frozenset[str]) -> bool:
        """Whether nothing of the subject is at work any more; what is, is told to stop."""
        board, sealer = self._dispatcher.board, self._dispatcher.sealer
        if any(sealer.busy(live) for live in board.jobs.values()):
            return False
        concerned = [live for live in board.jobs.values() if live.id in jobs or self._concerns(subject, live)]
        for live in concerned:
            if not live.cancelling or live.state is not JobState.RUNNING:
                self._stop(live)
        for album in list(board.albums):
            if album == subject.job or (subject.user is not None and self._album_of(album) == subject.user):
                del board.albums[album]
        return not any(live.id in jobs or self._concerns(subject, live) for live in board.jobs.values())

    def _concerns(self, subject: Subject, live: Live) -> bool:
        if subject.user is not None:
            return subject.user == (live.user if live.job else belongings.owner(self._config, live.work))
        origin = durable.read_json(live.work.origin) or {}
        album = origin.get("album") or {}
        return subject.job in {live.id, origin.get("follows"), album.get("job_uuid")}

    def _album_of(self, album: str) -> str | None:
        spool = self._dispatcher.board.albums[album]  # type: ignore[index]
        return (durable.read_json(spool.job(album).album) or {}).get("user_id")

    def _count(self, now: float) -> None:
        """Now and then, how much should have been deleted long ago."""
        if now < self._count_due:
            return
        self._count_due = now + _COUNT_INTERVAL
        self._threads.submit(lambda: self._dispatcher.board.metrics.retention_overdue.set(self._overdue()))

    def _overdue(self) -> int:
        """Whatever lies in the trash, on the thread that empties it, could not be deleted."""
        trashes = (Spool(root).trash for root in self._config.spool)
        stuck = sum(len(list(trash.iterdir())) for trash in trashes if trash.is_dir())
        entries = retention.entries(self._config)
        rules = retention.rules_of(self._config, self._books)
        return stuck + sum(retention.plan(time.time() - _OVERDUE, entries, rules, 0).due.values())

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)


def _number() -> str:
    """Not to be guessed: who knows it may ask."""
    return secrets.token_hex(8)


def told(plan: retention.Plan) -> dict[str, Any]:
    """A plan for people: what is due, all of it."""
    return {
        "due": dict(plan.due),
        "held": plan.held,
        "items": [{"area": each.area, "path": str(each.path), "job_uuid": each.job} for each in plan.chosen],
    }


def listed(config: Config, subject: Subject) -> dict[str, Any]:
    """What an erasure would delete.

    Raises:
        StemdError: STEMD-S015 (there is no such job), STEMD-P011, STEMD-P012.
    """
    found = belongings.find(config, subject)
    known(subject, found)
    erase.check(config, subject, found)
    return {
        "jobs": sorted(found.jobs),
        "items": [{"area": each.area, "path": str(each.path)} for each in found.items],
    }


def known(subject: Subject, found: Found) -> None:
    """A job that nothing is known of is a slip of the pen; a user of whom nothing is kept is a result.

    Raises:
        StemdError: STEMD-S015.
    """
    if subject.job is not None and not found.items:
        raise StemdError("STEMD-S015", f"nothing is kept of job {subject.job}")
