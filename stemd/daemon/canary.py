"""The canary: a second of silence that goes the whole way now and then, so that somebody notices when nothing does.

It is dropped into a hidden inbox of its own like any upload, settled, claimed, separated by the engine ``stub`` (which
costs next to nothing) in a worker, published, verified, and taken away again. It belongs to the user ``canary``, who is
in no quota and no statistics.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path

from stemd.core.canary import DOOR, SILENCE, USER
from stemd.core.config import Config
from stemd.core.config.jobs import Inbox
from stemd.core.errors import StemdError
from stemd.core.job import Outcome, new_job_id
from stemd.daemon.board import Board
from stemd.daemon.live import Live
from stemd.ops import logs
from stemd.ops.metrics import Metrics
from stemd.spool import deliver, durable, sidecar
from stemd.spool.ignore import OWN_PREFIX
from stemd.spool.layout import Spool

#: The first one comes so long after the start, if not sooner by its interval (seconds).
_FIRST = 300.0
#: One that has not become a job after two intervals, and so long at least (seconds), is lost: a busy machine is slow.
_PATIENCE = 60.0
_SONG, _DESCRIPTION = "silence.wav", "job.json"


def with_canary(config: Config) -> Config:
    """The configuration with the canary's inbox, where there is a canary."""
    if config.alerts.canary is None:
        return config
    box = Inbox(engine="stub", model="stub", user=USER, settle=0.0, source="delete").model_copy(update={"next": ""})
    return config.model_copy(update={"inboxes": {**config.inboxes, DOOR: box}})


class Canary:
    """Sends one when it is due, and looks at what has become of it. For the loop's thread.

    Whether one is on its way is seen from the board and from its inbox, not remembered: whatever became of the last one
    (erased, failed before it had a description), the next one flies.
    """

    def __init__(self, board: Board, spools: tuple[Spool, ...], metrics: Metrics) -> None:
        self._board, self._spools, self._metrics = board, spools, metrics
        self._at = time.time()
        self._next: float | None = None
        self._looked: float | None = None
        self._lost_at = 0.0
        board.on_end.append(self._ended)

    @property
    def at(self) -> float:
        """When it last came through (or, before the first time, when this began), seconds since 1970.

        What has been drained since then is not counted: it is later by so much.
        """
        return self._at

    def rest(self, now: float) -> None:
        """Nothing is taken, on purpose: none flies, none is missed and none is lost, for its clock stands still."""
        passed, self._looked = 0.0 if self._looked is None else now - self._looked, now
        self._at += passed
        self._lost_at += passed
        if self._next is not None:
            self._next += passed
        self._tell()

    def fly(self, now: float) -> None:
        """Send one, if it is due and the last one is not still on its way; ``now`` is monotonic seconds."""
        settings, self._looked = self._board.config.alerts.canary, now
        self._tell()
        if settings is None:
            self._next = None
            return
        if self._next is None:
            self._next = now + min(_FIRST, settings.every)
            self._lost_at = self._next + max(_PATIENCE, 2 * settings.every)  # of an earlier daemon's
        if now < self._next or self._is_on_its_way(now):
            return
        self._next, self._lost_at = now + settings.every, now + max(_PATIENCE, 2 * settings.every)
        try:
            _drop(self._spools[0])
        except OSError as error:
            logs.get().warning("canary_failed", reason=f"it cannot be dropped: {error.strerror}")

    def _tell(self) -> None:
        settings = self._board.config.alerts.canary
        self._metrics.canary_at.set(0 if settings is None else self._at)
        self._metrics.canary_every.set(0 if settings is None else settings.every)

    def _is_on_its_way(self, now: float) -> bool:
        """Whether the last one still waits to be taken, is being sealed, or is a job; one that is lost is put away."""
        jobs = self._board.jobs.values()
        if any(live.is_canary for live in jobs):
            return True
        lying = [folder for folder in (self._spools[0].inbox / DOOR).glob("*") if _is_drop(folder)]
        if not lying and not any(live.job is None and live.user == USER for live in jobs):
            return False
        if now < self._lost_at:
            return True
        logs.get().warning("canary_failed", reason="it lies in its inbox" if lying else "it does not become a job")
        for folder in lying:
            with suppress(StemdError, OSError):
                durable.remove_tree(folder)
        return False

    def _ended(self, live: Live, outcome: Outcome) -> None:
        if not live.is_canary and not _failed_early(live):
            return
        home = live.spool.outbox / USER
        found = [folder for folder in home.glob("*") if _is_of(folder, live.id)]
        if outcome is Outcome.DONE and found and deliver.verify(found[0]) is not None:
            self._at = time.time()
            self._metrics.canary_at.set(self._at)
            logs.get().info("canary_came_through", job_uuid=live.id, seconds=round(self._at - live.claimed_at, 1))
        else:
            reason = live.reason.code if live.reason else "its result does not verify"
            logs.get().warning("canary_failed", job_uuid=live.id, outcome=outcome.value, reason=reason)
        _clean(live, found)


def _failed_early(live: Live) -> bool:
    """Whether a job that never had a description was the canary's: what is in its inbox may be somebody's recording."""
    if live.job is not None or live.user != USER:
        return False
    orphan = sidecar.find_orphan(live.spool, live.id)
    return orphan is not None and [_is_drop(each) for each in (orphan / "source").glob("*")] == [True]


def _is_drop(folder: Path) -> bool:
    """Whether a folder is what is dropped here, and nothing else."""
    with suppress(OSError):
        names = {each.name for each in folder.iterdir()}
        return names == {_SONG, _DESCRIPTION} and (folder / _SONG).read_bytes() == SILENCE
    return False


def _is_of(folder: Path, job_id: str) -> bool:
    return (durable.read_json(folder / "manifest.json") or {}).get("job_uuid") == job_id


def _clean(live: Live, found: list[Path]) -> None:
    """Nothing of it stays: it holds no recording of anybody's."""
    orphan = sidecar.find_orphan(live.spool, live.id)
    for folder in [*found, *([orphan] if orphan is not None and orphan.parent.name == USER else [])]:
        with suppress(StemdError, OSError):
            durable.remove_tree(folder)
            folder.parent.rmdir()
    with suppress(OSError):
        live.spool.status_file(live.id).unlink(missing_ok=True)


def _drop(spool: Spool) -> None:
    """A staged job, put in place by one rename."""
    job_id = new_job_id()
    hidden = spool.inbox / DOOR / f"{OWN_PREFIX}{job_id}"
    hidden.mkdir(mode=0o700)
    (hidden / _SONG).write_bytes(SILENCE)
    (hidden / _DESCRIPTION).write_text(json.dumps({"job_uuid": job_id, "input": _SONG, "priority": 0}))
    os.rename(hidden, hidden.with_name(f"canary {job_id[-8:]}"))  # noqa: PTH104
