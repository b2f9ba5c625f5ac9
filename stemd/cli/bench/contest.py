"""The contest: who does what, in which order, how often."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stemd.cli.bench import processes
from stemd.cli.bench.figures import Comparison, Run
from stemd.cli.bench.sides import Demucs, daemon


@dataclass(frozen=True, slots=True)
class Plan:
    """One file of ``seconds``, and ``files`` files of ``file_seconds``, each done ``rounds`` times by both sides."""

    model: str
    store: Path
    rounds: int
    seconds: float
    files: int
    file_seconds: float
    threads: int


@dataclass(slots=True)
class Contest:
    """All of it below ``root``; ``say`` is told what goes on.

    ``differences``: per workload and stem, how far the outputs of the first round are apart (1.0 is full scale).
    """

    plan: Plan
    root: Path
    say: Callable[[str], None]
    model: dict[str, Any] = field(default_factory=dict)
    differences: dict[str, dict[str, float]] = field(default_factory=dict)
    _runs: defaultdict[str, list[Run]] = field(default_factory=lambda: defaultdict(list))
    _files: list[Path] = field(default_factory=list)

    def hold(self) -> list[Comparison]:
        """Prepare, and run all rounds; in each, another side is first.

        Raises:
            StemdError: a side failed.
        """
        self._prepare()
        for number in range(self.plan.rounds):
            self.say(f"round {number + 1} of {self.plan.rounds}")
            for parts in ((self._one_stemd, self._one_demucs), (self._many_stemd, self._many_loop, self._many_call)):
                first = number % len(parts)
                for part in (*parts[first:], *parts[:first]):
                    part()
                self._compare()
        return self._comparisons()

    # ---- the runs

    def _prepare(self) -> None:
        plan = self.plan
        self.say("making audio, and the model's weights as demucs reads them …")
        lengths = [plan.seconds] + [plan.file_seconds] * plan.files
        made = processes.tool("stemd.engines.sample.loop", str(self.root / "audio"), *map(str, lengths))
        self._files = [Path(line) for line in made.splitlines()]
        repo = str(self.root / "repo")
        self.model = processes.asked("stemd.engines.reference", "export", plan.model, str(plan.store), repo)

    def _one_stemd(self) -> None:
        plan, (file, *_) = self.plan, self._files
        with daemon(plan.model, plan.store, self._stemd, plan.threads) as running:
            self._note("one cold", running.drop([file]))
            self._note("one warm", running.drop([file], "again-"))

    def _one_demucs(self) -> None:
        self._note("one demucs", self._demucs().call(self._files[:1]))

    def _many_stemd(self) -> None:
        plan, (_, *files) = self.plan, self._files
        with daemon(plan.model, plan.store, self._stemd, plan.threads) as running:
            self._note("many stemd", running.drop(files))

    def _many_loop(self) -> None:
        self._note("many loop", self._demucs().loop(self._files[1:]))

    def _many_call(self) -> None:
        shutil.rmtree(self._separated, ignore_errors=True)
        self._note("many call", self._demucs().call(self._files[1:]))

    def _note(self, what: str, run: Run) -> None:
        self._runs[what].append(run)
        self.say(f"  {what}: {run.seconds:.1f} s")

    # ---- the outputs

    @property
    def _stemd(self) -> Path:
        return self.root / "stemd"

    @property
    def _separated(self) -> Path:
        return self.root / "separated"

    def _demucs(self) -> Demucs:
        return Demucs(self.plan.model, self.root / "repo", self._separated, self.plan.threads)

    def _compare(self) -> None:
        """Compare what both made of one file, the first time, and make room."""
        for folder in sorted((self._stemd / "spool" / "outbox" / "everyone").iterdir()):
            theirs = self._separated / self.plan.model / folder.name
            kind = "one" if folder.name == self._files[0].stem else "many"
            if kind not in self.differences and theirs.is_dir():
                self.differences[kind] = processes.asked("stemd.engines.reference", "compare", str(folder), str(theirs))
        shutil.rmtree(self._stemd)
        shutil.rmtree(self._separated)

    def _comparisons(self) -> list[Comparison]:
        plan, runs = self.plan, self._runs
        one, many = f"1 × {plan.seconds:g} s", f"{plan.files} × {plan.file_seconds:g} s"
        total = plan.files * plan.file_seconds
        return [
            Comparison(f"{one}, worker not started", 1, plan.seconds, runs["one cold"], runs["one demucs"]),
            Comparison(f"{one}, worker loaded", 1, plan.seconds, runs["one warm"], runs["one demucs"]),
            Comparison(f"{many}, a call each", plan.files, total, runs["many stemd"], runs["many loop"]),
            Comparison(f"{many}, one call", plan.files, total, runs["many stemd"], runs["many call"]),
        ]
