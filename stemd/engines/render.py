"""From float32 stems at the model's rate to finished files: rate, channels, rest of the source, one gain, tags."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stemd.engines.audio.decode import Source
from stemd.engines.audio.encode import StemWriter, on_grid
from stemd.engines.audio.formats import Target
from stemd.engines.audio.reader import BLOCK
from stemd.engines.audio.resample import frames_at, reblocked, resampled
from stemd.engines.audio.tags import stem_tags
from stemd.engines.audio.verify import verified
from stemd.engines.base import SeparationRequest, StemFile
from stemd.engines.checkpoint import ChunkStore
from stemd.engines.plan import Part, Plan
from stemd.engines.progress import Meter

if TYPE_CHECKING:
    from stemd.engines.base import Frames

_FIRST, _SECOND = 0.4, 0.6
"""Where in the encode stage the first and the second pass end; the rest is verification."""


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
    gain: float = 1.0
    warnings: list[str] = field(default_factory=list)

    @property
    def frames(self) -> int:
        assert self.source.frames is not None
        return frames_at(self.source.frames, self.source.rate, self.target.rate)

    @property
    def shape(self) -> tuple[int, int]:
        return self.frames, self.source.channels

    def write(self) -> list[StemWriter]:
        """Write all files: at unity gain, and where that would clip once more with the gain that does not."""
        wanted = self.request.output.sample_rate
        if self.target.rate != (self.source.rate if wanted == "source" else wanted):
            self.warnings.append(f"{self.target.name} has no such rate: written at {self.target.rate} Hz")
        writers, excess = self._pass(1.0, 0.0, _FIRST)
        if excess > 1:
            margin = 2.0 ** (2 - (self.target.bits or 24))
            self.gain = (1 - margin) / excess
            writers, _ = self._pass(self.gain, _FIRST, _SECOND)
        return writers

    def verify(self, written: list[StemWriter]) -> tuple[StemFile, ...]:
        """Read all files back."""
        done, of = 0, max(1, self.frames * len(written))

        def on_block(frames: int) -> None:
            nonlocal done
            done += frames
            self.meter.advance("encode", _SECOND + (1 - _SECOND) * done / of, 1)

        return tuple(
            verified(part.name, writer, self.shape, on_block)
            for part, writer in zip(self.plan.parts, written, strict=True)
        )

    def _pass(self, gain: float, begin: float, end: float) -> tuple[list[StemWriter], float]:
        """One pass over stems and source; also how far the loudest sample is beyond full scale (≤ 1: it fits)."""
        done, excess = 0, 0.0
        with ExitStack() as stack:
            writers = [stack.enter_context(self._writer(part)) for part in self.plan.parts]
            stems = stack.enter_context(closing(self._stems()))
            originals = stack.enter_context(closing(self._originals())) if self.plan.uses_source else repeat(None)
            for block in stems:
                values = self._values(block, next(originals), gain)
                excess = max(excess, *(_excess(each, self.target.ceiling) for each in values))
                if excess <= 1 or gain != 1:
                    for writer, each in zip(writers, values, strict=True):
                        writer.write(on_grid(each, self.target.bits))
                done += len(block)
                self.meter.advance("encode", begin + (end - begin) * done / self.frames, 1)
            if excess <= 1 or gain != 1:
                for writer in writers:
                    writer.finish()
        return writers, excess

    def _values(self, block: NDArray[np.float32], original: Frames | None, gain: float) -> list[Frames]:
        """What each part is in this block (frames × channels), before rounding; rests are taken from rounded stems."""
        scaled = {stem: block[:, index] * np.float32(gain) for index, stem in enumerate(self.plan.needed)}
        values = []
        for part in self.plan.parts:
            if part.stem:
                values.append(scaled[part.stem])
                continue
            assert original is not None
            rest = original.astype(np.float64) * gain
            for stem in part.minus:
                rest -= on_grid(scaled[stem], self.target.bits)
            values.append(rest.astype(np.float32))
        return values

    def _writer(self, part: Part) -> StemWriter:
        path = self.request.out / f"{part.name}.{self.target.name}"
        request = self.request
        tags = stem_tags(self.source.probe.tags, request.tags, request.stamp, part.name, request.source.stem)
        return StemWriter(path, self.target, self.shape, tags)

    def _stems(self) -> Generator[NDArray[np.float32]]:
        """The model's stems at the output's rate: blocks of frames × stems × channels."""
        stems, channels = len(self.plan.needed), self.source.channels

        def folded() -> Iterator[Frames]:
            for block in self.store.read():
                mono = channels < block.shape[2]
                kept = block.mean(axis=2, keepdims=True, dtype=np.float32) if mono else block
                yield kept.reshape(len(kept), stems * channels)

        flat = resampled(folded(), self.model_rate, self.target.rate, stems * channels, lambda: self.frames)
        for block in reblocked(flat, BLOCK):
            yield block.reshape(len(block), stems, channels)

    def _originals(self) -> Generator[Frames]:
        """The source at the output's rate, in blocks like those of ``_stems``."""
        with closing(self.source.blocks()) as decoded:
            at_rate = resampled(decoded, self.source.rate, self.target.rate, self.source.channels, lambda: self.frames)
            yield from reblocked(at_rate, BLOCK)


def _excess(block: Frames, ceiling: float | None) -> float:
    if ceiling is None:
        return 0.0
    return max(float(block.max()) / ceiling, -float(block.min()))
