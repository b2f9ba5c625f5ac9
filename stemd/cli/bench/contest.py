"""The contest: who does what, in which order, how often."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from stemd.cli.bench import processes
from stemd.cli.bench.figures import Comparison, Run
from stemd.cli.bench.separator import AudioSeparator
from stemd.cli.bench.sides import Demucs, Setting, daemon

#: A file that is shorter than one segment of htdemucs (7.8 s).
_SHORTEST = 6.0


@dataclass(frozen=True, slots=True)
class Plan:
    """One file of ``seconds``, and ``files`` files of ``file_seconds``, each done ``rounds`` times by both sides.

    ``fast`` is a precision that stemd does the one file in once more; ``separator`` is the audio-separator command,
    where that takes part too.
    """

    model: str
    store: Path
    rounds: int
    seconds: float
    files: int
    file_seconds: float
    threads: int
    fast: str | None = None
    separator: Path | None = None

    def setting(self, precision: str = "auto") -> Setting:
        """What stemd's daemon is asked to do."""
        engines = {"demucs": {"device": "cpu", "precision": precision}}
        return Setting({"engine": "demucs", "model": self.model}, self.store, {"engines": engines})


@dataclass(slots=True)
class Contest:
    """All of it below ``root``; ``say`` is told what goes on.

    ``differences``: per workload and stem, how far the outputs of the first round are apart (1.0 is full scale).
    ``warned``: what the manifest of the fast precision says. ``ready``: seconds that each worker took to be loaded.
    """

    plan: Plan
    root: Path
    say: Callable[[str], None]
    model: dict[str, Any] = field(default_factory=dict)
    differences: dict[str, dict[str, float]] = field(default_factory=dict)
    warned: list[str] = field(default_factory=list)
    ready: list[float] = field(default_factory=list)
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
            one = [self._one_stemd, self._one_demucs, *([self._one_fast] if self.plan.fast else [])]
            many = [self._many_stemd, self._many_loop, self._many_call]
            if (other := self._separator()) is not None:
                one.append(partial(self._separate, "one separator", other, slice(0, 1)))
                many.append(partial(self._separate, "many separator", other, slice(2, None)))
            for parts in (one, many):
                first = number % len(parts)
                for part in (*parts[first:], *parts[:first]):
                    part()
                self._compare()
        return self._comparisons()

    # ---- the runs

    def _prepare(self) -> None:
        plan = self.plan
        self.say("making audio, and the model's weights as demucs reads them …")
        lengths = [plan.seconds, _SHORTEST] + [plan.file_seconds] * plan.files
        made = processes.tool("stemd.engines.sample.loop", str(self.root / "audio"), *map(str, lengths))
        self._files = [Path(line) for line in made.splitlines()]
        repo = str(self.root / "repo")
        self.model = processes.asked("stemd.engines.reference", "export", plan.model, str(plan.store), repo)
        if (other := self._separator()) is not None:
            other.list_model()
            self.model["audio-separator"] = other.version()

    def _one_stemd(self) -> None:
        with daemon(self.plan.setting(), self._stemd, self.plan.threads) as running:
            self._note("one", running.drop(self._files[:1]))
            self.ready.append(running.seconds_between("started", "worker_ready"))

    def _one_fast(self) -> None:
        """In a smaller number format, where that passed its gate; the manifest says what was used."""
        home = self.root / "fast" / "stemd"
        with daemon(self.plan.setting(self.plan.fast or "auto"), home, self.plan.threads) as running:
            self._note("fast", running.drop(self._files[:1]))
            self.warned = json.loads((running.result(self._files[0]) / "manifest.json").read_text())["warnings"]
        shutil.rmtree(home)

    def _one_demucs(self) -> None:
        self._note("one demucs", self._demucs().call(self._files[:1]))

    def _many_stemd(self) -> None:
        """All files with a worker that is not started, then one of them with it loaded."""
        _, shortest, *files = self._files
        with daemon(self.plan.setting(), self._stemd, self.plan.threads) as running:
            self._note("many stemd", running.drop(files))
            self._note("short warm", running.drop(files[:1], "again-"))
            self._note("shortest", running.drop([shortest]))
        with daemon(self.plan.setting(), self.root / "cold", self.plan.threads) as running:
            self._note("short cold", running.drop(files[:1]))
        shutil.rmtree(self.root / "cold")

    def _many_loop(self) -> None:
        self._note("shortest demucs", self._demucs().call(self._files[1:2]))
        calls = [self._demucs().call([file]) for file in self._files[2:]]
        self._note("short demucs", calls[0])
        self._note("many loop", Run(sum(run.seconds for run in calls), max(run.peak_rss for run in calls)))

    def _many_call(self) -> None:
        shutil.rmtree(self._separated, ignore_errors=True)
        self._note("many call", self._demucs().call(self._files[2:]))

    def _separate(self, what: str, other: AudioSeparator, files: slice) -> None:
        self._note(what, other.call(self._files[files]))

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

    def _separator(self) -> AudioSeparator | None:
        plan, out = self.plan, self.root / "separator"
        if plan.separator is None:
            return None
        return AudioSeparator(plan.separator, plan.model, self.root / "repo", out, plan.threads)

    def _compare(self) -> None:
        """Compare what all made of one file, the first time, and make room."""
        others = {"": self._separated / self.plan.model, ", audio-separator": self.root / "separator"}
        for folder in sorted((self._stemd / "spool" / "outbox" / "everyone").iterdir()):
            kind = "one" if folder.name == self._files[0].stem else "many"
            for who, made in others.items():
                theirs = made / folder.name
                if kind + who not in self.differences and theirs.is_dir():
                    words = ("compare", str(folder), str(theirs))
                    self.differences[kind + who] = processes.asked("stemd.engines.reference", *words)
        shutil.rmtree(self._stemd)
        shutil.rmtree(self._separated)
        shutil.rmtree(self.root / "separator", ignore_errors=True)

    def _comparisons(self) -> list[Comparison]:
        plan, runs = self.plan, self._runs
        one, many = f"1 × {plan.seconds:g} s", f"{plan.files} × {plan.file_seconds:g} s"
        short, total = f"1 × {plan.file_seconds:g} s", plan.files * plan.file_seconds

        def short_file(what: str, name: str) -> Comparison:
            return Comparison(what, f"{short}, {name}", 1, plan.file_seconds, runs[what], runs["short demucs"])

        def long_file(what: str, name: str) -> Comparison:
            return Comparison(what, f"{one}, {name}", 1, plan.seconds, runs[what], runs["one demucs"])

        found = [long_file("one", "worker not started")]
        if plan.fast:
            found.append(long_file("fast", f"precision {plan.fast}"))
        six = f"1 × {_SHORTEST:g} s, worker loaded"

        def separator(what: str, name: str, files: int, seconds: float, stemd: str) -> Comparison:
            return Comparison(what, name, files, seconds, runs[stemd], runs[what], "audio-separator")

        others = [
            separator("one separator", f"{one}, worker not started", 1, plan.seconds, "one"),
            separator("many separator", f"{many}, one call", plan.files, total, "many stemd"),
        ]
        return [
            *found,
            short_file("short cold", "worker not started"),
            short_file("short warm", "worker loaded"),
            Comparison("shortest", six, 1, _SHORTEST, runs["shortest"], runs["shortest demucs"]),
            Comparison("many", f"{many}, a call each", plan.files, total, runs["many stemd"], runs["many loop"]),
            Comparison("many call", f"{many}, one call", plan.files, total, runs["many stemd"], runs["many call"]),
            *(others if plan.separator else []),
        ]
