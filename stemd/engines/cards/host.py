"""The card's process: ``python -m stemd.engines.cards``, started by the daemon, ended by it or with it.

One thread listens to each worker; ``computing`` has two more. What goes wrong with the card ends the process, and
another is started.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from stemd.core.errors import StemdError
from stemd.core.sockets import short
from stemd.engines.cards.computing import Asked, Busy, Computing
from stemd.engines.cards.graphs import CaptureError, Graphs
from stemd.engines.cards.terms import GoneError, Line, Shared, sizes
from stemd.engines.demucs_engine import DemucsEngine

#: Segments at once where nobody has said how many; a card is far from busy with one.
_TOGETHER = {"cuda": 4}
#: No group of segments, and no loading of a model, takes so long (seconds): what does hangs.
_HUNG = 540.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What the daemon wants of it. ``together``: how many segments at once, 0: what is usual for the device.

    ``device`` may be ``cpu`` only if it is named: ``auto`` is a card or nothing. ``graphs``: whether they are tried.
    """

    model: str
    store: str
    device: str
    precision: str = "auto"
    tuning: str = ""
    together: int = 0
    graphs: bool = True


@dataclass(frozen=True, slots=True)
class _Loaded:
    """The model, what computes with it, and what is told of both."""

    engine: DemucsEngine
    sha256: str
    computing: Computing
    told: Mapping[str, Any]


class Host:
    """Loads the model when the first worker asks for it, and computes what they give it.

    ``anew`` begins the process anew with a wish and does not come back; ``end`` ends it.
    """

    def __init__(self, wish: Wish, anew: Callable[[Wish], None], end: Callable[[str], None]) -> None:
        self.wish = wish
        self._anew, self._end = anew, end
        self._loaded: _Loaded | None = None
        self._none = ""
        self._loading = threading.Lock()
        self._busy = Busy()

    def serve(self, listening: socket.socket) -> None:
        """Until the process is ended."""
        threading.Thread(target=self._watch, name="watch", daemon=True).start()
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=self._attend, args=(Line(connection),), name="worker", daemon=True).start()

    def _attend(self, line: Line) -> None:
        memory: Shared | None = None
        asked: Asked | None = None
        try:
            while True:
                message, descriptor = line.hear()
                if message["op"] == "hello":
                    line.say(self._greeting(str(message["sha256"])))
                elif message["op"] == "memory" and descriptor is not None:
                    memory = _taken(descriptor)
                    line.say({})
                elif message["op"] == "answer" and memory is not None and self._loaded is not None:
                    asked = _asked(message, memory, line, self._loaded.engine.stems)
                    self._loaded.computing.put(asked)
                else:
                    raise GoneError(f"what is {message}?")
        except (GoneError, KeyError, TypeError, ValueError):
            if asked is not None and self._loaded is not None:
                self._loaded.computing.drop(asked)
            line.close()

    def _greeting(self, sha256: str) -> Mapping[str, Any]:
        with self._loading, self._busy.doing("load"):
            if self._loaded is None and not self._none:
                try:
                    self._load()
                except StemdError as error:
                    self._fault(error)
                    return {"code": error.code, "message": error.message}
            if self._loaded is None:
                return {"none": self._none}
            if self._loaded.sha256 != sha256:
                return self._other(self._loaded.engine, sha256)
            return {"ready": {**self._loaded.told, "together": self._loaded.computing.together}}

    def _other(self, engine: DemucsEngine, sha256: str) -> Mapping[str, Any]:
        """A worker has other weights: whose are those that lie in the store now?"""
        if engine.fingerprint(self.wish.model, Path(self.wish.store)) == sha256:
            self._anew(self.wish)
        return {"code": "STEMD-E006", "message": f"{self.wish.model} was replaced by another one since it was loaded"}

    def _load(self) -> None:
        wish, engine = self.wish, DemucsEngine()
        model = engine.load(wish.model, Path(wish.store), wish.device)
        if engine.device.type == "cpu" and wish.device == "auto":
            engine.close()
            self._none = "there is no graphics card that torch can use"
            return
        engine.prefer_runtime("torch")
        found = engine.tune(wish.precision, Path(wish.tuning) if wish.tuning else None)
        graphs = Graphs(engine, frozenset(enumerate(engine.usual_frames())) if wish.graphs else frozenset())
        together = wish.together or _TOGETHER.get(engine.device.type, 1)
        computing = Computing(engine, graphs, together, self._busy, self._fault)
        facts: dict[str, Any] = {"graphs": graphs.used}
        if engine.device.type == "cpu":
            facts["threads_of_card"] = torch.get_num_threads()
        told = {key: value for key, value in found.items() if key != "trials"}
        told |= {"device": str(engine.device), "facts": facts, "graphs": graphs.told}
        self._loaded = _Loaded(engine, model.sha256, computing, told)
        computing.start()

    def _fault(self, error: StemdError) -> None:
        """After some faults nothing works any more in this process."""
        if isinstance(error.__cause__, CaptureError):
            self._anew(replace(self.wish, graphs=False))
        if isinstance(error.__cause__, torch.AcceleratorError) and error.code != "STEMD-R001":
            self._end(error.message)

    def _watch(self) -> None:
        while True:
            time.sleep(1)
            for what, since in list(self._busy.since.items()):
                if time.monotonic() - since > _HUNG:
                    self._end(f"it hung for {_HUNG:.0f} seconds: {what}")


def _asked(message: Mapping[str, Any], memory: Shared, line: Line, stems: int) -> Asked:
    segments, channels, frames = (int(message[name]) for name in ("segments", "channels", "frames"))
    offset, _ = sizes(segments, stems, channels, frames)
    question = memory.values(0, segments, channels, frames)
    answer = memory.values(offset, segments, stems, channels, frames)
    return Asked((int(message["member"]), frames), segments, line=line, question=question, answer=answer)


def _taken(descriptor: int) -> Shared:
    try:
        return Shared(descriptor)
    finally:
        os.close(descriptor)


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
