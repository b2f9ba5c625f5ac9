"""Where finished stems go: a file each, or one file with all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from stemd.engines.audio.cover import Cover
from stemd.engines.audio.encode import StemWriter
from stemd.engines.audio.formats import Target
from stemd.engines.audio.peaks import Outlined, Peaks
from stemd.engines.audio.reader import BLOCK
from stemd.engines.audio.stem_mp4 import StemMp4Writer
from stemd.engines.audio.tags import song_tags, stem_tags
from stemd.engines.audio.verify import verified
from stemd.engines.base import StemFile
from stemd.engines.beside import Crew, threads

if TYPE_CHECKING:
    from stemd.engines.base import Frames


@dataclass(frozen=True, slots=True)
class Label:
    """What the files say about themselves: tags of the source, of the job and of the run, and the cover.

    ``name`` names a song without a title; ``title`` is the name of a file that holds the whole song.
    """

    source: Mapping[str, str]
    job: Mapping[str, str]
    stamp: Mapping[str, str]
    name: str
    title: str
    cover: Cover | None = None


class Outlet(Protocol):
    """Takes all outputs block by block. A context manager; the files are complete after ``finish``.

    ``outlines`` are those of the outputs, by name, once they are ``verified``.
    """

    outlines: dict[str, Peaks]

    def write(self, values: Sequence[Frames]) -> None:
        """Append one block of each output (frames × channels)."""
        ...

    def finish(self) -> None:
        """Complete the files."""
        ...

    def verified(self, on_block: Callable[[int], None]) -> tuple[StemFile, ...]:
        """Read all files back; ``on_block`` is told how many frames were read, by several threads."""
        ...

    def __enter__(self) -> Outlet: ...

    def __exit__(self, *_: object) -> None: ...


class StemFiles:
    """One file per output."""

    def __init__(
        self, folder: Path, names: Sequence[str], target: Target, shape: tuple[int, int], label: Label
    ) -> None:
        self._names, self._shape, self._stack = tuple(names), shape, ExitStack()
        self._width = min(threads(), len(names)) if shape[0] >= BLOCK else 1  # a thread costs more than so little sound
        self.outlines: dict[str, Peaks] = {}
        with ExitStack() as stack:
            self._writers = [stack.enter_context(self._writer(folder, name, target, label)) for name in names]
            self._crew = stack.enter_context(Crew(self._width))
            self._stack = stack.pop_all()

    def write(self, values: Sequence[Frames]) -> None:
        def one(pair: tuple[StemWriter, Frames]) -> None:
            writer, block = pair
            writer.write(block)

        self._crew.each(one, zip(self._writers, values, strict=True))

    def finish(self) -> None:
        self._crew.each(StemWriter.finish, self._writers)

    def verified(self, on_block: Callable[[int], None]) -> tuple[StemFile, ...]:
        readings = [Outlined(writer.target.rate, self._shape[1], self._shape[0]) for writer in self._writers]

        def one(stem: tuple[str, StemWriter, Outlined]) -> StemFile:
            name, writer, reading = stem
            return verified(name, writer, self._shape, on_block, reading)

        with Crew(self._width) as crew:
            files = crew.each(one, zip(self._names, self._writers, readings, strict=True))
        self.outlines = {name: reading.peaks for name, reading in zip(self._names, readings, strict=True)}
        return tuple(files)

    def __enter__(self) -> StemFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _writer(self, folder: Path, name: str, target: Target, label: Label) -> StemWriter:
        tags = stem_tags(label.source, label.job, label.stamp, name, label.name)
        return StemWriter(folder / f"{name}.{target.name}", target, self._shape, tags, label.cover)


def open_outlet(
    folder: Path, names: Sequence[str], target: Target, shape: tuple[int, int], label: Label
) -> StemFiles | StemMp4Writer:
    """The outlet for outputs called ``names`` below ``folder``; for a stem file the song is the first of them."""
    if target.container != "MP4":
        return StemFiles(folder, names, target, shape, label)
    tags = {**song_tags(label.source, label.job, label.stamp, label.name), "STEMD_STEM": names[0]}
    return StemMp4Writer(folder / f"{label.title}.{target.name}", target, names, tags, label.cover)
