"""Work beside the computing thread: blocks made ahead of it, and handed on behind it.

Both keep the order and a bound on what waits, so results are the same and memory stays flat. What a call raises is
raised in the computing thread. numpy, libsndfile and the disk let other threads go on while they work.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")
_END: Any = object()


def threads() -> int:
    """How many threads this process may keep busy: its cores, or what its environment says (as for OpenMP)."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    cores = len(os.sched_getaffinity(0))
    return max(1, min(cores, int(asked))) if asked.isdecimal() else cores


def ahead(blocks: Iterator[T], depth: int = 2) -> Generator[T]:
    """``blocks``, up to ``depth`` of them made before they are asked for, on a thread of their own.

    Close it before what ``blocks`` reads from: nothing touches that any more then.
    """
    with ThreadPoolExecutor(1, "ahead") as pool:
        coming = deque(pool.submit(next, blocks, _END) for _ in range(depth))
        try:
            while (block := coming.popleft().result()) is not _END:
                coming.append(pool.submit(next, blocks, _END))
                yield block
        finally:
            for each in coming:
                each.cancel()


@contextmanager
def behind(take: Callable[[T], None], depth: int = 2) -> Iterator[Callable[[T], None]]:
    """``take`` on a thread of its own: a call returns at once, unless ``depth`` earlier ones still wait.

    At the end of the block all are done, also where it raised: what was computed before a cancel is kept. After one
    that failed, none is begun.
    """
    waiting: deque[Future[None]] = deque()
    failed = False

    def take_next(block: T) -> None:
        nonlocal failed
        if failed:
            return
        try:
            take(block)
        except BaseException:
            failed = True
            raise

    def hand_on(block: T) -> None:
        while len(waiting) >= depth:
            waiting.popleft().result()
        waiting.append(pool.submit(take_next, block))

    with ThreadPoolExecutor(1, "behind") as pool:  # at its end it waits for all
        yield hand_on
        while waiting:
            waiting.popleft().result()


def side_by_side(call: Callable[[T], R], items: Iterable[T], most: int) -> list[R]:
    """``call`` of each item on at most ``most`` threads; the answers in order.

    Where one raises, those not begun are left out, and it is raised when the others have ended.
    """
    listed = list(items)
    width = min(len(listed), most)
    if width < 2:
        return [call(item) for item in listed]
    with ThreadPoolExecutor(width, "beside") as pool:
        futures = [pool.submit(call, item) for item in listed]
        try:
            return [future.result() for future in futures]
        finally:
            for each in futures:
                each.cancel()
