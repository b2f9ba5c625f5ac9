"""From float32 stems at the model's rate to finished files: rate, channels, rest of the source, one gain, tags."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import repeat
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stemd.engines.audio import stem_mp4
from stemd.engines.audio.cover import Cover
from stemd.engines.audio.decode import Source
from stemd.engines.audio.encode import on_grid
from stemd.engines.audio.formats import Target
from stemd.engines.audio.outlet import Label, Outlet, open_outlet
from stemd.engines.audio.reader import BLOCK
from stemd.engines.audio.resample import frames_at, reblocked, resampled
from stemd.engines.base import SeparationRequest, StemFile
from stemd.engines.beside import ahead, depth_for
from stemd.engines.checkpoint import ChunkStore
from stemd.engines.plan import Part, Plan
from stemd.engines.progress import Meter
from stemd.engines.track import middle

if TYPE_CHECKING:
    from stemd.engines.base import Frames

_FIRST, _SECOND = 0.4, 0.6
"""Where in the encode stage the first and the second pass end; the rest is verification."""
#: A shared gain below this (−40 dB) is told: what is heard of the song then may be next to nothing.
_SOFT = 0.01


@dataclass(slots=True)
class Rendering:
    """Writes the outputs of one separation. After ``write``, ``gain`` is the one factor all of them carry."""

    request: SeparationRequest
    plan: Plan
    source: Source
    target: Target
    store: ChunkStore
    model_rate: int
    meter: Meter
    cover: Cover | None = None
    gain: float = 1.0
    warnings: list[str] = field(default_factory=list)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The outputs in order; in a stem file the song comes first."""
        if self.target.container != "MP4":
            return self.plan.parts
        named = {part.name: part for part in self.plan.parts}
        return (Part(stem_mp4.MASTER), *(named[name] for name in stem_mp4.ordered([*named])))

    @property
    def frames(self) -> int:
        assert self.source.frames is not None
        return frames_at(self.source.frames, self.source.rate, self.target.rate)

    @property
    def shape(self) -> tuple[int, int]:
        return self.frames, self.source.channels

    def write(self) -> Outlet:
        """Write all files: at unity gain, and where that would clip once more with the gain that does not."""
        wanted = self.request.output.sample_rate
        if self.target.rate != (self.source.rate if wanted == "source" else wanted):
            self.warnings.append(f"{self.target.name} has no such rate: written at {self.target.rate} Hz")
        if self.target.container == "MP4" and self.source.channels == 1:
            self.warnings.append("a stem file is stereo: the mono source is on both channels")
        written, excess = self._pass(1.0, 0.0, _FIRST)
        if excess > 1:
            margin = 2.0 ** (2 - (self.target.bits or 24))
            self.gain = (1 - margin) / excess
            if self.gain < _SOFT:
                decibels = -20 * math.log10(self.gain)
                self.warnings.append(f"all outputs are {decibels:.0f} dB softer: something is far beyond full scale")
            written, _ = self._pass(self.gain, _FIRST, _SECOND)
        return written

    def verify(self, written: Outlet) -> tuple[StemFile, ...]:
        """Read all files back."""
        done, of, lock = 0, max(1, self.frames * len(self.parts)), Lock()

        def on_block(frames: int) -> None:
            nonlocal done
            with lock:
                done += frames
                self.meter.advance("encode", _SECOND + (1 - _SECOND) * done / of, 1)

        return written.verified(on_block)

    def _pass(self, gain: float, begin: float, end: float) -> tuple[Outlet, float]:
        """One pass over stems and source; also how far the loudest sample is beyond full scale (≤ 1: it fits)."""
        done, excess = 0, 0.0
        with ExitStack() as stack:
            outlet = stack.enter_context(self._outlet())
            stems = stack.enter_context(closing(self._stems()))
            uses_source = any(part.stem is None for part in self.parts)
            originals = stack.enter_context(closing(self._originals())) if uses_source else repeat(None)
            made = (self._values(block, next(originals), gain) for block in stems)
            for values, beyond in stack.enter_context(closing(ahead(made, depth_for(self.frames)))):
                excess = max(excess, beyond)
                if excess <= 1 or gain != 1:
                    outlet.write(values)
                done += len(values[0])
                self.meter.advance("encode", begin + (end - begin) * done / self.frames, 1)
            if excess <= 1 or gain != 1:
                outlet.finish()
        return outlet, excess

    def _values(self, block: NDArray[np.float32], original: Frames | None, gain: float) -> tuple[list[Frames], float]:
        """What each part is in this block (frames × channels), before rounding, and how far that is too loud.

        Rests are taken from rounded stems.
        """
        scaled = {stem: _times(block[:, index], gain) for index, stem in enumerate(self.plan.needed)}
        values = []
        for part in self.parts:
            if part.stem:
                values.append(scaled[part.stem])
                continue
            assert original is not None
            rest = original.astype(np.float64) * gain
            for stem in part.minus:
                rest -= on_grid(scaled[stem], self.target.bits)
            values.append(rest.astype(np.float32))
        return values, max(_excess(each, self.target.ceiling) for each in values)

    def _outlet(self) -> Outlet:
        request = self.request
        name = request.source.stem
        label = Label(self.source.probe.tags, request.tags, request.stamp, name, request.title or name, self.cover)
        return open_outlet(request.out, [part.name for part in self.parts], self.target, self.shape, label)

    def _stems(self) -> Generator[NDArray[np.float32]]:
        """The model's stems at the output's rate: blocks of frames × stems × channels."""
        stems, channels = len(self.plan.needed), self.source.channels

        def folded() -> Iterator[Frames]:
            for block in self.store.read():
                kept = middle(block, np.float32) if channels < block.shape[2] else block
                yield kept.reshape(len(kept), stems * channels)

        flat = resampled(folded(), self.model_rate, self.target.rate, stems * channels, lambda: self.frames)
        for block in reblocked(flat, BLOCK):
            yield block.reshape(len(block), stems, channels)

    def _originals(self) -> Generator[Frames]:
        """The source at the output's rate, in blocks like those of ``_stems``."""
        with closing(self.source.blocks()) as decoded:
            at_rate = resampled(decoded, self.source.rate, self.target.rate, self.source.channels, lambda: self.frames)
            yield from reblocked(at_rate, BLOCK)


def _times(block: Frames, gain: float) -> Frames:
    """``block`` × ``gain``, a channel at a time: numpy takes four times as long for rows of two samples."""
    product = np.empty(block.shape, np.float32)
    for channel in range(block.shape[1]):
        np.multiply(block[:, channel], np.float32(gain), out=product[:, channel])
    return product


def _excess(block: Frames, ceiling: float | None) -> float:
    if ceiling is None:
        return 0.0
    return max(float(block.max()) / ceiling, -float(block.min()))
