"""Whole mixes for the golden tests: small songs made at test time, the engine on them, and independent meters."""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyloudnorm
import soundfile

from stemd.core.job import Output
from stemd.engines.base import MixInput, MixRequest, MixResult, Progress
from stemd.engines.mix.engine import MixEngine

RATE = 44_100
FLOAT = {"export": {"formats": [{"codec": "wav", "bits": 32}], "dither": "none"}}
"""Options of a mix that leaves the file exactly what was mixed."""
NULL = {"preset": "transparent", **FLOAT}
"""Nothing at all is done to the stems."""
STAGES = ("loading_stems", "aligning_stems", "processing_tracks", "mixing", "mastering", "exporting")

Stems = Mapping[str, np.ndarray]


def song(seconds: float = 3.0, rate: int = RATE) -> dict[str, np.ndarray]:
    """A beat, a bass, chords and a sung line that covers them at times: frames × 2, float32, by role."""
    t = np.arange(round(seconds * rate)) / rate
    random = np.random.default_rng(11)
    kick = 0.5 * np.exp(-(t % 0.5) * 16) * np.sin(2 * np.pi * 58 * (t % 0.5))
    hats = 0.12 * (np.exp(-(t % 0.25) * 70))[:, None] * random.standard_normal((len(t), 2))
    low = sum(np.sin(2 * np.pi * 55 * n * t) / n for n in range(1, 6)) * 0.12 * (t % 1 < 0.8)
    chord = [sum(np.sin(2 * np.pi * hz * n * t * detune) / n for hz in (220, 277.2, 329.6) for n in range(1, 9)) * 0.04
             for detune in (1.0, 1.003)]  # fmt: skip
    phase = 2 * np.pi * np.cumsum(300 * (1 + 0.01 * np.sin(2 * np.pi * 5 * t))) / rate
    voice = sum(np.sin(n * phase) / n for n in range(1, 20)) * 0.09 * (t % 2 < 1.4)
    made = {
        "drums": kick[:, None] + hats,
        "bass": np.stack([low, low], axis=1),
        "other": np.stack(chord, axis=1),
        "vocals": voice[:, None] + 0.003 * random.standard_normal((len(t), 2)),
    }
    return {role: frames.astype(np.float32) for role, frames in made.items()}


def together(stems: Stems) -> np.ndarray:
    """The sum, the shorter ones followed by silence."""
    total = np.zeros((max(map(len, stems.values())), 2))
    for frames in stems.values():
        total[: len(frames)] += frames if frames.ndim == 2 else frames[:, None]
    return total


@dataclass(frozen=True)
class Mixed:
    """A finished mix: what the engine answered and where its files are."""

    result: MixResult
    folder: Path

    @property
    def report(self) -> dict[str, Any]:
        return json.loads((self.folder / "report.json").read_text())

    @property
    def frames(self) -> np.ndarray:
        return self.read("final_mix.wav")

    @property
    def lufs(self) -> float:
        """The loudness as another meter than ours reads it."""
        return lufs(self.frames, self.result.source.sample_rate)

    def read(self, name: str) -> np.ndarray:
        return soundfile.read(self.folder / name, dtype="float32", always_2d=True)[0]

    @property
    def warnings(self) -> str:
        return "\n".join(self.result.warnings)


@dataclass
class Studio:
    """Where mixes are made: each in a folder of its own below ``folder``."""

    folder: Path
    _count: Any = field(default_factory=itertools.count)

    def write(self, stems: Stems, rate: int = RATE, **words: Any) -> dict[str, Path]:
        """The stems as files (float wav), by role."""
        place = self.folder / f"stems{next(self._count)}"
        place.mkdir()
        for role, frames in stems.items():
            soundfile.write(place / f"{role}.wav", frames, rate, subtype="FLOAT", **words)
        return {role: place / f"{role}.wav" for role in stems}

    def mix(
        self,
        stems: Stems | Mapping[str, Path],
        options: Mapping[str, Any],
        *,
        rate: int = RATE,
        report: Callable[[Progress], None] = lambda progress: None,
        chunks: Path | None = None,
        output: Output | None = None,
    ) -> Mixed:
        """Mix ``stems`` (arrays or files); with ``chunks``, going on from what an earlier mix left there."""
        files = stems if all(isinstance(each, Path) for each in stems.values()) else self.write(stems, rate)
        place = self.folder / f"mix{next(self._count)}"
        (place / "out").mkdir(parents=True)
        chunks = chunks or place / "chunks"
        chunks.mkdir(exist_ok=True)
        request = MixRequest(
            inputs={role: MixInput(path, sha256(path)) for role, path in files.items()},
            chunks=chunks,
            out=place / "out",
            output=output or Output("wav", "24"),
            find=lambda name: self.folder / name,
            options=options,
        )
        return Mixed(MixEngine().mix(request, report), place / "out")


def lufs(frames: np.ndarray, rate: int = RATE) -> float:
    """What pyloudnorm reads."""
    return float(pyloudnorm.Meter(rate).integrated_loudness(frames))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def decoded(path: Path, rate: int) -> np.ndarray:
    """What ffmpeg makes of a file, at its rate: frames × 2."""
    command = ["ffmpeg", "-v", "error", "-i", path, "-f", "f32le", "-ac", "2", "-ar", str(rate), "-"]
    raw = subprocess.run(command, capture_output=True, check=True, timeout=120).stdout
    return np.frombuffer(raw, "<f4").reshape(-1, 2)


def over(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Options laid over each other, mappings key by key."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            nested = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
            merged[key] = over(merged[key], value) if nested else value
    return merged


def difference(left: np.ndarray, right: np.ndarray) -> float:
    """The largest difference of any sample."""
    assert left.shape == right.shape
    return float(np.abs(left.astype(np.float64) - right).max())


def hits(times: Any, frames: int, seed: int = 0) -> np.ndarray:
    """A short burst of noise at each of ``times`` (frames), each another one; peak about 1."""
    track, length = np.zeros(frames), 900
    shape = 0.3 * np.exp(-np.arange(length) / 130)
    for number, time in enumerate(times):
        if 0 <= time <= frames - length:
            track[time : time + length] += shape * np.random.default_rng((seed, number)).standard_normal(length)
    return track


def octaves(frames: np.ndarray, rate: int) -> np.ndarray:
    """The level in each octave from 63 Hz to 8 kHz, in dB, on their mean."""
    power = np.square(np.abs(np.fft.rfft(frames.mean(axis=1))))
    hz = np.fft.rfftfreq(len(frames), 1 / rate)
    bands = [power[(hz > centre / 2**0.5) & (hz <= centre * 2**0.5)].sum() for centre in 62.5 * 2.0 ** np.arange(8)]
    levels = 10 * np.log10(np.array(bands) + 1e-12)
    return levels - levels.mean()


#: Something in every stage, beyond what the presets do.
EVERYTHING: Mapping[str, Any] = {
    "preset": "streaming",
    "align": {"enabled": True},
    "track": {
        "drums": {"gain_db": 1, "eq": [{"kind": "low_shelf", "hz": 90, "db": 2}], "comp": {"threshold_db": -12}},
        "bass": {"saturation": {"drive_db": 4, "oversample": 2}, "pan": -0.1},
        "other": {"pan": 0.3, "air": {"hz": 9000, "db": 3}},
        "vocals": {"saturation": {"oversample": 8}},
    },
    "master": {"eq": [{"kind": "high_shelf", "hz": 8000, "db": 1}], "width": 1.3},
}
