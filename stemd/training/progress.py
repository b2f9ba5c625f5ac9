"""How far a long command is: a bar on a terminal, and JSON for programs with ``--json``."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

_WIDTH = 28


@dataclass(slots=True)
class Progress:
    """Counts ``unit`` from ``done`` (what an earlier run did) to ``total``.

    Where standard error is no terminal and ``as_json`` is off, a line now and then takes the bar's place.
    """

    command: str
    total: int
    unit: str
    as_json: bool = False
    done: int = 0
    started: float = field(default_factory=time.monotonic)
    first: int = field(default=-1)
    shown: float = 0.0

    def advance(self, done: int, **facts: Any) -> None:
        """``done`` of ``total`` are done; ``facts`` are numbers worth seeing."""
        if self.first < 0:
            self.first = self.done
        self.done = done
        now, wait = time.monotonic(), 0.1 if sys.stderr.isatty() and not self.as_json else 10.0
        if not (facts or done >= self.total or now - self.shown > wait):
            return
        self.shown = now
        seconds = now - self.started
        rate = (done - self.first) / seconds if seconds > 0 else 0.0
        left = (self.total - done) / rate if rate > 0 else None
        if self.as_json:
            told = {"command": self.command, "done": done, "total": self.total, "unit": self.unit}
            timing = {"seconds": round(seconds, 1), "left": None if left is None else round(left, 1)}
            print(json.dumps({**told, **timing, **facts}), flush=True)
        else:
            self._show(done, rate, left, facts)

    def note(self, text: str) -> None:
        """A line for people; programs get it as ``note``."""
        if self.as_json:
            print(json.dumps({"command": self.command, "note": text}), flush=True)
        else:
            print(f"\r\x1b[K{text}" if sys.stderr.isatty() else text, file=sys.stderr, flush=True)

    def _show(self, done: int, rate: float, left: float | None, facts: dict[str, Any]) -> None:
        share = done / self.total if self.total else 1.0
        bar = "█" * round(share * _WIDTH) + "·" * (_WIDTH - round(share * _WIDTH))
        rest = "" if left is None else f", {_clock(left)} left"
        told = "".join(f", {name} {value}" for name, value in facts.items())
        line = f"{self.command} {bar} {done}/{self.total} {self.unit}, {rate:.2f}/s{rest}{told}"
        if sys.stderr.isatty():
            print(f"\r\x1b[K{line}", end="\n" if done >= self.total else "", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
