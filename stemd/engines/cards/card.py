"""The worker's end: networks that are computed by the card's process."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from stemd.core.errors import StemdError
from stemd.core.sockets import short
from stemd.engines.cards.terms import GoneError, Line, Shared, sizes
from stemd.engines.tuning.ways import Way

#: How long the process may take to be there (seconds): the daemon starts it together with the worker.
_PATIENCE = 60.0
_AGAIN = 0.05


class Card:
    """The process at ``address``. When it has ended, what follows asks the one that the daemon starts in its place.

    ``together`` is how many segments it computes at once, as far as is known here.
    """

    def __init__(self, address: Path, patience: float = _PATIENCE) -> None:
        self._address, self._patience = address, patience
        self._line: Line | None = None
        self._memory: Shared | None = None
        self._stems = 0
        self._of_track = 0
        self.together = 0

    def greet(self, stems: int) -> Mapping[str, Any]:
        """Wait until it has loaded the model, which has ``stems``: the way it computes and what it found by trying.

        ``{"none": WHY}`` where it has no card to compute on.

        Raises:
            StemdError: what loading the model raised there; STEMD-E006, it cannot be reached.
        """
        self._stems, self._of_track = stems, 0
        told = self._ask({"op": "hello"})
        self.together = int(told.get("ready", {}).get("together", 0))
        return told

    def begin(self) -> None:
        """A new track: it may be computed with another number of segments at once than the one before."""
        self._of_track = 0

    def answer(self, member: int, mix: torch.Tensor, way: Way) -> torch.Tensor:
        """What the network gives for ``mix`` (segments × channels × frames): segments × stems × channels × frames.

        Valid until the next call.

        Raises:
            StemdError: STEMD-R001, the card's memory ran out, or it has begun to compute fewer segments at once than
                before: numbers depend on that, so a track is begun again. STEMD-E006.
        """
        segments, channels, frames = mix.shape
        question, answer = sizes(segments, self._stems, channels, frames)
        if self._line is None:
            self._ask({"op": "hello"})
        memory = self._room(question + answer)
        torch.from_numpy(memory.values(0, segments, channels, frames)).copy_(mix)
        asked = {"op": "answer", "member": member, "segments": segments, "frames": frames, "channels": channels}
        self.together = int(self._ask(asked)["together"])
        if self._of_track not in (0, self.together):
            raise StemdError("STEMD-R001", f"the card computes {self.together} segments at once now")
        self._of_track = self.together
        return torch.from_numpy(memory.values(question, segments, self._stems, channels, frames))

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
        self._line = self._memory = None

    def _room(self, size: int) -> Shared:
        if self._memory is None or self._memory.size < size:
            with Shared.made(size) as (memory, descriptor):
                self._ask({"op": "memory", "bytes": size}, descriptor)
            self._memory = memory
        return self._memory

    def _ask(self, message: Mapping[str, Any], descriptor: int | None = None) -> Mapping[str, Any]:
        try:
            if self._line is None:
                self._line = self._connected()
            self._line.say(message, descriptor)
            answer, _ = self._line.hear()
        except (OSError, GoneError) as error:
            self.close()
            raise StemdError("STEMD-E006", f"the card's process: {error}") from error
        if "code" in answer:
            raise StemdError(str(answer["code"]), str(answer["message"]))
        return answer

    def _connected(self) -> Line:
        until = time.monotonic() + self._patience
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            try:
                with short(self._address) as path:
                    connection.connect(path)
                return Line(connection)
            except (FileNotFoundError, ConnectionRefusedError):
                connection.close()
                if time.monotonic() > until:
                    raise
                time.sleep(_AGAIN)
