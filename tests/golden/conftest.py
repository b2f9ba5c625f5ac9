"""What the golden tests share: tiny models in a store, the reference on the whole track, and stemd on a file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from demucs.api import Separator

from stemd.core.job import Output
from stemd.engines.base import CancelledError, ModelInfo, Progress, SeparationRequest, SeparationResult
from stemd.engines.demucs_engine import DemucsEngine
from stemd.engines.separate import separate
from tests.golden import tiny_models

RATE = tiny_models.RATE


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model store with one tiny model of each kind and two bags."""
    folder = tmp_path_factory.mktemp("models")
    kinds = tiny_models
    tiny_models.write_bag(folder, "ht", [kinds.htdemucs])
    tiny_models.write_bag(folder, "hd", [kinds.hdemucs])
    tiny_models.write_bag(folder, "v2", [kinds.demucs])
    specialists = [[1.0 * (row == stem) for stem in range(4)] for row in range(4)]
    tiny_models.write_bag(folder, "ft", [kinds.htdemucs] * 4, specialists)
    weights = [[1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.5, 2.0], [1.0, 0.0, 1.0, 1.0]]
    tiny_models.write_bag(folder, "mixed", [kinds.hdemucs, kinds.demucs, kinds.htdemucs], weights)
    tiny_models.write_bag(folder, "shorter", [lambda: kinds.htdemucs(Fraction(3, 4)), kinds.hdemucs], segment=0.4)
    return folder


@pytest.fixture(scope="session")
def engine_of(store: Path) -> Callable[[str], tuple[DemucsEngine, ModelInfo]]:
    """Loads a model once per session."""
    loaded: dict[str, tuple[DemucsEngine, ModelInfo]] = {}

    def load(name: str) -> tuple[DemucsEngine, ModelInfo]:
        if name not in loaded:
            engine = DemucsEngine()
            loaded[name] = (engine, engine.load(name, store, "cpu"))
        return loaded[name]

    return load


def noise(frames: int, channels: int = 2, seed: int = 0) -> np.ndarray:
    """Coloured noise with an offset, so that normalisation matters: frames × channels, float32."""
    random = np.random.default_rng(seed)
    rough = random.standard_normal((frames + 8, channels))
    smooth = np.stack([np.convolve(rough[:, c], np.ones(9) / 9, "valid") for c in range(channels)], axis=1)
    return (0.4 * smooth + 0.05).astype(np.float32)


def reference(folder: Path, name: str, mix: np.ndarray, **settings: Any) -> dict[str, np.ndarray]:
    """What ``demucs.api.Separator`` makes of the whole track."""
    separator = Separator(model=name, repo=folder / name, device="cpu", **{"shifts": 0, **settings})
    _, stems = separator.separate_tensor(torch.from_numpy(mix.T.copy()))
    return {stem: values.numpy().T for stem, values in stems.items()}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., SeparationResult]:
    """Separate an array with ``engine``: writes it as a float wav, and returns the result with the files read back."""
    count = 0

    def separate_array(
        loaded: tuple[DemucsEngine, ModelInfo], mix: np.ndarray, rate: int = RATE, **request: Any
    ) -> tuple[SeparationResult, dict[str, np.ndarray]]:
        nonlocal count
        count += 1
        home = tmp_path / str(count)
        for name in ("chunks", "out"):
            (home / name).mkdir(parents=True)
        soundfile.write(home / "song.wav", mix, rate, subtype="FLOAT")
        settings = {"stems": 4, "output": Output("wav", "32f"), **request}
        asked = SeparationRequest(home / "song.wav", home / "chunks", home / "out", **settings)
        result = separate(*loaded, asked, lambda progress: None)
        files = {
            each.stem: soundfile.read(home / "out" / each.name, dtype="float32", always_2d=True)[0]
            for each in result.files
        }
        return result, files

    return separate_array


@pytest.fixture
def separated(tmp_path: Path) -> Callable[..., tuple[SeparationResult, list[str]]]:
    """A track with checkpoints, below a folder of that name: what came of it, and its stems' hashes.

    Cancelled once ``stop`` of it is done; the same name again goes on from there.
    """

    def run(name: str, loaded: tuple[DemucsEngine, ModelInfo], stop: float = 2.0) -> tuple[SeparationResult, list[str]]:
        home = tmp_path / name
        for folder in ("chunks", "out"):
            (home / folder).mkdir(parents=True, exist_ok=True)
        soundfile.write(home / "song.wav", noise(20_001), RATE, subtype="FLOAT")
        output = Output("wav", "24")
        asked = SeparationRequest(home / "song.wav", home / "chunks", home / "out", 4, output, checkpoint=0.5)

        def report(progress: Progress) -> None:
            if progress.fraction >= stop:
                raise CancelledError

        result = separate(*loaded, asked, report)
        return result, [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(asked.out.iterdir())]

    return run
