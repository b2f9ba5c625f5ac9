"""How much of the disk a job needs, guessed before it is claimed; pure.

The guess is on the safe side: stems count as uncompressed, whatever their format, plus a fifth. Chunks (float32, at the
rate of the models) are needed while a job runs, its results until somebody takes them away.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from stemd.core.errors import StemdError
from stemd.core.job import Length, Request

#: The rate all models work at (Hz), and the bytes of one of their frames: stereo, float32.
_MODEL_RATE, _MODEL_FRAME = 44_100, 8
#: What a recording of unknown length is taken to have: no codec worth the name needs fewer bytes a second.
_LEAST_BYTES_PER_SECOND = 4_000
_HIGHEST_RATE = 48_000
_BYTES_PER_SAMPLE = {"16": 2, "24": 3, "32f": 4}
#: Stems of a model that nobody knows: none has more.
MOST_STEMS = 6
_MARGIN = 1.2
#: Files of a job that are neither chunks nor stems.
_RECORDS = 16
#: The share of a disk that is never given away: for logs, reports and the file system itself.
FLOOR = 0.02


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes for the chunks of a running job, bytes of its results, and files in all."""

    chunks: int = 0
    results: int = 0
    inodes: int = 0

    def __add__(self, other: Need) -> Need:
        """Of several jobs: they run one after the other, their results stay."""
        return of_several((self, other))


def of_several(needs: Collection[Need]) -> Need:
    """The need of several jobs: they run one after the other, their results stay."""
    chunks = max((each.chunks for each in needs), default=0)
    return Need(chunks, sum(each.results for each in needs), sum(each.inodes for each in needs))


@dataclass(frozen=True, slots=True)
class Disk:
    """Free and all bytes and inodes of a file system; ``inodes`` is 0 where there is no such limit (btrfs)."""

    free_bytes: int
    bytes: int
    free_inodes: int
    inodes: int


def longest(size: int) -> Length:
    """The most a recording of ``size`` bytes may be that nobody has looked into."""
    return Length(size / _LEAST_BYTES_PER_SECOND, _HIGHEST_RATE, 2)


def need(request: Request, length: Length, stems_of_model: int = MOST_STEMS) -> Need:
    """What a job asks of the disk; ``stems_of_model`` counts where it asks for all of them."""
    stems = request.stems if isinstance(request.stems, int) else len(request.stems) or stems_of_model
    tracks = stems + (request.output.format == "stem.mp4")  # the song is in it too
    rate = request.output.sample_rate if isinstance(request.output.sample_rate, int) else length.sample_rate
    frame = _BYTES_PER_SAMPLE[request.output.bit_depth] * min(2, length.channels)
    copies = 2 if request.next else 1  # the job that follows has its own
    return Need(
        chunks=round(length.seconds * _MODEL_RATE * _MODEL_FRAME * stems),
        results=round(_MARGIN * length.seconds * rate * frame * tracks * copies),
        inodes=round(length.seconds / request.checkpoint) + 2 * stems + _RECORDS,
    )


def need_of_mix(request: Request, length: Length, inputs: int) -> Need:
    """What a mix of ``inputs`` stems asks of the disk; ``length`` is that of the longest, at the highest rate.

    Every stem is unpacked, and so are the blend and the master in two states; the results may be all of these once
    more. A rate that only a preset's file names is not seen.
    """
    track = length.seconds * max(length.sample_rate, *_rates(request)) * _MODEL_FRAME
    return Need(
        chunks=round(track * (inputs + 3)), results=round(_MARGIN * track * (inputs + 1)), inodes=2 * inputs + _RECORDS
    )


def _rates(request: Request) -> Iterator[int]:
    """The rates a mix may be asked for in numbers."""
    yield 0
    for asked in (request.output.sample_rate, request.options.get("sample_rate")):
        if isinstance(asked, int):
            yield asked


def lacking(wanted: Need, disk: Disk, promised: Need = Need()) -> StemdError | None:
    """Why a job with the need ``wanted`` cannot be taken beside what is ``promised`` to others, or ``None``."""
    total = wanted + promised
    room = max(0, disk.free_bytes - round(FLOOR * disk.bytes))
    if total.chunks + total.results > room:
        others = f", {_size(promised.results)} of it promised to others" if promised.results else ""
        message = f"it needs about {_size(wanted.chunks + wanted.results)}; {_size(room)} can be used{others}"
        return StemdError("STEMD-R004", message)
    if disk.inodes and total.inodes > disk.free_inodes - round(FLOOR * disk.inodes):
        message = f"it needs about {wanted.inodes} files; the file system takes {disk.free_inodes} more (inodes)"
        return StemdError("STEMD-R004", message)
    return None


def _size(count: int) -> str:
    value, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.3g} {unit}"
