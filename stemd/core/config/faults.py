"""What is wrong in a configuration or job file, where, and what was perhaps meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from stemd.core.errors import StemdError

KeyPath = tuple[str | int, ...]

#: So many faults of a file are told, of the others how many there are: whoever wrote so many needs no more of them.
MOST = 50


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a key and its value stand: a file with lines and columns from 1, or a source without lines (env, flag)."""

    source: str
    line: int | None = None
    column: int | None = None
    key_line: int | None = None
    key_column: int | None = None

    @property
    def key(self) -> Mark:
        """The place of the key rather than of its value."""
        return self if self.key_line is None else Mark(self.source, self.key_line, self.key_column)

    @property
    def order(self) -> tuple[bool, str, int, int]:
        """What to sort by: files from top to bottom, then what has no lines."""
        return self.line is None, self.source, self.line or 0, self.column or 0

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: ``FILE:line:column: key: what``. Environment and flags have no line and column."""

    file: str
    line: int | None
    column: int | None
    key: str
    message: str

    @classmethod
    def at(cls, mark: Mark, path: Sequence[str | int], message: str) -> Fault:
        return cls(mark.source, mark.line, mark.column, dotted(path), message)

    @property
    def mark(self) -> Mark:
        return Mark(self.file, self.line, self.column)

    def __str__(self) -> str:
        return f"{self.mark}: {self.key}: {self.message}" if self.key else f"{self.mark}: {self.message}"


def nearest(marks: Mapping[KeyPath, Mark], path: KeyPath) -> Mark:
    """The place of ``path``, or of the nearest thing around it that has one."""
    while path and path not in marks:
        path = path[:-1]
    return marks.get(path, Mark("stemd.yaml", 1, 1))


def dotted(path: Sequence[str | int]) -> str:
    """``("alerts", "sinks", 1)`` → ``alerts.sinks[1]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """`` (did you mean x?)`` where a known word is close, else nothing."""
    close = difflib.get_close_matches(str(word).lower(), list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""


def refuse(code: str, faults: Iterable[Fault]) -> StemdError:
    """The error that reports all faults at once, in the order of their places; of too many, the first ``MOST``."""
    ordered = sorted(faults, key=lambda fault: fault.mark.order)
    count = "1 fault" if len(ordered) == 1 else f"{len(ordered)} faults"
    shown, more = ordered[:MOST], len(ordered) - MOST
    lines = [f"  {fault}" for fault in shown] + ([f"  and {more} more"] if more > 0 else [])
    detail = {"faults": [asdict(fault) for fault in shown], **({"more": more} if more > 0 else {})}
    return StemdError(code, "\n".join([f"{count}:", *lines]), detail=detail)
