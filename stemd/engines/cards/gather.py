"""Which segments are computed together: whoever has waited longest, and all that are of the same kind, in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

#: What can be computed together: one network, one number of frames.
Kind = tuple[int, int]


@dataclass(slots=True, eq=False)
class Request:
    """``count`` segments of one job. ``taken`` are on their way, ``done`` are answered."""

    kind: Kind
    count: int
    taken: int = 0
    done: int = 0

    @property
    def complete(self) -> bool:
        return self.done == self.count


_Asked = TypeVar("_Asked", bound=Request)


@dataclass(frozen=True, slots=True)
class Part(Generic[_Asked]):
    """Segments ``start`` to ``stop`` of a request."""

    request: _Asked
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(slots=True)
class Gathering(Generic[_Asked]):
    """What is waiting, in the order in which it came."""

    waiting: list[_Asked] = field(default_factory=list)

    def put(self, request: _Asked) -> None:
        self.waiting.append(request)

    def take(self, size: int) -> Sequence[Part[_Asked]]:
        """At most ``size`` segments of the kind of the oldest request; nothing waits until a group is full.

        A request that was taken in part goes behind the others: a long job with large batches does not keep short ones
        from their turn.
        """
        if not self.waiting:
            return []
        kind, left, parts = self.waiting[0].kind, size, []
        for request in [each for each in self.waiting if each.kind == kind]:
            count = min(left, request.count - request.taken)
            parts.append(Part(request, request.taken, request.taken + count))
            request.taken += count
            left -= count
            self.waiting.remove(request)
            if request.taken < request.count:
                self.waiting.append(request)
            if not left:
                break
        return parts

    def drop(self, request: _Asked) -> None:
        """Forget a request: its job has gone."""
        if request in self.waiting:
            self.waiting.remove(request)
