"""The engine under test, and what the checks do with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

from stemd.core.errors import StemdError
from stemd.core.job import Output
from stemd.engines.base import Engine, Lane, ModelInfo, ProgressCallback, SeparationRequest, SeparationResult
from stemd.engines.separate import separate

if TYPE_CHECKING:
    from stemd.engines.base import Frames

#: −90 dB of full scale, and how far two computations of the same numbers may lie apart.
TRUE_SUM, ALIKE = 10 ** (-90 / 20), 1e-5
_LOSSLESS = Output("wav", "32f")


def require(condition: object, complaint: str) -> None:
    """Raise what a check raises, also where Python runs without assertions."""
    if not condition:
        raise AssertionError(complaint)


def refused(call: Callable[[], object], codes: str, named: str, what: str) -> None:
    """``call`` raises a ``StemdError`` whose code begins with ``codes`` and whose message has ``named`` in it."""
    try:
        call()
    except StemdError as error:
        require(error.code.startswith(codes), f"{what} gives {error.code}, not {codes}: {error.message}")
        require(named in error.message, f"{what}: the message does not name {named}: {error.message}")
    except Exception as error:
        raise AssertionError(f"{what} gives {type(error).__name__}, not a StemdError {codes}: {error}") from error
    else:
        raise AssertionError(f"{what} is accepted; it must be refused with {codes}")


def ignore(progress: object) -> None:
    """A report that nobody looks at."""


@dataclass(frozen=True, slots=True)
class Separated:
    """What came of one separation; ``stems`` by name, each frames × channels."""

    result: SeparationResult
    stems: Mapping[str, Frames]

    @property
    def bits(self) -> dict[str, str]:
        """The sha256 of each file."""
        return {file.stem: file.sha256 for file in self.result.files}

    @property
    def total(self) -> Frames:
        """All stems together."""
        total: Frames = np.sum(list(self.stems.values()), axis=0, dtype=np.float32)
        return total

    @property
    def gain(self) -> float:
        """What all stems were multiplied with."""
        return float(10 ** (self.result.gain_db / 20))


@dataclass(slots=True)
class Subject:
    """An engine that was made and not loaded, and one of its models; ``folder`` is empty and theirs to write below."""

    engine: Engine
    model: str
    store: Path
    folder: Path
    device: str = "auto"
    _info: ModelInfo | None = None
    _bits: dict[str, str] = field(default_factory=dict)
    _count: int = 0

    @property
    def info(self) -> ModelInfo:
        """The model, loaded when it is first asked for."""
        return self._info or self.load()

    def load(self) -> ModelInfo:
        self._info = self.engine.load(self.model, self.store, self.device)
        return self._info

    def close(self) -> None:
        self.engine.close()
        self._info = None

    def lanes(self) -> tuple[Lane, ...]:
        """What the engine does for all stems without any options."""
        stems = self.info.stems
        return tuple(self.engine.lanes({}, stems))

    def several(self, segments: int) -> int:
        """Frames at the model's rate of a track of so many segments, the last one shorter than the others."""
        thirds = ((lane, lane.segment // 3) for lane in self.lanes())
        return max(max((segments - 1) * lane.stride + third - lane.lead, third) for lane, third in thirds)

    def noise(self, frames: int, channels: int = 2, seed: int = 0) -> Frames:
        """A beat of coloured noise that is not the same in any two channels; its mean is not 0."""
        rough = np.random.default_rng(seed).standard_normal((frames + 8, channels)).astype(np.float32)
        smooth = sum((rough[shift : shift + frames] for shift in range(9)), np.zeros((frames, channels), np.float32))
        beat = 0.6 + 0.4 * np.sin(np.arange(frames, dtype=np.float32) / 3000)
        noise: Frames = (0.04 * smooth * beat[:, None] + 0.02).astype(np.float32)
        return noise

    def separate(
        self, mix: Frames, rate: int | None = None, report: ProgressCallback = ignore, *, name: str = "", **request: Any
    ) -> Separated:
        """Separate ``mix`` (by default at the model's rate, into all its stems) and read the files back.

        A second separation under the same ``name`` finds the chunks that the first one left.
        """
        source = self.source(name)
        soundfile.write(source, mix, rate or self.info.sample_rate, subtype="FLOAT")
        return self.separate_file(source, report, **request)

    def source(self, name: str = "") -> Path:
        """Where a source goes; its folder has those of one job."""
        self._count += 1
        home = self.folder / (name or str(self._count))
        for each in ("chunks", "out"):
            (home / each).mkdir(parents=True, exist_ok=True)
        return home / "song.wav"

    def separate_file(self, source: Path, report: ProgressCallback = ignore, **request: Any) -> Separated:
        """The same for a file in a place of ``source``'s."""
        info, home = self.info, source.parent
        settings: dict[str, Any] = {"stems": info.stems, "output": _LOSSLESS, **request}
        asked = SeparationRequest(source, home / "chunks", home / "out", **settings)
        result = separate(self.engine, info, asked, report)
        paths = {file.stem: home / "out" / file.name for file in result.files}
        stems = {stem: soundfile.read(path, dtype="float32", always_2d=True)[0] for stem, path in paths.items()}
        for path in paths.values():
            path.unlink()
        return Separated(result, stems)

    def usual_mix(self) -> Frames:
        """A track of three turns of the engine."""
        batch = int(self.engine.facts().get("batch", 1))
        return self.noise(self.several(3 * batch))

    def usual(self) -> dict[str, str]:
        """The bits of the stems of ``usual_mix``, separated once and undisturbed."""
        if not self._bits:
            self._bits = self.separate(self.usual_mix()).bits
        return self._bits

    def require_usual(self, when: str) -> None:
        """The engine works, and as if nothing had happened."""
        bits = self.separate(self.usual_mix()).bits
        changed = sorted(stem for stem, sha256 in self.usual().items() if bits.get(stem) != sha256)
        require(not changed, f"{when}, the same track gives other bits in {', '.join(changed)}")


Check = Callable[[Subject], None]
