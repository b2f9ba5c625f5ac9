"""The seam between stemd and whatever separates: what an engine is, what it is asked, what it answers.

Light on purpose: the daemon and the command line import this module to know which engines and models there are,
so nothing here loads numpy or torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from stemd.core.errors import StemdError
from stemd.core.job import Output

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Frames = NDArray[np.float32]
    """Audio: frames × channels, float32, full scale ±1."""

ENTRY_POINT_GROUP = "stemd.engines"
#: For so many seconds at most what is installed counts as known.
_FRESH = 5.0


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model as an engine knows it after loading: stems in the model's order, rate in Hz, hash of its weights.

    ``channels`` is 2: a mono source is given on both.

    ``max_segment`` is the longest segment the model accepts, in seconds (``None``: any).
    """

    name: str
    stems: tuple[str, ...]
    sample_rate: int
    channels: int
    sha256: str
    max_segment: float | None = None


@dataclass(frozen=True, slots=True)
class TrackStats:
    """The whole track at the model's rate: frames, mean and unbiased standard deviation of its mono mix, peak."""

    frames: int
    mean: float
    std: float
    peak: float


@dataclass(frozen=True, slots=True)
class Scaling:
    """Affine map around the model: it sees ``(x - shift) / gain``, padded with zeros after that map."""

    shift: float = 0.0
    gain: float = 1.0


@dataclass(frozen=True, slots=True)
class Lane:
    """One pass of one network over the track: segments of ``segment`` frames that advance by ``stride``.

    A bag of models is several lanes, and so are several random shifts. The grid of segments starts ``lead`` frames
    before the track's first frame. ``weights`` gives this lane's share in each stem of the result (a stem without
    weight is not needed from it); the driver divides by the sum over all lanes.
    """

    member: int
    segment: int
    stride: int
    lead: int
    weights: Mapping[str, float]


@runtime_checkable
class Engine(Protocol):
    """What a plug-in implements. One instance lives in one worker process and is used by one thread.

    Order of calls: ``load`` once; then for each job ``lanes``, ``memory`` and ``begin``, and ``separate_segments`` many
    times; ``close`` at the end. Expected failures are ``StemdError`` with a code of the M, E or R family.
    """

    name: str

    @property
    def version(self) -> str:
        """The version of the separating library, e.g. ``4.1.0``."""
        ...

    def load(self, model: str, store: Path, device: str) -> ModelInfo:
        """Load ``model`` from the model store onto ``device`` (``auto``, ``cpu``, ``cuda``, ``mps``) and keep it."""
        ...

    def ease(self, options: Mapping[str, Any], level: int) -> Mapping[str, Any]:
        """``options`` for a job that ran out of memory ``level`` (≥ 1) times: what needs less of it."""
        ...

    def lanes(self, options: Mapping[str, Any], stems: Sequence[str]) -> tuple[Lane, ...]:
        """The passes needed to give ``stems``; validates ``options`` (STEMD-E004)."""
        ...

    def memory(self, stats: TrackStats) -> int:
        """Bytes that the engine's processes will have in use at most for this track, with the options of ``lanes``."""
        ...

    def begin(self, stats: TrackStats) -> Scaling:
        """A new track is about to be separated."""
        ...

    def window(self, lane: Lane, frames: int) -> int:
        """How many frames the network must be given to answer for a segment of ``frames`` frames (≥ ``frames``)."""
        ...

    def separate_segments(self, lane: Lane, batch: Frames) -> Mapping[str, Frames]:
        """Separate ``batch`` (segments × frames × channels): for each stem with weight an array of the same shape."""
        ...

    def notes(self, stats: TrackStats) -> Sequence[str]:
        """What the manifest warns of: where this track's stems are not what the model gives on the whole of it."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """Settings in force that a manifest records: device, precision, threads."""
        ...

    def close(self) -> None:
        """Free what ``load`` took."""
        ...


@runtime_checkable
class Tunable(Protocol):
    """An engine that has faster ways to compute, and tries after ``load`` which of them are right and fast here."""

    def tune(self, precision: str, folder: Path | None) -> Mapping[str, Any]:
        """Use from now on what is fastest within ``precision`` (``auto``, ``fp32``, ``bf16``, ``fp16``).

        ``auto`` is as accurate as float32, ``fp32`` computes plainly and tries nothing. What was found is kept below
        ``folder`` and taken from there next time (``None``: neither). Returns it, for people: the ``way``, its
        ``error_db`` against the plain one, how many times ``faster`` it was, and all ``trials``. The settings that
        change numbers are part of ``facts``.
        """
        ...


@runtime_checkable
class Portable(Protocol):
    """An engine whose networks may be computed by another library than its own."""

    def prefer_runtime(self, name: str) -> None:
        """``auto``: whatever is fastest; else the library to use. Called before ``tune``, which decides and tells."""
        ...


@runtime_checkable
class OnCard(Protocol):
    """An engine whose networks may be computed by the process that a graphics card has for all its workers."""

    def compute_on(self, address: Path) -> None:
        """Leave computing to the process that listens at ``address``. Called before ``load``."""
        ...


@dataclass(frozen=True, slots=True)
class SeparationRequest:
    """Everything a separation needs; no spool, user or configuration in it.

    ``source`` is the audio file; ``chunks`` and ``out`` are existing folders to write below: intermediate float32
    stems and finished files. ``tags`` are written into every stem on top of the source's own, ``stamp`` after them
    (provenance, the ``STEMD_*`` tags), and the picture ``art`` goes in instead of the source's own. ``title`` names a
    result that is one file (empty: as the source). Of a track longer than ``threshold`` seconds finished stems are kept
    every ``checkpoint`` seconds. ``memory`` is how many bytes may
    be in use (``None``: what the machine has free).
    """

    source: Path
    chunks: Path
    out: Path
    stems: int | tuple[str, ...]
    output: Output
    options: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    stamp: Mapping[str, str] = field(default_factory=dict)
    checkpoint: float = 60.0
    threshold: float = 0.0
    memory: int | None = None
    art: Path | None = None
    title: str = ""


@dataclass(frozen=True, slots=True)
class StemTrack:
    """One of several tracks in a finished file: linear peak, integrated LUFS (BS.1770; ``None``: silence)."""

    stem: str
    peak: float
    lufs: float | None


@dataclass(frozen=True, slots=True)
class StemFile:
    """One finished file, measured after reading it back: linear peak, integrated LUFS (BS.1770; ``None``: silence).

    ``tracks`` are those of a file that holds several; ``stem``, ``peak`` and ``lufs`` are then the first one's.
    """

    name: str
    stem: str
    sha256: str
    bytes: int
    frames: int
    sample_rate: int
    channels: int
    peak: float
    lufs: float | None
    tracks: tuple[StemTrack, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """The source as decoded: what its stems must match."""

    frames: int
    sample_rate: int
    channels: int
    format: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SeparationResult:
    """What came out. ``gain_db`` is the one gain shared by all stems; ``timings`` are seconds per stage.

    ``outline`` is what the stems look like, as ``stemd.engines.audio.peaks`` gives it.
    """

    source: SourceFacts
    files: tuple[StemFile, ...]
    gain_db: float
    settings: Mapping[str, Any]
    timings: Mapping[str, float]
    chunks: Mapping[str, int]
    warnings: tuple[str, ...] = ()
    outline: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MixInput:
    """One stem of a mix: its file and the sha256 it was taken with."""

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class MixRequest:
    """Everything a mix needs. ``inputs`` are the stems by role; ``find`` gives another file of the job's own folder.

    ``chunks`` and ``out`` are existing folders to write below: what a later attempt can go on from, and finished files.
    ``output`` is the form of the mix where ``options`` name none; tags, stamp and art as in ``SeparationRequest``.
    """

    inputs: Mapping[str, MixInput]
    chunks: Path
    out: Path
    output: Output
    find: Callable[[str], Path]
    options: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    stamp: Mapping[str, str] = field(default_factory=dict)
    art: Path | None = None
    title: str = ""


@dataclass(frozen=True, slots=True)
class MixResult:
    """What came out: the mix as a ``source`` of its own, its ``inputs`` as decoded, and files that are no audio."""

    source: SourceFacts
    inputs: Mapping[str, SourceFacts]
    files: tuple[StemFile, ...]
    documents: tuple[str, ...]
    settings: Mapping[str, Any]
    timings: Mapping[str, float]
    chunks: Mapping[str, int]
    warnings: tuple[str, ...] = ()
    gain_db: float = 0.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a job is: its stage, and ``fraction`` 0–1 over all of them.

    The stages of a separation are ``decode``, ``separate`` and ``encode``.
    """

    stage: str
    fraction: float


