"""From the stems on the shelf to the mastered mix on it: each stem's chain, the blend, the master."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from stemd.engines.mix import masking
from stemd.engines.mix.chain import facts as facts_of
from stemd.engines.mix.chain import track_chain
from stemd.engines.mix.loading import name_of
from stemd.engines.mix.mastering import limited, master_chain, solve
from stemd.engines.mix.parameters import Masking, Master, Parameters, Track
from stemd.engines.mix.processor import run
from stemd.engines.mix.shelf import Shelf

if TYPE_CHECKING:
    from stemd.engines.base import Frames

BLEND, TONED, MASTER = "blend", "toned", "master"
MASTER_PASSES = 4
"""How often the mastering reads the whole track, about: its chain, two in search of the loudness, the last one."""
Advance = Callable[[int], None]
"""Told the frames done since the last call."""


class Tap(Protocol):
    """Looks at a stream that passes."""

    def add(self, block: Frames) -> None: ...

    def facts(self) -> Mapping[str, Any]: ...


def processed(role: str) -> str:
    """What a stem is called on the shelf after its effects."""
    return f"track:{role}"


def process(shelf: Shelf, role: str, track: Track, rate: int, frames: int, tap: Tap, advance: Advance) -> None:
    """A stem through its chain, ``frames`` of the mix long, moved by its lag; its own file is needed no more."""
    if not shelf.has(processed(role)):
        chain, lag = track_chain(track, rate), track.lag(rate)
        moved = shelf.read(name_of(role), -lag, frames - lag)
        blocks = _seen(run(chain, moved), tap, advance)
        shelf.put(processed(role), blocks, lambda: {processed(role): {**tap.facts(), "effects": facts_of(chain)}})
    shelf.drop(name_of(role), processed(role))


def loudness(shelf: Shelf, role: str) -> float | None:
    """The integrated loudness of a processed stem, LUFS."""
    found: float | None = shelf.fact(processed(role))["analysis"]["measured"]["integrated_lufs"]
    return found


def trimmed(shelf: Shelf, role: str, track: Track) -> Iterator[Frames]:
    """A processed stem at its final level."""
    gain = np.float32(10 ** ((track.trim_db or 0.0) / 20))
    for block in shelf.read(processed(role)):
        yield block if gain == 1 else block * gain


def blend(shelf: Shelf, parameters: Parameters, rate: int, tap: Tap, advance: Advance) -> None:
    """The sum of all processed stems, those that mask others lowered."""
    resolve = masking.Resolve(parameters.masking or Masking(), list(parameters.tracks), rate)

    def together() -> Iterator[dict[str, Frames]]:
        streams = {role: trimmed(shelf, role, track) for role, track in parameters.tracks.items()}
        for blocks in zip(*streams.values(), strict=True):
            yield dict(zip(streams, blocks, strict=True))

    def summed() -> Iterator[Frames]:
        for blocks in masking.run(resolve, together()):
            yield np.asarray(np.sum(list(blocks.values()), axis=0, dtype=np.float64), np.float32)

    if not shelf.has(BLEND):
        blocks = _seen(summed(), tap, advance)
        shelf.put(BLEND, blocks, lambda: {BLEND: {**tap.facts(), "masking": asdict(resolve.facts())}})


def master(shelf: Shelf, settings: Master, rate: int, taps: Callable[[], Tap], advance: Advance) -> None:
    """The blend through the master's chain, at the loudness asked for, limited."""
    source = BLEND
    chain = master_chain(settings, rate)
    if chain:
        source = TONED
        if not shelf.has(TONED):
            tap = taps()
            blocks = _seen(run(chain, shelf.read(BLEND)), tap, advance)
            shelf.put(TONED, blocks, lambda: {TONED: {**tap.facts(), "effects": facts_of(chain)}})
    if not shelf.has(MASTER):
        tap = taps()
        lufs = shelf.fact(source)["analysis"]["measured"]["integrated_lufs"]
        louder = lambda gain_db: None if lufs is None else lufs + gain_db  # noqa: E731
        solution = solve(lambda: shelf.read(source), settings, rate, advance, louder)
        stage, stream = limited(lambda: shelf.read(source), solution.gain_db, settings, rate)
        effect = getattr(stage, "facts", dict)
        shelf.put(
            MASTER,
            _seen(stream, tap, advance),
            lambda: {MASTER: {**tap.facts(), "loudness": asdict(solution), "limiter": effect()}},
        )
    if source == TONED:
        shelf.drop(TONED, MASTER)


def lower(shelf: Shelf, settings: Master, rate: int, by_db: float, advance: Advance) -> Callable[[], Iterator[Frames]]:
    """What opens the master limited again, ``by_db`` below its ceiling, and as loud as it was where that can be."""
    assert settings.limiter is not None
    limiter = replace(settings.limiter, ceiling_dbtp=settings.limiter.ceiling_dbtp - by_db)
    lufs, wanted = shelf.fact(MASTER)["loudness"]["measured_lufs"], settings.loudness
    again = Master(loudness=replace(wanted, target_lufs=lufs) if wanted and lufs is not None else None, limiter=limiter)
    opened = partial(shelf.read, MASTER)
    solution = solve(opened, again, rate, advance)
    return lambda: limited(opened, solution.gain_db, again, rate)[1]


def _seen(blocks: Iterable[Frames], tap: Tap, advance: Advance) -> Iterator[Frames]:
    for block in blocks:
        tap.add(block)
        yield block
        advance(len(block))
