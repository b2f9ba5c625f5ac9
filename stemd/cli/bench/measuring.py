"""One run of the bench: its parts in turn, and the document they make."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from stemd import __version__
from stemd.cli.bench import figures, lengths, service, spleeter, tuning
from stemd.cli.bench.contest import Contest, Plan
from stemd.cli.bench.machine import Machine
from stemd.core.errors import StemdError
from stemd.engines.environments import Environment

_JOBS, _DROPS, _REST, _FILES = 300, 60, 20.0, 10_000
_SPLEETER_SECONDS = (20.0, 300.0)
_PROGRAMS = ("demucs", "torch", "audio-separator")
_NO_SEPARATOR = "audio-separator was not measured: it is not installed here (`--audio-separator FILE`)."


@dataclass(slots=True)
class Measuring:
    """All of it below ``root``; ``say`` is told what goes on. ``document`` is what was found so far."""

    plan: Plan
    root: Path
    here: Machine
    say: Callable[[str], None]
    document: dict[str, Any] = field(default_factory=dict)

    def contest(self) -> None:
        """What is fast here, and the demucs command against it; makes the document.

        Raises:
            StemdError: a side failed.
        """
        plan, here, root = self.plan, self.here, self.root
        self.say("what is fast on this machine, and how fast it could be …")
        found = tuning.measured(plan.model, plan.store, "auto", root / "state" / "tuning", here.cores)
        fast = None
        if plan.fast:
            keep = root / "fast" / "state" / "tuning"
            fast = tuning.measured(plan.model, plan.store, plan.fast, keep, here.cores)
        contest = Contest(plan, root, self.say)
        comparisons = contest.hold()
        self.document = {
            "machine": here.to_dict(),
            "versions": {
                "stemd": __version__,
                **{key: contest.model[key] for key in _PROGRAMS if key in contest.model},
            },
            "settings": {
                "model": plan.model,
                "model_sha256": contest.model["sha256"],
                "rounds": plan.rounds,
                "device": "cpu",
                "threads": plan.threads,
                "output": "wav, 24 bit",
            },
            "outputs": {"max_difference": figures.worst(contest.differences), "stems": contest.differences},
            "busy": figures.busy(here.load, here.cores),
            "tuning": found,
            "fast": fast and {"precision": plan.fast, "warnings": contest.warned, **fast},
            "worker_ready_seconds": round(median(contest.ready), 3),
            "workloads": [each.to_dict() for each in comparisons],
            "not_measured": [] if plan.separator else [_NO_SEPARATOR],
        }

    def attempt(self, name: str, part: Callable[[], None]) -> None:
        """Do ``part``, called ``name``; where it fails, the document says so and what there is stays."""
        try:
            part()
        except StemdError as error:
            self.document["not_measured"].append(f"{name} was not measured: {error}")
            self.say(self.document["not_measured"][-1])

    def spleeter(self, engines: Path, random: bool) -> None:
        """The spleeter command, where its environment is below ``engines``; with random weights where asked."""
        environment, store = Environment("spleeter", engines / "spleeter"), self.plan.store
        if random and environment.current():
            spleeter.random_weights(environment, store)
        if why := spleeter.lacking(environment, store):
            self.document["not_measured"].append(why)
            return
        plan = spleeter.Plan(environment, store, _SPLEETER_SECONDS, max(2, self.plan.rounds), self.plan.threads)
        comparisons, differences = spleeter.hold(plan, self._room("spleeter"), self.say)
        self.document["workloads"] += [each.to_dict() for each in comparisons]
        self.document["outputs"]["stems"]["spleeter"] = differences
        self.document["outputs"]["max_difference"] = figures.worst(self.document["outputs"]["stems"])
        self.document["versions"]["spleeter"] = environment.versions().get("spleeter", "unknown")

    def lengths(self, model: str, minutes: Sequence[float]) -> None:
        """Memory by length of track, and when the first block is there."""
        self.say(f"memory by length of track, {model}")
        room = self._room("lengths", keep=self.root / "state")
        found = lengths.measure(model, self.plan.store, room, minutes, self.plan.threads, self.say)
        self.document["lengths"] = {"model": model, "tracks": [each.to_dict() for each in found]}

    def service(self) -> None:
        """What the service itself costs."""
        self.say("the service itself, with an engine that computes nothing")
        self.document["service"] = service.measure(
            self._room("service"), service.Plan(_JOBS, _DROPS, _REST, _FILES), self.say
        )

    def _room(self, name: str, keep: Path | None = None) -> Path:
        room = self.root / name
        room.mkdir()
        if keep is not None and keep.exists():
            shutil.copytree(keep, room / keep.name)
        return room
