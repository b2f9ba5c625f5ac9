"""Work beside the computing thread: blocks made ahead of it, handed on behind it, and done by a crew.

All keep the order and a bound on what waits, so results are the same and memory stays flat. What a call raises is
raised in the computing thread. numpy, libsndfile and the disk let other threads go on while they work.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

from stemd.engines.audio.reader import BLOCK

T = TypeVar("T")
R = TypeVar("R")
_END: Any = object()


def threads() -> int:
    """How many threads this process may keep busy: its cores, or what its environment says (as for OpenMP)."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    cores = len(os.sched_getaffinity(0))
    return max(1, min(cores, int(asked))) if asked.isdecimal() else cores


def depth_for(frames: int) -> int:
    """How many blocks to have in waiting for a track of ``frames``: a thread costs more than a short one's work."""
    return 2 if frames >= BLOCK else 0


def ahead(blocks: Iterator[T], depth: int = 2) -> Generator[T]:
    """``blocks``, up to ``depth`` of them made before they are asked for, on a thread of their own (0: as they are).

    Close it before what ``blocks`` reads from: nothing touches that any more then.
    """
    if not depth:
        yield from blocks
        return
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
    """``take`` on a thread of its own: a call returns at once, unless ``depth`` earlier ones still wait (0: no thread).

    At the end of the block all are done, also where it raised: what was computed before a cancel is kept. After one
    that failed, none is begun.
    """
    if not depth:
        yield take
        return
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


class Crew:
    """Up to ``width`` threads, kept for many calls; one does its work in whoever calls. A context manager."""

    def __init__(self, width: int) -> None:
        self._pool = ThreadPoolExecutor(width, "beside") if width > 1 else None

    def each(self, call: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """``call`` of each item; the answers in order. None is at work any more when this returns or raises.

        Where some raise, those not begun are left out, and the first of them in order is raised.
        """
        if self._pool is None:
            return [call(item) for item in items]
        futures: list[Future[R]] = []
        try:
            futures += (self._pool.submit(call, item) for item in items)
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            wait(futures)
            raise

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