class CancelledError(Exception):
    """Raised by the progress callback's owner to stop a separation between two segments."""


#: Called after each segment or block; may raise ``CancelledError``.
ProgressCallback = Callable[[Progress], None]


@runtime_checkable
class Mixer(Protocol):
    """An engine that makes one recording of several. As ``Engine``, but it does the whole job itself.

    Only jobs of the engine called ``mix`` are given several recordings so far.
    """

    name: str

    @property
    def version(self) -> str:
        """What a manifest says did the mixing."""
        ...

    def load(self, model: str, store: Path, device: str) -> ModelInfo:
        """Get ready; ``model`` is what the engine calls its way of mixing."""
        ...

    def mix(self, request: MixRequest, report: ProgressCallback) -> MixResult:
        """Mix ``request.inputs`` into files below ``request.out``.

        Raises:
            StemdError: of the A, E, R, S families.
            CancelledError: raised by ``report``.
        """
        ...

    def facts(self) -> Mapping[str, Any]:
        """Settings in force that a manifest records."""
        ...

    def close(self) -> None:
        """Free what ``load`` took."""
        ...


@runtime_checkable
class Threaded(Protocol):
    """An engine whose number of threads can be changed between two jobs; others keep the one they were started with."""

    def use_threads(self, count: int) -> None:
        """Compute with ``count`` threads from now on; called before each job. ``facts`` gives the number in force."""
        ...


def names() -> tuple[str, ...]:
    """The installed engines' names, sorted; what is installed shows within seconds."""
    return _names(int(time.monotonic() / _FRESH))


@lru_cache(maxsize=1)
def _names(when: int) -> tuple[str, ...]:
    """Asked for every job that waits, at every turn: reading all packages' metadata each time was a tenth of it all."""
    return tuple(sorted(point.name for point in entry_points(group=ENTRY_POINT_GROUP)))


def create(name: str, environment: Path | None = None) -> Engine | Mixer:
    """Import and make the engine called ``name``; loads nothing yet.

    ``environment`` is the folder of its own Python environment, for an engine that has one.

    Raises:
        StemdError: STEMD-E001 (no such engine), STEMD-E002 (its packages do not import).
    """
    found = [point for point in entry_points(group=ENTRY_POINT_GROUP) if point.name == name]
    if not found:
        raise StemdError("STEMD-E001", f"no engine called {name!r}; installed: {', '.join(names()) or 'none'}")
    try:
        factory = found[0].load()
        engine: Engine | Mixer = factory(environment) if environment else factory()
    except ImportError as error:
        raise StemdError("STEMD-E002", f"engine {name!r} does not load: {error}") from error
    return engine
