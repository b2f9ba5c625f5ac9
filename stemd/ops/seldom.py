"""What would be told of again and again is told of now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable


class Seldom:
    """Lets each thing pass once in ``every`` seconds, and no more than ``most`` different ones in that time.

    For what somebody outside can cause as often as he likes, where each time costs a flush of the disk. Safe from any
    thread.
    """

    def __init__(self, every: float, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._every, self._most, self._clock = every, most, clock
        self._lock, self._passed = threading.Lock(), dict[Hashable, float]()

    def passes(self, thing: Hashable) -> bool:
        """Whether it is its turn again."""
        now = self._clock()
        with self._lock:
            self._passed = {each: at for each, at in self._passed.items() if now - at < self._every}
            if thing in self._passed or len(self._passed) >= self._most:
                return False
            self._passed[thing] = now
            return True
