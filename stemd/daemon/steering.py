"""What a person may ask of a running daemon, as the control socket passes it on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stemd.core.errors import StemdError
from stemd.core.job import Job, JobId, JobState
from stemd.daemon.dispatcher import Dispatcher
from stemd.daemon.live import Live
from stemd.daemon.room import of_job
from stemd.daemon.scanner import Scanner
from stemd.spool import deliver, durable, sidecar
from stemd.spool.intents import Intent

_HOLDABLE = frozenset({JobState.WAITING, JobState.DEFERRED, JobState.RETRY_WAIT})


class Steering:
    """Answers control messages: ``{"op": …}`` in, a JSON object out; refusals are ``StemdError``."""

    def __init__(
        self, dispatcher: Dispatcher, reload: Callable[[], None], view: Callable[[], Mapping[str, Any]]
    ) -> None:
        self._dispatcher, self._board = dispatcher, dispatcher.board
        self._reload, self._view = reload, view

    def answer(self, message: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: PLR0911  one line per word
        match message:
            case {"op": "cancel" | "hold" | "release" as op, "path": str(path)}:
                return {"state": self._decide(op, Path(path))}
            case {"op": "cancel", "job": str(job)}:
                return {"state": self._cancel(self._live(job))}
            case {"op": "hold", "job": str(job)}:
                return {"state": self._hold(self._live(job))}
            case {"op": "release", "job": str(job)}:
                return {"state": self._release(self._live(job))}
            case {"op": "retry", "job": str(job)}:
                return {"state": self._retry(JobId(job))}
            case {"op": "why", "path": str(path)}:
                return {"reason": self._why(Path(path))}
            case {"op": "drain" | "resume" as op}:
                self._dispatcher.draining = op == "drain"
                return dict(self._view())
            case {"op": "reload"}:
                self._reload()
                return dict(self._view())
            case {"op": "state"}:
                return dict(self._view())
        raise StemdError("STEMD-X001", f"unknown control message {message.get('op')!r}")

    def _live(self, job_id: str) -> Live:
        live = self._board.get(job_id)
        if live is None:
            raise StemdError("STEMD-S016", f"job {job_id} is not unfinished")
        return live

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
        live.log("held")
        return live.state.value

    def _release(self, live: Live) -> str:
        if live.state is not JobState.HELD:
            raise StemdError("STEMD-S016", f"job {live.id} is {live.state}, not held")
        self._board.requeue(live, "released")
        live.log("released")
        return live.state.value

    def _decide(self, word: str, path: Path) -> str:
        """Something that still lies in an inbox."""
        scanner = self._scanner_of(path)
        known = scanner.intent(path)
        if word == "release" and known is not Intent.HOLD:
            raise StemdError("STEMD-S016", f"{path.name} is not held")
        scanner.decide(path, None if word == "release" else Intent(word))
        return {"cancel": "cancelling", "hold": JobState.HELD.value, "release": JobState.WAITING.value}[word]

    def _retry(self, job_id: JobId) -> str:
        for scanner in self._dispatcher.scanners:
            orphan = sidecar.find_orphan(scanner.spool, job_id)
            if orphan is not None:
                work = deliver.retry(scanner.spool, orphan, job_id)
                break
        else:
            raise StemdError("STEMD-S016", f"job {job_id} is not in orphan/")
        record = durable.read_json(work.job)
        job = Job.from_dict(record) if record else None
        live = Live(scanner.spool, work, job.user_id if job else orphan.parent.name, job)
        if job is not None:
            live.claimed_at, live.need = job.claimed_at, of_job(job)
        self._board.add(live)
        live.enter(JobState.WAITING, "put back")
        live.log("put_back", epoch=job.epoch if job else None)
        if job is None:
            self._dispatcher.sealer.start(live)
        return live.state.value

    def _why(self, path: Path) -> str:
        return self._scanner_of(path).why(path)

    def _scanner_of(self, path: Path) -> Scanner:
        for scanner in self._dispatcher.scanners:
            if path.is_relative_to(scanner.spool.inbox):
                return scanner
        raise StemdError("STEMD-S018", f"{path} is in no inbox of this daemon")
