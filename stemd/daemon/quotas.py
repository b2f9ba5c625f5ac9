"""What each user has, kept up to date, and what his quota says to it. The rules are ``stemd.core.policy``'s."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from stemd.core import policy
from stemd.core.errors import StemdError
from stemd.core.job import JobState
from stemd.core.policy import Admit, Defer, Refuse, Usage, Verdict
from stemd.daemon.board import Board
from stemd.daemon.live import Live
from stemd.ops import logs
from stemd.spool import usage
from stemd.spool.layout import Spool
from stemd.spool.usage import Entry, Ledger

_WAITS = frozenset({JobState.WAITING, JobState.DEFERRED, JobState.HELD, JobState.RETRY_WAIT})
#: How often an outbox is counted from the ground up; of one that is full sooner: somebody may be emptying it (seconds).
_RECOUNT, _RECOUNT_FULL = 900.0, 20.0
#: The quotas in the order people are shown them, and what is used of each where that has another name.
SHOWN = ("running", "waiting", "memory", "audio_per_day", "cpu_per_day", "outbox")
_USED = {"audio_per_day": "audio", "cpu_per_day": "cpu"}
#: The count rests after each folder (seconds): it has all the time there is.
_REST = 0.002


class Outboxes:
    """Bytes in the users' outboxes: added to as results come, counted anew on a thread now and then."""

    def __init__(self, spools: Iterable[Spool]) -> None:
        self._spools = tuple(spools)
        self._sizes: dict[str, int] = {}
        self._due: dict[str, float] = {}
        self._counting: tuple[str, Future[int]] | None = None
        self._came = 0
        self._closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")

    def size(self, user: str) -> int | None:
        return self._sizes.get(user)

    def came(self, user: str, folder: Path) -> None:
        """A result is in the outbox."""
        size = usage.size_of(folder)
        if user in self._sizes:
            self._sizes[user] += size
        if self._counting is not None and self._counting[0] == user:
            self._came += size  # counted twice at worst, until the next count

    def tick(self, now: float, limits: dict[str, int]) -> None:
        """Count, one after the other, what is due; ``limits`` are those of the users who have one."""
        if self._counting is not None:
            user, future = self._counting
            if not future.done():
                return
            self._counting = None
            self._sizes[user] = future.result() + self._came
            full = user in limits and self._sizes[user] >= limits[user]
            self._due[user] = now + (_RECOUNT_FULL if full else _RECOUNT)
        for user, limit in limits.items():
            if self._sizes.get(user, 0) >= limit:
                self._due[user] = min(self._due.get(user, now), now + _RECOUNT_FULL)
        due = [user for user in limits if self._due.get(user, now) <= now]
        if due:
            user = min(due, key=lambda each: self._due.get(each, 0.0))
            self._came = 0
            self._counting = user, self._thread.submit(self._count, user)

    def close(self) -> None:
        self._closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _count(self, user: str) -> int:
        return sum(usage.size_of(spool.outbox / user, _REST, lambda: self._closed) for spool in self._spools)


