"""Groups of segments, one after the other: launched by one thread, waited for and handed out by another.

So the next group is launched while the answers of the one before are on their way.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch

from stemd.core.errors import StemdError
from stemd.engines.cards.buffers import Buffers
from stemd.engines.cards.gather import Gathering, Part, Request
from stemd.engines.cards.graphs import Graphs
from stemd.engines.cards.terms import GoneError, Line, Values
from stemd.engines.demucs_engine import DemucsEngine
from stemd.engines.torch_faults import denormals_flushed, failures


@dataclass(slots=True, eq=False, kw_only=True)
class Asked(Request):
    """A request with its sound, and whom to tell. ``together``: with how many others its segments were computed."""

    line: Line
    question: Values
    answer: Values
    together: int = 0
    failed: bool = False


@dataclass(slots=True)
class Launched:
    """A group on its way: its answer on the host, there once ``ready`` has come (a card works by itself)."""

    parts: Sequence[Part[Asked]]
    answer: torch.Tensor
    ready: Any = None

    def wait(self) -> None:
        """Until its answer is there.

        Raises:
            StemdError: STEMD-R001, STEMD-E006, what went wrong with it.
        """
        if self.ready is not None:
            with failures():
                self.ready.synchronize()


@dataclass(slots=True)
class Busy:
    """What is being done, and since when (monotonic seconds)."""

    since: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        self.since[what] = time.monotonic()
        try:
            yield
        finally:
            del self.since[what]


class Computing:
    """The networks of ``engine``, ``together`` segments at once: as many as there is memory for, at most so many.

    ``fault`` hears of every failure after those whom it hit were told.

    Raises:
        StemdError: STEMD-R001, there is not enough memory for one; STEMD-E006.
    """

    def __init__(
        self, engine: DemucsEngine, graphs: Graphs, together: int, busy: Busy, fault: Callable[[StemdError], None]
    ) -> None:
        self._engine, self._graphs, self._busy, self._fault = engine, graphs, busy, fault
        self._buffers = Buffers(engine.stems, engine.usual_frames(), pinned=engine.device.type == "cuda")
        self._gathering: Gathering[Asked] = Gathering()
        self._changed = threading.Condition()
        self._launched: queue.Queue[Launched] = queue.Queue(1)
        self.together = self._fitting(together)

    def start(self) -> None:
        """Begin to answer."""
        for work in (self._launch_all, self._hand_out_all):
            threading.Thread(target=work, name=work.__name__, daemon=True).start()

    def put(self, asked: Asked) -> None:
        """Have it answered."""
        with self._changed:
            self._gathering.put(asked)
            self._changed.notify()

    def drop(self, asked: Asked) -> None:
        """Forget what of it has not been launched."""
        with self._changed:
            self._gathering.drop(asked)

    @property
    def waiting(self) -> int:
        """How many requests have segments that have not been launched."""
        return len(self._gathering.waiting)

    # ---- launching

    def _fitting(self, together: int) -> int:
        with self._in_force():
            while not self._fits(together):
                together //= 2
                self._forget()
        return together

    def _fits(self, together: int) -> bool:
        try:
            for member, frames in enumerate(self._buffers.usual):
                self._launch(member, [], together, frames).wait()
        except StemdError as error:
            if error.code != "STEMD-R001" or together == 1:
                raise
            return False
        return True

    def _launch_all(self) -> None:
        with self._in_force():
            while True:
                with self._changed:
                    while not self._gathering.waiting:
                        self._changed.wait()
                    parts = self._gathering.take(self.together)
                with self._busy.doing("launch"):
                    launched = self._tried(parts)
                if launched is not None:
                    self._launched.put(launched)

    def _tried(self, parts: Sequence[Part[Asked]]) -> Launched | None:
        member, frames = parts[0].request.kind
        try:
            return self._launch(member, parts, self.together, frames)
        except StemdError as error:
            failed = error
        if failed.code == "STEMD-R001" and self.together > 1:
            del failed  # it holds what the network computed with
            self.together //= 2
            self._forget()
            self._begin_again(parts)
        else:
            self._fail(parts, failed)
        return None

    def _launch(self, member: int, parts: Sequence[Part[Asked]], together: int, frames: int) -> Launched:
        """Put the segments of ``parts`` on the card, and silence for those that are missing."""
        with failures():
            question, answer = self._buffers.pair(member, together, frames)
            row = 0
            for part in parts:
                question[row : row + len(part)] = torch.from_numpy(part.request.question[part.start : part.stop])
                row += len(part)
            question[row:] = 0
            answer.copy_(self._graphs(member, question), non_blocking=True)
            if self._engine.device.type != "cuda":
                return Launched(parts, answer)
            ready = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            ready.record()
            return Launched(parts, answer, ready)

    def _forget(self) -> None:
        self._buffers.forget()
        self._graphs.forget()
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.empty_cache()

    @contextmanager
    def _in_force(self) -> Iterator[None]:
        """What holds in a thread that computes: events and captures are those of its current card."""
        with torch.inference_mode(), denormals_flushed():
            if self._engine.device.type != "cuda":
                yield
                return
            with torch.cuda.device(self._engine.device):
                yield

    # ---- handing out

    def _hand_out_all(self) -> None:
        while True:
            launched = self._launched.get()
            with self._busy.doing("hand out"):
                try:
                    launched.wait()
                except StemdError as error:
                    self._fail(launched.parts, error)
                else:
                    self._hand_out(launched)

    def _hand_out(self, launched: Launched) -> None:
        together, row = len(launched.answer), 0
        for part in launched.parts:
            request, found = part.request, launched.answer[row : row + len(part)].numpy()
            row += len(part)
            if request.failed:  # its worker has been told, and uses the memory again
                continue
            request.answer[part.start : part.stop] = found
            request.done += len(part)
            if request.together not in (0, together):
                self._begin_again([part])
            elif request.complete:
                _say(request.line, {"together": together})
            request.together = together

    def _begin_again(self, parts: Sequence[Part[Asked]]) -> None:
        words = f"the card has memory for {self.together} segments at once now"
        self._tell(parts, {"anew": words, "together": self.together})

    def _fail(self, parts: Sequence[Part[Asked]], error: StemdError) -> None:
        self._tell(parts, {"code": error.code, "message": error.message})
        self._fault(error)

    def _tell(self, parts: Sequence[Part[Asked]], message: Mapping[str, Any]) -> None:
        for request in {part.request for part in parts if not part.request.failed}:
            request.failed = True
            self.drop(request)
            _say(request.line, message)


def _say(line: Line, message: Mapping[str, Any]) -> None:
    with suppress(GoneError):  # its own thread finds that out too
        line.say(message)
