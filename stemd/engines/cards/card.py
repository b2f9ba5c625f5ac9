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
from stemd.engines.faults import AnewError, LostError

#: How long the process may take to be there (seconds): the daemon starts it together with the worker, and again.
_PATIENCE = 60.0
_AGAIN = 0.05
#: No answer takes so long (seconds): it ends itself long before.
_HUNG = 1200.0
#: What of a greeting may be another one after a restart.
_PASSING = frozenset({"together", "faster", "graphs"})


class Card:
    """The process at ``address``. When it has ended, what follows asks the one that the daemon starts in its place."""

    def __init__(self, address: Path, patience: float = _PATIENCE) -> None:
        self._address, self._patience = address, patience
        self._line: Line | None = None
        self._memory: Shared | None = None
        self._sha256, self._stems = "", 0
        self._met: Mapping[str, Any] = {}
        self._together = self._of_track = 0

    @property
    def together(self) -> int:
        """How many segments it computes at once, as far as is known here."""
        return self._together

    def facts(self) -> Mapping[str, Any]:
        """What numbers depend on, beside the way."""
        return {"together": self._together, **self._met.get("facts", {})}

    def greet(self, sha256: str, stems: int) -> Mapping[str, Any]:
        """Wait until it has loaded the model (``sha256``, ``stems``): how it computes, and what it found by trying.

        ``{"none": WHY}`` where it has no card to compute on.

        Raises:
            StemdError: what loading the model raised there; STEMD-E006, it cannot be reached.
        """
        self._sha256, self._stems = sha256, stems
        told = self._greeted(time.monotonic() + self._patience)
        self._met = told.get("ready", {})
        return told

    def begin(self) -> None:
        """A new track, whose numbers are those of as many segments at once as ``together`` says."""
        self._of_track = self._together

    def answer(self, member: int, mix: torch.Tensor) -> torch.Tensor:
        """What the network gives for ``mix`` (segments × channels × frames): segments × stems × channels × frames.

        Valid until the next call.

        Raises:
            AnewError: it computes another number of segments at once than when the track began.
            LostError: another process took its place, which computes in another way.
            StemdError: STEMD-R001, the card's memory ran out; STEMD-E006.
        """
        segments, channels, frames = mix.shape
        question, answer = sizes(segments, self._stems, channels, frames)
        if self._line is None:
            self._meet_again()
        memory = self._room(question + answer)
        torch.from_numpy(memory.values(0, segments, channels, frames)).copy_(mix)
        asked = {"op": "answer", "member": member, "segments": segments, "frames": frames, "channels": channels}
        self._together = int(self._ask(asked)["together"])
        if self._together != self._of_track:
            raise AnewError(f"the card computes {self._together} segments at once now, not {self._of_track}")
        return torch.from_numpy(memory.values(question, segments, self._stems, channels, frames))

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
        self._line = self._memory = None

    def _meet_again(self) -> None:
        met = self._greeted(time.monotonic() + self._patience).get("ready")
        if met is None or any(met[key] != value for key, value in self._met.items() if key not in _PASSING):
            raise LostError("the card's process was replaced by one that computes in another way")

    def _greeted(self, until: float) -> Mapping[str, Any]:
        """It may begin anew while it loads: then whoever is at the address next is greeted."""
        while True:
            try:
                if self._line is None:
                    self._line = self._connected(until)
                told = self._said({"op": "hello", "sha256": self._sha256})
                self._together = int(told.get("ready", {}).get("together", 0))
                return told
            except GoneError as error:
                self.close()
                if time.monotonic() > until:
                    raise _unreachable(error) from error

    def _room(self, size: int) -> Shared:
        if self._memory is None or self._memory.size < size:
            try:
                with Shared.made(size) as (memory, descriptor):
                    self._ask({"op": "memory", "bytes": size}, descriptor)
            except OSError as error:
                raise StemdError("STEMD-R001", f"memory to share with the card's process: {error.strerror}") from error
            self._memory = memory
        return self._memory

    def _ask(self, message: Mapping[str, Any], descriptor: int | None = None) -> Mapping[str, Any]:
        try:
            return self._said(message, descriptor)
        except GoneError as error:
            self.close()
            raise _unreachable(error) from error

    def _said(self, message: Mapping[str, Any], descriptor: int | None = None) -> Mapping[str, Any]:
        assert self._line is not None
        self._line.say(message, descriptor)
        answer, _ = self._line.hear()
        if "anew" in answer:
            self._together = int(answer["together"])
            raise AnewError(str(answer["anew"]))
        if "code" in answer:
            raise StemdError(str(answer["code"]), str(answer["message"]))
        return answer

    def _connected(self, until: float) -> Line:
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            try:
                with short(self._address) as path:
                    connection.connect(path)
                connection.settimeout(_HUNG)
                return Line(connection)
            except OSError as error:
                connection.close()
                if not isinstance(error, FileNotFoundError | ConnectionRefusedError) or time.monotonic() > until:
                    raise _unreachable(error) from error
                time.sleep(_AGAIN)


def _unreachable(error: Exception) -> StemdError:
    return StemdError("STEMD-E006", f"the card's process: {error}")
