"""Whether the disk has room: for an entry before it is claimed, and for a job before it starts."""

from __future__ import annotations

import os
import time
from concurrent.futures import Future
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

from stemd.core import room
from stemd.core.config import Config
from stemd.core.errors import StemdError
from stemd.core.job import Job, JobState, Length, Request
from stemd.core.request import resolve, takes_several
from stemd.core.room import Disk, Need
from stemd.daemon.board import Board
from stemd.daemon.live import Live
from stemd.daemon.prober import Prober
from stemd.daemon.scanner import Scanner
from stemd.engines import models
from stemd.spool import durable, intake
from stemd.spool.intake import Candidate, Kind
from stemd.spool.layout import Spool, WorkDir

#: How long the answer about an entry is kept that is not seen any more (seconds).
_REMEMBERED = 300.0
_ON_DISK = (JobState.RUNNING, JobState.PUBLISHING)


@dataclass(slots=True)
class _Answer:
    """What the prober was asked about an entry, and when the entry was last seen (monotonic seconds)."""

    lengths: Future[list[Length | None]]
    asked: float = 0.0


class Room:
    """Keeps account of what is promised. Recordings are looked into only where it is tight."""

    def __init__(self, board: Board, prober: Prober) -> None:
        self._board, self._prober = board, prober
        self._answers: dict[tuple[Path, tuple[int, ...]], _Answer] = {}
        self._promised: dict[Spool, Need] = {}
        self._on_disk: list[Live] = []

    def count_anew(self) -> None:
        """Add up what the unfinished jobs were promised; before a round of ``admit`` and ``to_start``.

        A job that waits for room itself was promised none.
        """
        needs: dict[Spool, list[Need]] = {}
        for live in self._board.jobs.values():
            if live.state is not JobState.DEFERRED:
                needs.setdefault(live.spool, []).append(live.need)
        self._promised = {spool: room.of_several(each) for spool, each in needs.items()}
        self._on_disk = [live for live in self._board.jobs.values() if live.state in _ON_DISK]
        forgotten = time.monotonic() - _REMEMBERED
        for key in [key for key, answer in self._answers.items() if answer.asked < forgotten]:
            del self._answers[key]

    def admit(self, scanner: Scanner, candidate: Candidate) -> Need | StemdError | None:
        """What to promise an entry, why there is no room for it, or ``None`` while its recordings are looked into."""
        request = _request(self._board.config, candidate)
        recordings = intake.recordings(candidate)
        sizes = [path.lstat().st_size for path in recordings]
        need = _together(request, [room.longest(size) for size in sizes], candidate.kind)
        if self._lacking(scanner.spool, need) is not None:
            key = (scanner.spool.root, (*candidate.fingerprint, len(sizes), sum(sizes)))
            answer = self._answers.get(key)
            if answer is None:
                answer = self._answers[key] = _Answer(self._prober.lengths(recordings, scanner.look_again))
            answer.asked = time.monotonic()
            if not answer.lengths.done():
                return None
            lengths = [
                length or room.longest(size) for length, size in zip(answer.lengths.result(), sizes, strict=True)
            ]
            need = _together(request, lengths, candidate.kind)
            if (error := self._lacking(scanner.spool, need)) is not None:
                return error
        self._promise(scanner.spool, need)
        return need

    def to_start(self, live: Live) -> StemdError | None:
        """Why there is no room for a job's run beside those that run already; its chunks on the disk count."""
        others = [other.need for other in self._on_disk if other is not live]
        running = Need(0, sum(each.chunks + each.results for each in others), sum(each.inodes for each in others))
        chunks = max(0, live.need.chunks - _size_of_chunks(live.work))
        wanted = Need(chunks, live.need.results, live.need.inodes)
        return room.lacking(wanted, disk(live.spool.root), running)

    def started(self, live: Live) -> None:
        """A job has started since ``count_anew``."""
        self._on_disk.append(live)

    def _lacking(self, spool: Spool, need: Need) -> StemdError | None:
        return room.lacking(need, disk(spool.root), self._promised.get(spool, Need()))

    def _promise(self, spool: Spool, need: Need) -> None:
        self._promised[spool] = self._promised.get(spool, Need()) + need


def of_job(job: Job) -> Need:
    """The need of a job whose description is known."""
    length = job.source.length or room.longest(max(each.bytes for each in job.files))
    return room.need_of_mix(job.request, length, len(job.inputs)) if job.inputs else _need(job.request, length)


def disk(path: Path) -> Disk:
    """Room on the file system that ``path`` is on, for this process's user."""
    with durable.io_errors("ask for the room on the disk"):
        facts = os.statvfs(path)
    return Disk(facts.f_bavail * facts.f_frsize, facts.f_blocks * facts.f_frsize, facts.f_favail, facts.f_files)


def _request(config: Config, candidate: Candidate) -> Request:
    """What the inbox asks for; what the entry itself says is read only after the claim."""
    try:
        return resolve(config, candidate.door.name)
    except StemdError:
        return resolve(config, None)


def _together(request: Request, lengths: list[Length], kind: Kind) -> Need:
    if takes_several(request.engine) and kind is Kind.STAGED and lengths:
        whole = Length(max(each.seconds for each in lengths), max(each.sample_rate for each in lengths), 2)
        return room.need_of_mix(request, whole, len(lengths))
    needs = [_need(request, length) for length in lengths]
    if kind is Kind.STAGED:  # one of them is the job's input
        return max(needs, key=lambda need: need.results, default=Need())
    return reduce(Need.__add__, needs, Need())


def _need(request: Request, length: Length) -> Need:
    known = models.BUILT_IN.get(request.model)
    return room.need(request, length, len(known.stems) if known else room.MOST_STEMS)


def _size_of_chunks(work: WorkDir) -> int:
    return sum(path.stat().st_size for path in work.chunks.glob("*.f32"))
