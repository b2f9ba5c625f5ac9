"""From the inboxes into the queue: what is complete is claimed, if its user's quota and the disk have room for it."""

from __future__ import annotations

from collections.abc import Iterable

from stemd.core.errors import ErrorClass, StemdError
from stemd.core.job import new_job_id
from stemd.core.policy import Admit, Defer, Refuse
from stemd.core.room import Need
from stemd.daemon.board import Board
from stemd.daemon.live import Live
from stemd.daemon.quotas import Quotas
from stemd.daemon.room import Room
from stemd.daemon.scanner import Scanner
from stemd.daemon.sealing import Sealer
from stemd.ops import logs
from stemd.spool import claim, ownership
from stemd.spool.intake import Candidate, Refusal
from stemd.spool.intents import Intent

#: How long the inbox is left alone after the disk refused a claim (seconds).
_AFTER_FAILED_CLAIM = 5.0
#: Why a person keeps it.
_HELD, _DRAINING = "held back: `stemd release` lets it in", "stemd drains: `stemd resume` lets it in"


class Admission:
    """Looks through the inboxes when they are due; what it lets in goes to the sealer, then waits in the queue."""

    def __init__(self, board: Board, scanners: Iterable[Scanner], room: Room, sealer: Sealer, quotas: Quotas) -> None:
        self._board, self._room, self._sealer, self._quotas = board, room, sealer, quotas
        self.scanners = list(scanners)
        self._ended = 0

    def tell_of_room(self) -> None:
        """Every end of a job makes room."""
        ended = sum(self._board.ended.values())
        for scanner in self.scanners:
            if ended != self._ended and scanner.kept_for:
                scanner.look_again()
        self._ended = ended

    def take_in(self, now: float, takes: bool = True) -> None:
        """Look at the inboxes that are due at ``now`` (monotonic seconds); take what is complete, if it ``takes``."""
        metrics = self._board.metrics
        for scanner in self.scanners:
            if now >= scanner.due():
                with metrics.scan_seconds.time():
                    for found in scanner.scan():
                        self._take(scanner, found, takes)
                metrics.scan_success.set_to_current_time()

    def rest(self) -> None:
        """The inboxes are left alone on purpose: nobody is to take that for a loop that hangs."""
        self._board.metrics.scan_success.set_to_current_time()

    def _take(self, scanner: Scanner, found: Candidate | Refusal, takes: bool) -> None:
        claims = self._board.metrics.claims
        if isinstance(found, Refusal):
            claims.labels("refused").inc()
            logs.get().warning("entry_refused", path=found.path, code=found.error.code, reason=found.error.message)
            return
        intent = scanner.intent(found.path)
        if intent is Intent.HOLD or not takes:
            scanner.keep(found.path, _HELD if intent is Intent.HOLD else _DRAINING)
            return
        user = ownership.of_entry(self._board.config, found.door.name, found.path)
        verdict = self._quotas.at_door(user) if intent is None else Admit()
        if isinstance(verdict, Defer | Refuse) and scanner.is_news(found.path):
            self._quotas.rejected(verdict)
        if isinstance(verdict, Defer):
            self._keep(scanner, found, verdict.error)
            return
        need = self._admit(scanner, found) if intent is None and isinstance(verdict, Admit) else Need()
        if need is None:
            return
        try:
            work = claim.claim(scanner.spool, found, new_job_id())
        except StemdError as error:
            if scanner.is_news(found.path):
                logs.get().error("claim_failed", path=found.path, code=error.code, reason=error.message)
            scanner.keep(found.path, error)
            if error.error_class is ErrorClass.DISK_FULL:
                scanner.postpone(_AFTER_FAILED_CLAIM)
            return
        claims.labels("claimed" if work else "lost").inc()
        if work is not None:
            live = Live(scanner.spool, work, ownership.of_claimed(self._board.config, work), need=need)
            self._board.add(live)
            live.changed()
            live.log("claimed", name=found.path.name, inbox=found.door.name)
            self._board.tell("claimed", live, names={"name": found.path.name})
            self._quotas.claimed(live.user)
            if isinstance(verdict, Refuse):
                self._board.give_up(live, verdict.error)
            elif intent is Intent.CANCEL:
                self._board.give_up(live, StemdError("STEMD-P002"))
                scanner.followed(found.path)
            else:
                self._sealer.start(live)

    def _admit(self, scanner: Scanner, found: Candidate) -> Need | None:
        """What to promise an entry; ``None`` while there is no room for it, or too much waits before it."""
        try:
            answer = self._backlogged() or self._room.admit(scanner, found)
        except StemdError as error:  # the disk does not even say what room it has
            answer = error
        except OSError:  # it is going, or being changed: the next look sees what has become of it
            return None
        if isinstance(answer, StemdError):
            self._keep(scanner, found, answer)
            return None
        return answer

    def _keep(self, scanner: Scanner, found: Candidate, reason: StemdError) -> None:
        if scanner.is_news(found.path):
            logs.get().warning("kept_back", path=found.path, code=reason.code, reason=reason.message)
        scanner.keep(found.path, reason)

    def _backlogged(self) -> StemdError | None:
        waiting, most = len(self._board.jobs), self._board.config.scheduling.backlog
        return StemdError("STEMD-R006", f"{waiting} jobs are unfinished; {most} may be") if waiting >= most else None