class Quotas:
    """Asked before an entry is claimed and before a job starts; told of every run that ends and of every result."""

    def __init__(self, board: Board, spools: Iterable[Spool]) -> None:
        spools = tuple(spools)
        self._board = board
        self._ledgers = {
            spool.root: Ledger(usage.place(board.config.state_of(spool.root), spool.root), spool) for spool in spools
        }
        self.outboxes = Outboxes(spools)
        self._waiting: Counter[str] = Counter()
        self._running: defaultdict[str, list[Live]] = defaultdict(list)
        self._used: dict[str, tuple[float, float]] = {}
        self._known: dict[str, Usage] = {}
        board.ran, board.delivered = self._ran, self._delivered

    def count_anew(self, now: float) -> None:
        """Look at all unfinished jobs; before a round of the other questions. ``now`` is monotonic seconds."""
        self._waiting, self._running, self._known = Counter(), defaultdict(list), {}
        for live in self._board.jobs.values():
            if live.state in _WAITS:
                self._waiting[live.user] += 1
            elif live.state is JobState.RUNNING:
                self._running[live.user].append(live)
        self._count_used()
        self.outboxes.tick(now, self._outbox_limits())

    def usage(self, user: str) -> Usage:
        """What a user has now."""
        if user not in self._known:
            self._known[user] = self._look(user)
        return self._known[user]

    def _look(self, user: str) -> Usage:
        quota, running = self._board.config.quota_of(user), self._running.get(user, [])
        requests = [live.job.request for live in running if live.job is not None]
        audio, cpu = self._used.get(user, (0.0, 0.0))
        return Usage(
            running=len(running),
            waiting=self._waiting[user],
            memory=sum(policy.memory_of(quota, request) for request in requests),
            audio=audio + sum(policy.seconds_of(live.job) for live in running if live.job is not None),
            cpu=cpu,
            outbox=self.outboxes.size(user),
        )

    def at_door(self, user: str | None) -> Verdict:
        """Whether another entry of the user's may be claimed; of one whose user only its description tells: yes."""
        return policy.admit(user, None, self.usage(user), self._board.config) if user else Admit()

    def claimed(self, user: str) -> None:
        """An entry was claimed since ``count_anew``."""
        self._waiting[user] += 1
        self._known.pop(user, None)

    def to_start(self, live: Live) -> Verdict:
        """Whether a job may start at all."""
        return policy.admit(live.user, live.job, self.usage(live.user), self._board.config)

    def turn(self, live: Live) -> str | None:
        """Why a job waits for others of its user's to end."""
        assert live.job is not None
        return policy.turn(live.user, live.job.request, self.usage(live.user), self._board.config)

    def started(self, live: Live) -> None:
        """A job has started since ``count_anew``."""
        self._running[live.user].append(live)
        self._waiting[live.user] -= 1
        self._known.pop(live.user, None)

    def rejected(self, verdict: Defer | Refuse) -> None:
        """Count a job or entry that a quota newly stopped."""
        self._board.metrics.quota_rejections.labels(verdict.error.detail["quota"]).inc()

    def forget(self, *, user: str | None = None, job: str | None = None, counted: bool = False) -> int:
        """Erase a user's or a job's entries from the ledgers; ``counted``: in memory they count as before."""
        return sum(ledger.erase(user=user, job=job, counted=counted) for ledger in self._ledgers.values())

    def close(self) -> None:
        self.outboxes.close()

    @property
    def users(self) -> frozenset[str]:
        """Everyone who is named, or has anything."""
        config = self._board.config
        return frozenset({*config.users, config.defaults.user, *self._used, *self._waiting, *self._running})

    def of(self, user: str) -> dict[str, Any]:
        """Usage against quota, for people."""
        config, has = self._board.config, self.usage(user)
        known, quota = config.users.get(user), config.quota_of(user)
        shown = {key: {"used": getattr(has, _USED.get(key, key)), "limit": getattr(quota, key, None)} for key in SHOWN}
        name = (known.quota if known else None) or config.defaults.quota
        return {"user_id": user, "quota": name, "over": quota.over if quota else None, **shown}

    def _outbox_limits(self) -> dict[str, int]:
        config = self._board.config
        users = {*config.users, config.defaults.user, *self._waiting, *self._running}
        quotas = ((user, config.quota_of(user)) for user in users)
        return {user: quota.outbox for user, quota in quotas if quota is not None and quota.outbox is not None}

    def _count_used(self) -> None:
        sums: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for ledger in self._ledgers.values():
            for user, (audio, cpu) in ledger.used(time.time()).items():
                sums[user][0] += audio
                sums[user][1] += cpu
        self._used = {user: (audio, cpu) for user, (audio, cpu) in sums.items()}

    def _ran(self, live: Live, audio: float, cpu: float) -> None:
        live.cpu += cpu
        try:
            self._ledgers[live.spool.root].add(Entry(time.time(), live.user, live.id, audio, cpu))
        except StemdError as error:  # it counts in memory, and after a restart from the spool
            logs.get().warning("usage_not_written", job_uuid=live.id, code=error.code, reason=error.message)

    def _delivered(self, live: Live, folder: Path) -> None:
        self.outboxes.came(live.user, folder)
