"""What commands print: results to stdout, talk to stderr, JSON as one document. No terminal library is loaded here."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from stemd.core.errors import StemdError
from stemd.core.job import SCHEMA_VERSION, JobState, printable

if TYPE_CHECKING:
    from stemd.ops.snapshot import JobView


def document(**fields: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps({"schema_version": SCHEMA_VERSION, **fields}, ensure_ascii=False, indent=2))


def line(fields: Mapping[str, Any]) -> None:
    """Print one line of a JSON stream."""
    click.echo(json.dumps({"schema_version": SCHEMA_VERSION, **fields}, ensure_ascii=False))


def failure(error: StemdError, as_json: bool) -> None:
    """Say what went wrong and what to do about it."""
    if as_json:
        document(error=error.to_dict())
        return
    click.echo(f"error {error.code}: {text(error.message)}", err=True)
    click.echo(f"remedy: {text(error.remedy)}", err=True)


def result(view: JobView) -> None:
    """How a job ended: its folder, or what went wrong and where the recording is now."""
    if view.state == JobState.DONE:
        click.echo(printable(view.result or ""))
        return
    failure(StemdError.from_dict(view.reason or {"message": f"it ended as {view.state}, without a reason"}), False)
    note(f"the recording is in {view.result}")


def note(message: str) -> None:
    """Talk: to stderr."""
    click.echo(text(message), err=True)


def text(message: str) -> str:
    """A message that is safe to show; its own line breaks stay."""
    return "\n".join(map(printable, message.split("\n")))


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Aligned columns; one that holds only numbers is aligned to the right, the last one is not padded.

    >>> table(("stem", "dB"), [("vocals", "9.5"), ("bass", "11.0")]).splitlines()[1]
    'vocals   9.5'
    """
    body = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(headers, *body, strict=True)]
    right = [_numeric([row[i] for row in body]) for i in range(len(headers))]
    return "\n".join(_row(cells, widths, right) for cells in (headers, *body))


def _row(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = []
    for cell, width, to_right in zip(cells, widths, right, strict=True):
        space = " " * (width - _width(cell))
        padded.append(space + cell if to_right else cell + space)
    return "  ".join(padded).rstrip()


def _width(cell: str) -> int:
    """Columns a text takes on a terminal: East Asian wide characters take two, combining marks none."""
    return sum(2 if unicodedata.east_asian_width(ch) in "WF" else not unicodedata.combining(ch) for ch in cell)


def _numeric(cells: Sequence[str]) -> bool:
    """Whether a column holds numbers, and at most dashes besides."""
    numbers = [cell for cell in cells if cell not in {"", "–"}]
    return bool(numbers) and all(cell.lstrip("+-−").replace(".", "", 1).rstrip("%").isdigit() for cell in numbers)


def duration(seconds: float | None) -> str:
    """``75`` → ``1:15``; ``None`` → nothing."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
