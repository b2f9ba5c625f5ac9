"""A cheap engine for tests of everything around the engine, and files to give it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from stemd.core.job import Output
from stemd.engines.base import Lane, ModelInfo, SeparationRequest, SeparationResult
from stemd.engines.separate import separate
from stemd.engines.stub_engine import StubEngine

STEMS = ("drums", "bass", "other", "vocals")


class SharesEngine(StubEngine):
    """Each stem is its own share of the source, one of them with channels swapped; together they are not the source."""

    def __init__(self, **shares: float) -> None:
        super().__init__()
        self.shares = {"drums": 0.4, "bass": 0.25, "other": 0.15, "vocals": 0.1, **shares}

    def separate_segments(self, lane: Lane, batch: np.ndarray) -> Mapping[str, np.ndarray]:
        found = {stem: batch * np.float32(self.shares[stem]) for stem in lane.weights}
        return {stem: each[:, :, ::-1] if stem == "drums" else each for stem, each in found.items()}


def run(
    home: Path, source: Path, engine: StubEngine | None = None, model: ModelInfo | None = None, **request: Any
) -> tuple[SeparationResult, Path]:
    """Separate ``source`` below ``home``; gives the result and the folder of the files."""
    chunks, out = home / "chunks", home / "out"
    for folder in (chunks, out):
        folder.mkdir(parents=True, exist_ok=True)
    engine = engine or SharesEngine()
    model = model or engine.load("stub", home, "cpu")
    settings = {"stems": len(STEMS), "output": Output("wav", "24"), **request}
    asked = SeparationRequest(source, chunks, out, **settings)
    return separate(engine, model, asked, lambda progress: None), out


def music(seconds: float, rate: int, channels: int) -> np.ndarray:
    """Chords that move, a beat, noise to the top of the band, another sound in each channel: peak below 0.8."""
    random = np.random.default_rng(channels)
    time = np.arange(round(seconds * rate)) / rate
    beat = np.exp(-(time % 0.5) * 18) * np.sin(2 * np.pi * 60 * time) * 0.25
    sounds = []
    for channel in range(channels):
        chord = sum(np.sin(2 * np.pi * f * (1 + 0.1 * channel) * time) for f in (110, 220.5, 331, 1442)) * 0.08
        sounds.append(chord * (0.7 + 0.3 * np.sin(time)) + beat + 0.03 * random.standard_normal(len(time)))
    return np.stack(sounds, axis=1)


def level(error: np.ndarray) -> float:
    """The highest sample, in dB of full scale."""
    return 20 * float(np.log10(max(float(np.abs(error).max()), 1e-12)))


def read(path: Path) -> np.ndarray:
    """The samples of a file, frames × channels."""
    return soundfile.read(path, dtype="float64", always_2d=True)[0]
