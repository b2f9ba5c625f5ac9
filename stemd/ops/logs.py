"""One event per action, told three ways: to the console, as JSON lines, and into the log that travels with the job."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import structlog
from structlog.processors import JSONRenderer
from structlog.typing import FilteringBoundLogger

from stemd.core.job import printable
from stemd.ops import journal
from stemd.ops.pseudonyms import Pseudonyms
from stemd.spool.sidecar import iso


def configure(format: str, level: str, *, names: str = "pseudonyms", people: Iterable[str] = ()) -> None:
    """Set up structlog; ``format``: ``text``, ``json``, ``journal``, or ``auto``.

    ``names``: ``clear``, or ``pseudonyms`` for users and files; ``people`` are the configured users.

    ``auto`` is text on a terminal, the journal's own fields where standard error is the journal, else JSON.
    """
    if format == "auto":
        format = "text" if sys.stderr.isatty() else "journal" if _is_journal() else "json"
    colours = sys.stderr.isatty()
    renderers: dict[str, Callable[[Any, str, MutableMapping[str, Any]], Any]] = {
        "text": structlog.dev.ConsoleRenderer(colors=colours),
        "json": JSONRenderer(),
    }
    renderer = renderers.get(format) or _Journalist(journal.Journal(), renderers["json"])
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _readable,
            structlog.processors.format_exc_info,
            *([Pseudonyms(people)] if names == "pseudonyms" else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=_Patient(sys.stderr)),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )


def know(people: Iterable[str]) -> None:
    """Have the log that is configured name these users, too, by pseudonyms; those of this run stay as they are."""
    for processor in structlog.get_config()["processors"]:
        if isinstance(processor, Pseudonyms):
            processor.know(people)


def _is_journal() -> bool:
    try:
        return journal.is_ours(os.environ, sys.stderr.fileno())
    except (OSError, ValueError):
        return False


class _Journalist:
    """Sends events to the journal; where that fails they go to standard error, which leads there too."""

    def __init__(
        self, connection: journal.Journal, otherwise: Callable[[Any, str, MutableMapping[str, Any]], Any]
    ) -> None:
        self._connection, self._otherwise = connection, otherwise

    def __call__(self, logger: Any, name: str, event: MutableMapping[str, Any]) -> Any:
        try:
            self._connection.send(event)
        except OSError:
            return self._otherwise(logger, name, event)
        raise structlog.DropEvent


class _Patient:
    """A stream whose errors end nobody: where the log goes may be full, or gone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def get() -> FilteringBoundLogger:
    """The process's logger."""
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger


def _readable(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """File names are hostile text: no control bytes, nothing that is not UTF-8."""
    for key, value in event.items():
        if isinstance(value, str | Path) and key != "trace":
            event[key] = printable(os.fspath(value))
    return event


def append_job_log(path: Path, event: str, at: float, **fields: Any) -> None:
    """One line of ``job.log.jsonl``. Best effort: the log of a job must never be what fails it."""
    line = json.dumps({"at": iso(at), "event": event, **fields}, ensure_ascii=True, default=str) + "\n"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        get().warning("job_log_not_written", job_log=path, error=str(error))
