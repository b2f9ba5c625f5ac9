"""What is wrong in a configuration or job file, where, and what was perhaps meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from stemd.core.errors import StemdError

KeyPath = tuple[str | int, ...]


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

    def __str__(self) -> str:
        place = Mark(self.file, self.line, self.column)
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


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
    """The error that reports all faults at once, in the order of their places."""
    ordered = sorted(faults, key=lambda fault: (fault.line is None, fault.file, fault.line or 0, fault.column or 0))
    count = "1 fault" if len(ordered) == 1 else f"{len(ordered)} faults"
    lines = "\n".join(f"  {fault}" for fault in ordered)
    return StemdError(code, f"{count}:\n{lines}", detail={"faults": [asdict(fault) for fault in ordered]})
