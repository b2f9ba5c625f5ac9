"""The stems as the mix works on them: stereo, at one rate, on the shelf, and analysed on the way there."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from stemd.engines.audio import decode, source_tags
from stemd.engines.audio.decode import Source
from stemd.engines.audio.resample import frames_at
from stemd.engines.base import MixInput, SourceFacts
from stemd.engines.mix.analysis import Analyser, Analysis
from stemd.engines.mix.shelf import Shelf
from stemd.engines.track import at_model_rate

if TYPE_CHECKING:
    from stemd.engines.base import Frames

_MOST_AT_ONCE = 4
_SEPARATION = "STEMD_JOB_UUID"


@dataclass(frozen=True, slots=True)
class Stem:
    """One loaded stem. ``separation`` is the job that it came out of, if stemd made it."""

    facts: SourceFacts
    analysis: Analysis
    warnings: tuple[str, ...]
    separation: str | None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Stem:
        return cls(
            SourceFacts(**data["facts"]),
            Analysis.from_dict(data["analysis"]),
            tuple(data["warnings"]),
            data["separation"],
        )


def opened(inputs: Mapping[str, MixInput]) -> dict[str, Source]:
    """All stems recognised, before any is decoded.

    Raises:
        StemdError: of the A and S families, naming the file.
    """
    return {role: decode.open_source(each.path) for role, each in inputs.items()}


def load(shelf: Shelf, sources: Mapping[str, Source], rate: int, advance: Callable[[float, float], None]) -> None:
    """Put every stem on the shelf as ``stem:ROLE`` with what was found out about it, several at once.

    ``advance`` is told the frames done of those expected; what it raises ends the loading.
    """
    progress = _Together(sources, rate, advance)
    missing = [role for role in sources if not shelf.has(name_of(role))]
    with ThreadPoolExecutor(min(_threads(), _MOST_AT_ONCE), thread_name_prefix="load") as threads:
        futures = [threads.submit(_load_one, shelf, role, sources[role], rate, progress) for role in missing]
        try:
            for future in futures:
                future.result()
        except BaseException:
            progress.stopped = True
            threads.shutdown(wait=True, cancel_futures=True)
            raise


def name_of(role: str) -> str:
    """What a stem is called on the shelf."""
    return f"stem:{role}"


def loaded(shelf: Shelf, role: str) -> Stem:
    """What was found out about a stem."""
    return Stem.from_dict(shelf.fact(name_of(role)))


def analysed(source: Source, rate: int, advance: Callable[[int], None]) -> Analysis:
    """The figures of a recording that is no part of the mix."""
    analyser = Analyser(rate)
    with closing(source.blocks()) as decoded:
        for block in at_model_rate(decoded, source, rate, 2):
            analyser.add(block)
            advance(len(block))
    return analyser.analysis()


class _StoppedError(Exception):
    """Another stem's loading failed."""


class _Together:
    """The progress of all loading threads as one."""

    def __init__(self, sources: Mapping[str, Source], rate: int, advance: Callable[[float, float], None]) -> None:
        self._expected = {role: frames_at(each.probe.expected or 0, each.rate, rate) for role, each in sources.items()}
        self._done = dict.fromkeys(sources, 0)
        self._advance, self._lock, self.stopped = advance, threading.Lock(), False

    def __call__(self, role: str, frames: int) -> None:
        if self.stopped:
            raise _StoppedError
        with self._lock:
            self._done[role] += frames
            done = sum(self._done.values())
            self._advance(done, max(done, sum(self._expected.values())))


def _load_one(shelf: Shelf, role: str, source: Source, rate: int, progress: _Together) -> None:
    analyser = Analyser(rate)

    def blocks() -> Iterator[Frames]:
        with closing(source.blocks()) as decoded:
            for block in at_model_rate(decoded, source, rate, 2):
                analyser.add(block)
                yield block
                progress(role, len(block))

    def facts() -> dict[str, Any]:
        stem = {
            "facts": asdict(source.facts()),
            "analysis": analyser.analysis().to_dict(),
            "warnings": [f"{role}: {text}" for text in source.warnings],
            "separation": _separation(source),
        }
        return {name_of(role): stem}

    shelf.put(name_of(role), blocks(), facts)


def _separation(source: Source) -> str | None:
    """The job that a stem came out of, as stemd wrote it into the file."""
    if source.by_ffmpeg:
        return None
    tags, _ = source_tags.read(source.path, source.probe.format.partition("/")[0].upper())
    return next((value for key, value in tags.items() if key.upper() == _SEPARATION), None)


def _threads() -> int:
    """What the worker may use."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, int(given)) if given.isdigit() else len(os.sched_getaffinity(0))
