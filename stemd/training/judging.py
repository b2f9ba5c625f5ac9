"""``evaluate``: the model as stemd itself runs it, against the mixture, plain signal processing and the ideal mask."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stemd.engines import models
from stemd.engines.base import TrackStats
from stemd.engines.demucs_engine import DemucsEngine
from stemd.engines.overlap_add import OverlapAdd
from stemd.training import baseline, metrics, shelf
from stemd.training.keeping import provenance
from stemd.training.progress import Progress
from stemd.training.terms import RATE, SILENT, STEMS, Sound, rms

_NOWHERE = Path("/nonexistent")
#: Where the model that comes with stemd is, whatever a store has.
BUNDLED = models.find("nano", _NOWHERE)


class Model:
    """A folder of the model store, run by stemd's own engine with default settings."""

    def __init__(self, folder: Path) -> None:
        """Raises: StemdError: of the M family."""
        self.name = folder.name
        self._engine = DemucsEngine()
        self._info = self._engine.load(folder.name, folder.parent, "cpu")

    def separate(self, mixture: Sound) -> Sound:
        """4 × 2 × frames."""
        frames = np.ascontiguousarray(mixture.T)
        mono = frames.mean(1, dtype=np.float64)
        stats = TrackStats(len(frames), float(mono.mean()), float(mono.std(ddof=1)), float(np.abs(frames).max()))
        lanes = self._engine.lanes({}, STEMS)
        scaling, batch = self._engine.begin(stats), int(self._engine.facts().get("batch", 1))
        work = OverlapAdd(self._engine, lanes, STEMS, scaling, len(frames), 2, 0, batch, lambda *_: None)
        done = np.concatenate(list(work.run(iter([frames]))))
        return np.ascontiguousarray(done.transpose(1, 2, 0), np.float32)

    def speed(self, seconds: float) -> float:
        """How many times faster than realtime noise is separated, with the threads this process has."""
        noise = np.random.default_rng(1).normal(0, 0.1, (2, int(seconds * RATE))).astype(np.float32)
        self.separate(noise[:, : 5 * RATE])
        started = time.monotonic()
        self.separate(noise)
        return seconds / (time.monotonic() - started)

    def facts(self) -> Mapping[str, Any]:
        """With what the engine computes."""
        return self._engine.facts()


@dataclass(frozen=True, slots=True)
class Trial:
    """One mixture and its truth; the mixture is the plain sum, each sounding stem at one level."""

    name: str
    truth: Sound

    @property
    def mixture(self) -> Sound:
        total: Sound = self.truth.sum(0)
        return total


def trials(songs: list[shelf.Shelved], most: int, seconds: float) -> list[Trial]:
    """The first ``seconds`` of up to ``most`` songs; and every other one
    again with one stem taken out, in turn, for silence. What has a single stem left is no separation."""
    found = []
    for number, song in enumerate(songs[:most]):
        truth = song.all()[..., : int(seconds * RATE)]
        levels = [rms(stem) for stem in truth]
        gains = [0.08 / level if level > SILENT else 0.0 for level in levels]
        truth = truth * np.array(gains, np.float32)[:, None, None]
        found.append(Trial(song.name, truth))
        if number % 2 == 0:
            without = truth.copy()
            without[number // 2 % len(STEMS)] = 0
            found.append(Trial(f"{song.name} without {STEMS[number // 2 % len(STEMS)]}", without))
    return [trial for trial in found if sum(rms(stem) > SILENT for stem in trial.truth) > 1]


def evaluate(
    model: Path, previous: Path | None, tested: list[Trial], progress: Progress, *, speed_seconds: float = 60.0
) -> dict[str, Any]:
    """Scores of every method as ``metrics.summary`` gives them, and the speed of the model.

    Raises:
        StemdError: STEMD-M001 to M004, of the models.
    """
    judged = Model(model)
    methods: dict[str, Callable[[Trial], Sound]] = {
        "mixture": lambda trial: np.stack([trial.mixture] * len(STEMS)),
        "signal processing": lambda trial: baseline.separate(trial.mixture),
        "previous nano": lambda trial: before.separate(trial.mixture),
        "this model": lambda trial: judged.separate(trial.mixture),
        "ideal mask": lambda trial: baseline.ideal(trial.truth),
    }
    if previous is None:
        methods.pop("previous nano")
    else:
        before = Model(previous)
    progress.total, scores = len(methods) * len(tested), {}
    for name, method in methods.items():
        rows = []
        for trial in tested:
            rows.append(metrics.score(method(trial), trial.truth))
            progress.advance(progress.done + 1)
        scores[name] = metrics.summary(rows)
    sha256 = models.verify(model.name, model.parent)[f"{model.name}.safetensors"]
    facts = {
        "model": model.name,
        "sha256": sha256,
        "songs": len({trial.name.split(" ")[0] for trial in tested}),
        "trials": len(tested),
    }
    speed = {"realtime": round(judged.speed(speed_seconds), 1), "seconds": speed_seconds, **judged.facts()}
    return {**facts, "scores": scores, "speed": speed, **provenance()}


def table(scores: Mapping[str, Any]) -> str:
    """Markdown: a row for each method."""
    head = "| method | measure | " + " | ".join(STEMS) + " | mean |"
    lines = [head, "|" + " --- |" * (len(STEMS) + 3)]
    names = {"si_sdr": "SI-SDR, dB", "sdr": "SDR, dB", "leak": "absent stem, dB"}
    for measure, title in names.items():
        for method, found in scores.items():
            row = found[measure]
            cells = ["–" if row[key] is None else f"{row[key]:.2f}" for key in (*STEMS, "mean")]
            lines.append(f"| {method} | {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
