"""Who is next: priority, then the user who has been given least, and nobody waits for ever. No I/O, no clock.

Start-time fair queueing (Goyal, Vin and Cheng 1996), with users for flows: each start adds what it costs to its user's
account, and the lowest account goes first. One who comes back after a while does not get the time he was away for.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Waiting:
    """One job in the queue: whose, how urgent (0 first), since when (seconds), and what it costs (audio seconds)."""

    key: str
    user: str
    priority: int
    since: float
    cost: float


@dataclass(slots=True)
class Shares:
    """What each user has been given so far. ``floor`` is the account that whoever was served last had before that."""

    given: dict[str, float] = field(default_factory=dict)
    floor: float = 0.0
    _lowest: float = 0.0

    def order(self, waiting: Iterable[Waiting], now: float, aging: float) -> Iterator[Waiting]:
        """The queue as it would be served: urgency first; in each class the users in turn, each one's oldest job first.

        A job becomes one class more urgent each ``aging`` seconds that it waits.
        """
        classes: defaultdict[int, defaultdict[str, list[Waiting]]] = defaultdict(lambda: defaultdict(list))
        for each in waiting:
            classes[_urgency(each, now, aging)][each.user].append(each)
        accounts = {user: self._account(user) for users in classes.values() for user in users}
        self._lowest = min(accounts.values(), default=self.floor)
        for urgency in sorted(classes):
            yield from _in_turn(classes[urgency], accounts)

    def started(self, user: str, cost: float) -> None:
        """Charge a user for a job that has been given a worker; one served for its urgency does not lift the others."""
        before = self._account(user)
        self.floor = max(self.floor, min(before, self._lowest))
        self.given = {name: account for name, account in self.given.items() if account > self.floor}
        self.given[user] = before + cost

    def _account(self, user: str) -> float:
        return max(self.floor, self.given.get(user, 0.0))


def _urgency(waiting: Waiting, now: float, aging: float) -> int:
    return max(0, waiting.priority - int(max(0.0, now - waiting.since) / aging))


def _in_turn(users: dict[str, list[Waiting]], accounts: dict[str, float]) -> Iterator[Waiting]:
    """One class of urgency; ``accounts`` go on from class to class."""
    queues = {user: deque(sorted(jobs, key=lambda job: job.since)) for user, jobs in users.items()}
    heap = [(accounts[user], jobs[0].since, user) for user, jobs in queues.items()]
    heapq.heapify(heap)
    while heap:
        account, _, user = heapq.heappop(heap)
        job = queues[user].popleft()
        yield job
        accounts[user] = account + job.cost
        if queues[user]:
            heapq.heappush(heap, (accounts[user], queues[user][0].since, user))
