"""``train``: the loop. Everything it depends on is in its checkpoint or drawn by number, so it resumes bit by bit.

On one CPU thread a step of two segments takes about a second. Two processes with one thread each and different seeds,
averaged at the end, learn more in the same time than one with two threads.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from demucs.hdemucs import HDemucs

from stemd.core.errors import StemdError
from stemd.training import network, shelf
from stemd.training.augmenting import Batches
from stemd.training.drawing import Corpus
from stemd.training.filling import inputs
from stemd.training.keeping import provenance, whole, write_json
from stemd.training.losses import Weights, loss
from stemd.training.progress import Progress
from stemd.training.starting import Origin, begin
from stemd.training.terms import RATE

_CPU = Path("/proc/cpuinfo")
CHECKPOINT, LOG, RECORD = "last.pt", "log.jsonl", "run.json"
_CLIP, _LOG_EVERY = 1.0, 20


@dataclass(frozen=True, slots=True)
class Course:
    """What a run does. ``steps`` fixes the schedule, so a run can be stopped at any time but not lengthened: for more,
    ``start`` another from its weights. ``floor`` is what is left of the learning rate at the end: much where others
    follow, a hundredth where none does."""

    steps: int
    seed: int = 0
    batch: int = 2
    segment: float = 3.0
    rate: float = 2e-3
    warmup: int = 60
    floor: float = 0.01
    average: float = 0.998
    real: float = 1.0
    network: dict[str, Any] = field(default_factory=dict)
    loss: dict[str, float] = field(default_factory=dict)


def learning_rate(course: Course, step: int) -> float:
    """Rises in a line, then falls along half a cosine to its floor."""
    rise = min(1.0, (step + 1) / max(1, course.warmup))
    fall = 0.5 + 0.5 * math.cos(math.pi * min(1.0, step / course.steps))
    return course.rate * rise * (course.floor + (1 - course.floor) * fall)


def computes_bfloat16(cpu: str) -> bool:
    """Whether a processor, as ``/proc/cpuinfo`` tells of it, multiplies in bfloat16 itself (``avx512_bf16``,
    ``amx_bf16``, ``bf16``). Where it does not, a step in it takes six times as long as one in single precision."""
    return any(word.endswith("bf16") for word in cpu.split())


@dataclass(slots=True)
class Run:
    """One training in ``folder``, wherever it stands."""

    folder: Path
    course: Course
    device: str
    model: HDemucs
    averaged: HDemucs
    optimiser: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    prior: Origin = field(default_factory=Origin)
    half: bool = True

    @classmethod
    def open(cls, folder: Path, course: Course, device: str = "cpu", start: Path | None = None) -> Run:
        """Go on where the folder's checkpoint is, else begin, with the weights of ``start`` if it is given.

        Raises:
            StemdError: STEMD-E002, the checkpoint is of another course.
        """
        torch.manual_seed(course.seed)
        model = network.build(**course.network).to(device)
        prior = Origin() if start is None else begin(model, start)
        optimiser = torch.optim.AdamW(model.parameters(), lr=course.rate, betas=(0.9, 0.98), weight_decay=1e-4)
        half = device != "cpu" or computes_bfloat16(_CPU.read_text())
        run = cls(folder, course, device, model, copy.deepcopy(model).eval(), optimiser, prior=prior, half=half)
        if (folder / CHECKPOINT).is_file():
            run._load()
        return run

    @property
    def name(self) -> str:
        """The same whenever it goes on; another for every other run."""
        told = [self.folder.name, asdict(self.course), self.prior.runs]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]

    def train(self, batches: Batches, progress: Progress, minutes: float, save_every: float = 120.0) -> None:
        """Until the course ends, ``minutes`` are over, or a signal asks to stop; always leaves a checkpoint."""
        progress.total, progress.done = self.course.steps, self.step
        progress.first = self.step
        ends = time.monotonic() + 60 * minutes
        saved, begun, before = time.monotonic(), time.process_time(), self.seconds
        recent: list[dict[str, float]] = []
        with _until_signalled() as stopped, _ahead(batches, self.step) as stream:
            while self.step < self.course.steps and time.monotonic() < ends and not stopped:
                recent.append(self._step(next(stream)))
                self.seconds = before + time.process_time() - begun
                if self.step % _LOG_EVERY == 0:
                    terms = {name: sum(each[name] for each in recent) / len(recent) for name in recent[0]}
                    recent.clear()
                    self._log(terms)
                    progress.advance(self.step, **{name: round(value, 3) for name, value in terms.items()})
                else:
                    progress.advance(self.step)
                if time.monotonic() - saved > save_every:
                    self.save()
                    saved = time.monotonic()
        self.save()

    def _step(self, truth: torch.Tensor) -> dict[str, float]:
        truth = truth.to(self.device)
        rate = learning_rate(self.course, self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.model.train()
        with torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=self.half):
            estimate = self.model(truth.sum(1))
        total, terms = loss(estimate.float(), truth, Weights(**self.course.loss), self.step)
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), _CLIP)
        self.optimiser.step()
        self.step += 1
        keep = min(self.course.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            pairs = zip(self.averaged.state_dict().values(), self.model.state_dict().values(), strict=True)
            for mean, now in pairs:
                mean.lerp_(now, 1 - keep)
        return {"loss": float(total.detach()), **terms}

    def save(self) -> None:
        """The checkpoint, whole; and beside it what it is."""
        done = self.step * self.course.batch, self.seconds
        state = {
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "run": self.name,
            "course": asdict(self.course),
            **replace(self.prior, runs={**self.prior.runs, self.name: done}).kept(),
        }
        with whole(self.folder / CHECKPOINT) as file:
            torch.save(state, file)

    def _load(self) -> None:
        state = torch.load(self.folder / CHECKPOINT, map_location=self.device, weights_only=True)
        if state["course"] != asdict(self.course):
            other = {key for key, value in asdict(self.course).items() if state["course"].get(key) != value}
            raise StemdError(
                "STEMD-E002",
                f"{self.folder} was begun with another {', '.join(sorted(other))}",
                remedy="Give the same options to go on, or another folder, with --start for its weights.",
            )
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = state["step"], state["seconds"]
        learnt = Origin.of(state)
        self.prior = replace(learnt, runs={name: done for name, done in learnt.runs.items() if name != state["run"]})

    def _log(self, terms: dict[str, float]) -> None:
        """A line for the curve, of the steps since the last line. What a kill made to be done again is there twice."""
        told = {name: round(value, 4) for name, value in terms.items()}
        facts = {"step": self.step, "segments": self.step * self.course.batch, "cpu_seconds": round(self.seconds, 1)}
        with (self.folder / LOG).open("a") as log:
            log.write(json.dumps({**facts, **told}) + "\n")


@dataclass(frozen=True, slots=True)
class Place:
    """Where to train: on which shelves, in which folder, on what, for how long."""

    folder: Path
    shelves: tuple[Path, ...]
    device: str = "cpu"
    minutes: float = float("inf")
    start: Path | None = None


def train(place: Place, course: Course, progress: Progress) -> Run:
    """Train on the songs of ``place``.

    Raises:
        StemdError: STEMD-A003 (no songs), STEMD-E002 (the folder holds a run of another course).
    """
    songs = shelf.take(list(place.shelves))
    place.folder.mkdir(parents=True, exist_ok=True)
    run = Run.open(place.folder, course, place.device, place.start)
    batches = Batches(Corpus.of(songs, course.real), course.seed, course.batch, int(course.segment * RATE))
    material = {"songs": len(songs), "shelves": list(inputs(place.shelves)), "real": sorted(_real(songs))}
    facts = {"course": asdict(course), "parameters": network.size(run.model), "material": material}
    facts |= {"start": place.start and place.start.name, "precision": "bfloat16" if run.half else "float32"}
    write_json(place.folder / RECORD, {**facts, **provenance()})
    torch.set_flush_denormal(True)
    run.train(batches, progress, place.minutes)
    return run


def _real(songs: list[shelf.Shelved]) -> set[str]:
    return {str(song.facts["real"]) for song in songs if "real" in song.facts}


@contextmanager
def _ahead(batches: Batches, first: int) -> Iterator[Iterator[torch.Tensor]]:
    """The batches from ``first`` on, each made while the one before is learnt from."""

    def stream(pool: ThreadPoolExecutor) -> Iterator[torch.Tensor]:
        number = first
        coming = pool.submit(batches.get, number)
        while True:
            ready = coming.result()
            number += 1
            coming = pool.submit(batches.get, number)
            yield ready

    with ThreadPoolExecutor(1) as pool:
        yield stream(pool)


@contextmanager
def _until_signalled() -> Iterator[list[int]]:
    """A list that is no longer empty once SIGINT or SIGTERM came."""
    came: list[int] = []
    kinds = (signal.SIGINT, signal.SIGTERM)
    try:
        before = [signal.signal(kind, lambda number, _: came.append(number)) for kind in kinds]
    except ValueError:  # not the main thread: whoever started us stops us otherwise
        yield came
        return
    try:
        yield came
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)
