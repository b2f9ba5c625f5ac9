"""What a person may ask of a running daemon, as the control socket passes it on.

Each word says what one must be allowed to do, and whose job or entry it is about, before it does anything.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from stemd.core.access import Action, Person
from stemd.core.errors import StemdError
from stemd.core.job import Job, JobId, JobState
from stemd.daemon.dispatcher import Dispatcher
from stemd.daemon.live import Live
from stemd.daemon.room import of_job
from stemd.daemon.scanner import Scanner
from stemd.spool import attempts, durable, ownership, recover, sidecar
from stemd.spool.intents import Intent
from stemd.spool.layout import Spool, WorkDir

_HOLDABLE = frozenset({JobState.WAITING, JobState.DEFERRED, JobState.RETRY_WAIT})


class Steering:
    """Answers control messages: ``{"op": …}`` in, a JSON object out; refusals are ``StemdError``.

    ``stopping`` says whether the daemon was ordered to end.
    ``may_return`` is asked before a failed job is put back, with its folder in orphan/, and raises where it may not.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        reload: Callable[[], None],
        view: Callable[[], Mapping[str, Any]],
        *,
        stopping: Callable[[], bool] = lambda: False,
        may_return: Callable[[Path, str], None] = lambda orphan, job: None,
    ) -> None:
        self._dispatcher, self._board = dispatcher, dispatcher.board
        self._reload, self._view = reload, view
        self._stopping, self._may_return = stopping, may_return
        self._drained_at: float | None = None

    def answer(self, message: Mapping[str, Any], person: Person) -> Mapping[str, Any]:  # noqa: PLR0911  one line per word
        match message:
            case {"op": "cancel" | "hold" | "release" as op, "path": str(path)}:
                return {"state": self._decide(op, Path(path), person)}
            case {"op": "cancel" | "hold" | "release" as op, "job": str(job)}:
                act = {"cancel": self._cancel, "hold": self._hold, "release": self._release}[op]
                return {"state": act(self._live(job, person))}
            case {"op": "retry", "job": str(job)}:
                return {"state": self._retry(JobId(job), person)}
            case {"op": "why", "path": str(path)}:
                return {"reason": self._why(Path(path), person)}
            case {"op": "quota"}:
                return {"users": self._quota(message.get("user"), person)}
            case {"op": "drain" | "resume" | "reload" as op}:
                person.require(Action.OPERATE)
                self._operate(op)
                return dict(self._view())
            case {"op": "state"}:
                person.require(Action.HEALTH)
                return dict(self._view())
        raise StemdError("STEMD-X001", f"unknown control message {message.get('op')!r}")

    def _operate(self, word: str) -> None:
        if word == "resume" and self._stopping():
            remedy = "Wait for its end, and start it again."
            raise StemdError("STEMD-S017", "the daemon is stopping: it takes no more jobs", remedy=remedy)
        if word == "reload":
            self._reload()
        elif word == "drain":
            self._drained_at = self._drained_at or time.monotonic()
            self._dispatcher.draining = True
        else:
            self._count_drained()
            self._dispatcher.draining = False
        for scanner in self._dispatcher.scanners:
            scanner.look_again()

    def _count_drained(self) -> None:
        """What waited through a drain has waited for less by so much: nobody was late meanwhile."""
        if self._drained_at is None:
            return
        passed, self._drained_at = time.monotonic() - self._drained_at, None
        for live in self._board.jobs.values():
            if not live.at_work:
                live.count_less(passed)

    def _live(self, job_id: str, person: Person) -> Live:
        live = self._board.get(job_id)
        if live is None:
            raise StemdError("STEMD-S016", f"job {job_id} is not unfinished")
        person.require(Action.STEER, live.user)
        return live

    def stop(self, live: Live) -> None:
        """Whatever it does, it is to end: for good, and without a person to ask for it."""
        self._cancel(live)

    def _cancel(self, live: Live) -> str:
        live.cancelling = True
        if live.state is JobState.RUNNING:
            self._dispatcher.runs.interrupt(live)
        elif not self._dispatcher.sealer.busy(live):
            self._board.give_up(live, StemdError("STEMD-P002"))
        return live.state.value if live.state.ended else "cancelling"

    def _hold(self, live: Live) -> str:
        if live.state not in _HOLDABLE or live.job is None:
            raise StemdError("STEMD-S016", f"job {live.id} is {live.state}: only jobs that wait can be held")
        durable.write_json(live.work.not_before, {"state": JobState.HELD.value})
        live.enter(JobState.HELD, "held")
        live.write_status()  # who asked looks
        live.log("held")
        return live.state.value

    def _release(self, live: Live) -> str:
        if live.state is not JobState.HELD:
            raise StemdError("STEMD-S016", f"job {live.id} is {live.state}, not held")
        self._board.requeue(live, "released")
        with suppress(StemdError):  # for a restart only: without it the job is taken for one that waited all the time
            attempts.record_release(live.work.attempts)
        live.write_status()
        live.log("released")
        return live.state.value

    def _decide(self, word: str, path: Path, person: Person) -> str:
        """Something that still lies in an inbox."""
        scanner = self._scanner_of(path)
        person.require(Action.STEER, self._owner_of(scanner, path))
        known = scanner.intent(path)
        if word == "release" and known is not Intent.HOLD:
            raise StemdError("STEMD-S016", f"{path.name} is not held")
        scanner.decide(path, None if word == "release" else Intent(word))
        return {"cancel": "cancelling", "hold": JobState.HELD.value, "release": JobState.WAITING.value}[word]

    def _retry(self, job_id: JobId, person: Person) -> str:
        for scanner in self._dispatcher.scanners:
            orphan = sidecar.find_orphan(scanner.spool, job_id)
            if orphan is not None:
                person.require(Action.STEER, orphan.parent.name)
                if self._board.get(job_id) is not None:
                    raise StemdError("STEMD-S016", f"job {job_id} is already at work")
                self._may_return(orphan, job_id)
                work, job = self._put_back(scanner.spool, orphan, job_id)
                break
        else:
            raise StemdError("STEMD-S016", f"job {job_id} is not in orphan/")
        live = Live(scanner.spool, work, job.user_id if job else orphan.parent.name, job)
        if job is not None:
            live.claimed_at, live.need = job.claimed_at, of_job(job)
        live.count_anew()
        self._board.add(live)
        live.enter(JobState.WAITING, "put back")
        live.write_status()
        live.log("put_back", epoch=job.epoch if job else None)
        if job is None:
            self._dispatcher.sealer.start(live)
        return live.state.value

    def _put_back(self, spool: Spool, orphan: Path, job_id: JobId) -> tuple[WorkDir, Job | None]:
        """The job's folder in work/, and its description if it has one. If it stays there without, it goes on later."""
        try:
            work = recover.put_back(spool, orphan, job_id)
            with durable.io_errors("read a job's description"):
                record = durable.read_json(work.job)
        except StemdError:
            if not os.path.lexists(orphan) and self._board.get(job_id) is None:
                self._dispatcher.takeover.left(spool, spool.job(job_id))
            raise
        return work, Job.from_dict(record) if record else None

    def _why(self, path: Path, person: Person) -> str:
        scanner = self._scanner_of(path)
        person.require(Action.SEE, self._owner_of(scanner, path))
        return scanner.why(path)

    def _quota(self, user: object, person: Person) -> list[Mapping[str, Any]]:
        """Usage against quota: of one user, or of all whose jobs one may see."""
        quotas = self._dispatcher.quotas
        if isinstance(user, str):
            person.require(Action.SEE, user)
        asked = {user} if user is not None else quotas.users
        return [quotas.of(each) for each in sorted(quotas.users & asked) if person.may(Action.SEE, each)]

    def _owner_of(self, scanner: Scanner, path: Path) -> str | None:
        door, entry = scanner.locate(path)
        return ownership.of_entry(self._board.config, door, entry)

    def _scanner_of(self, path: Path) -> Scanner:
        for scanner in self._dispatcher.scanners:
            if path.is_relative_to(scanner.spool.inbox):
                return scanner
        raise StemdError("STEMD-S018", f"{path} is in no inbox of this daemon")
