"""``--once``: an errand, done when nothing is left to wait for; its exit status says how it went."""

from __future__ import annotations

import time

from stemd.core.errors import Exit
from stemd.core.job import JobState, Outcome
from stemd.daemon.dispatcher import Dispatcher
from stemd.daemon.handoff import Handing

#: A retry, or a hand-over, that is due within so many seconds is waited for.
_SHORT_RETRY = 60.0
_BUSY = (JobState.WAITING, JobState.RUNNING, JobState.PUBLISHING)


def nothing_left(dispatcher: Dispatcher, handing: Handing) -> bool:
    """Whether there is nothing to wait for."""
    board = dispatcher.board
    if not all(scanner.idle for scanner in dispatcher.scanners):
        return False
    if any(board.in_state(state) for state in _BUSY):
        return False
    if not handing.settled(_SHORT_RETRY):
        return False
    soon = time.time() + _SHORT_RETRY
    return not any((live.not_before or 0.0) <= soon for live in board.in_state(JobState.RETRY_WAIT))


def status(dispatcher: Dispatcher, handing: Handing) -> int:
    """The exit status: a job failed, or something is left for another time, or all is done."""
    board = dispatcher.board
    if board.ended[Outcome.FAILED]:
        return Exit.GENERAL
    blocked = any(scanner.blocked for scanner in dispatcher.scanners)
    left = board.jobs or board.albums or dispatcher.takeover.stuck or blocked or handing.pending
    return Exit.TRY_LATER if left else Exit.OK
