"""The card's process: ``python -m stemd.engines.cards``, started by the daemon, ended by it or with it.

One thread listens to each worker, one computes. That one has two groups of segments on the card at any time: while the
later is computed, the answers of the earlier are handed out.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from stemd.core.errors import StemdError
from stemd.core.sockets import short
from stemd.engines.cards.gather import Gathering, Part, Request
from stemd.engines.cards.graphs import Graphs
from stemd.engines.cards.terms import GoneError, Line, Shared, Values, sizes
from stemd.engines.demucs_engine import DemucsEngine, denormals_flushed

#: Segments at once where nobody has said how many; a card is far from busy with one.
_TOGETHER = {"cuda": 4}


@dataclass(frozen=True, slots=True)
class Wish:
    """What the daemon wants of it. ``together``: how many segments at once, 0: as many as is fastest. ``device`` may be
    ``cpu`` only if it is named: ``auto`` is a card or nothing."""

    model: str
    store: str
    device: str
    precision: str = "auto"
    tuning: str = ""
    together: int = 0


@dataclass(slots=True, eq=False, kw_only=True)
class _Asked(Request):
    """A request with its sound, and whom to tell. ``together``: with how many others its segments were computed."""

    line: Line
    question: Values
    answer: Values
    together: int = 0
    failed: bool = False


@dataclass(slots=True)
class _Launched:
    """A group on its way: its answer on the host, there once ``ready`` has come (a card works by itself)."""

    parts: Sequence[Part[_Asked]]
    answer: torch.Tensor
    ready: Any = None


@dataclass(slots=True)
class Host:
    """Loads the model when the first worker asks for it, and computes what they give it."""

    wish: Wish
    together: int = 0
    _engine: DemucsEngine | None = None
    _stems: int = 0
    _graphs: Graphs | None = None
    _told: Mapping[str, Any] | None = None
    _loading: threading.Lock = field(default_factory=threading.Lock)
    _gathering: Gathering[_Asked] = field(default_factory=Gathering)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _buffers: dict[Any, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    _turn: int = 0

    # ---- the workers

    def serve(self, listening: socket.socket) -> None:
        """Until the process is ended."""
        threading.Thread(target=self._compute, name="compute", daemon=True).start()
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=self._attend, args=(Line(connection),), name="worker", daemon=True).start()

    def _attend(self, line: Line) -> None:
        memory: Shared | None = None
        asked: _Asked | None = None
        try:
            while True:
                message, descriptor = line.hear()
                if message["op"] == "hello":
                    line.say(self._greeting())
                elif message["op"] == "memory" and descriptor is not None:
                    memory = Shared(descriptor)
                    os.close(descriptor)
                    line.say({})
                elif message["op"] == "answer" and memory is not None:
                    asked = self._asked(message, memory, line)
                    with self._changed:
                        self._gathering.put(asked)
                        self._changed.notify()
                else:
                    raise GoneError(f"what is {message}?")
        except (GoneError, KeyError, TypeError, ValueError):
            with self._changed:
                if asked is not None:
                    self._gathering.drop(asked)
            line.close()

    def _asked(self, message: Mapping[str, Any], memory: Shared, line: Line) -> _Asked:
        segments, channels, frames = (int(message[name]) for name in ("segments", "channels", "frames"))
        offset, _ = sizes(segments, self._stems, channels, frames)
        question = memory.values(0, segments, channels, frames)
        answer = memory.values(offset, segments, self._stems, channels, frames)
        return _Asked((int(message["member"]), frames), segments, line=line, question=question, answer=answer)

    # ---- the model

    def _greeting(self) -> Mapping[str, Any]:
        with self._loading:
            if self._told is None:
                try:
                    self._told = self._load()
                except StemdError as error:
                    return {"code": error.code, "message": error.message}
            return self._told

    def _load(self) -> Mapping[str, Any]:
        wish, engine = self.wish, DemucsEngine()
        model = engine.load(wish.model, Path(wish.store), wish.device)
        if engine.device.type == "cpu" and wish.device == "auto":
            engine.close()
            return {"none": "there is no graphics card that torch can use"}
        engine.prefer_runtime("torch")
        found = engine.tune(wish.precision, Path(wish.tuning) if wish.tuning else None)
        self._engine, self._stems = engine, len(model.stems)
        usual = engine.usual_frames()
        self._graphs = Graphs(engine, frozenset(enumerate(usual)))
        self.together = self._fitting(usual, wish.together or _TOGETHER.get(engine.device.type, 1))
        found = {key: value for key, value in found.items() if key != "trials"}
        return {
            "ready": {**found, "device": engine.device.type, "together": self.together, "graphs": self._graphs.told}
        }

    def _fitting(self, usual: Sequence[int], together: int) -> int:
        """The number of segments at once that there is memory for, at most ``together``."""
        with torch.inference_mode(), denormals_flushed():
            while True:
                try:
                    for member, frames in enumerate(usual):
                        self._wait(self._launch(member, [], together, frames))
                    return together
                except StemdError as error:
                    if error.code != "STEMD-R001" or together == 1:
                        raise
                    together //= 2
                    self._forget()

    # ---- the computing

    def _compute(self) -> None:
        earlier: _Launched | None = None
        with torch.inference_mode(), denormals_flushed():
            while True:
                with self._changed:
                    while not self._gathering.waiting and earlier is None:
                        self._changed.wait()
                    parts = self._gathering.take(self.together)
                later = self._tried(parts) if parts else None
                if earlier is not None:
                    self._hand_out(earlier)
                earlier = later

    def _tried(self, parts: Sequence[Part[_Asked]]) -> _Launched | None:
        member, frames = parts[0].request.kind
        try:
            return self._launch(member, parts, self.together, frames)
        except StemdError as error:
            self._fail(parts, error)
            if error.code == "STEMD-R001" and self.together > 1:
                self.together //= 2
                self._forget()
            return None

    def _launch(self, member: int, parts: Sequence[Part[_Asked]], together: int, frames: int) -> _Launched:
        """Put the segments of ``parts`` on the card, and silence for those that are missing.

        Raises:
            StemdError: STEMD-R001, its memory ran out; STEMD-E006.
        """
        assert self._engine is not None
        assert self._graphs is not None
        with self._engine.failures():
            question, answer = self._pair(member, together, frames)
            row = 0
            for part in parts:
                question[row : row + len(part)] = torch.from_numpy(part.request.question[part.start : part.stop])
                row += len(part)
            question[row:] = 0
            answer.copy_(self._graphs(member, question), non_blocking=True)
            if self._engine.device.type != "cuda":
                return _Launched(parts, answer)
            ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
            ready.record()
            return _Launched(parts, answer, ready)

    def _pair(self, member: int, together: int, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Memory for a question and its answer that is not in use: two of each, in turn. A card fetches by itself."""
        assert self._engine is not None
        key = member, together, frames, self._turn
        self._turn = 1 - self._turn
        if key in self._buffers:
            return self._buffers[key]
        pin = self._engine.device.type == "cuda"
        question = torch.zeros(together, 2, frames, pin_memory=pin)
        answer = torch.zeros(together, self._stems, 2, frames, pin_memory=pin)
        if frames == self._engine.usual_frames()[member]:  # the ends of tracks have any length
            self._buffers[key] = question, answer
        return question, answer

    def _wait(self, launched: _Launched) -> None:
        assert self._engine is not None
        if launched.ready is not None:
            with self._engine.failures():
                launched.ready.synchronize()

    def _hand_out(self, launched: _Launched) -> None:
        try:
            self._wait(launched)
        except StemdError as error:
            self._fail(launched.parts, error)
            return
        together, row = len(launched.answer), 0
        for part in launched.parts:
            request = part.request
            request.answer[part.start : part.stop] = launched.answer[row : row + len(part)].numpy()
            row += len(part)
            request.done += len(part)
            if request.together not in (0, together):
                self._fail([part], StemdError("STEMD-R001", "the card computes fewer segments at once than before"))
            request.together = together
            if request.complete and not request.failed:
                _say(request.line, {"together": together})

    def _fail(self, parts: Sequence[Part[_Asked]], error: StemdError) -> None:
        """Tell the workers; after a fault of a card nothing works on it any more, and another process begins anew."""
        assert self._engine is not None
        for request in {part.request for part in parts if not part.request.failed}:
            request.failed = True
            with self._changed:
                self._gathering.drop(request)
            _say(request.line, {"code": error.code, "message": error.message})
        if self._engine.device.type == "cuda" and error.code != "STEMD-R001":
            os._exit(1)

    def _forget(self) -> None:
        assert self._graphs is not None
        self._buffers.clear()
        self._graphs.forget()
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.empty_cache()


def _say(line: Line, message: Mapping[str, Any]) -> None:
    with suppress(GoneError):  # its own thread finds that out too
        line.say(message)


def listen(address: Path) -> socket.socket:
    """The socket at ``address``, for nobody but the daemon's own user."""
    address.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    before = os.umask(0o177)
    try:
        with short(address) as path:
            listening.bind(path)
    finally:
        os.umask(before)
    listening.listen(64)
    return listening
