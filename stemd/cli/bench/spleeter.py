"""Spleeter's part of the contest: the ``spleeter`` command against a daemon whose worker holds the same weights."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stemd.cli.bench import processes
from stemd.cli.bench.figures import Comparison, Run
from stemd.cli.bench.sides import Setting, Spleeter, daemon
from stemd.engines.environments import Environment

MODEL = "2stems"


def lacking(environment: Environment, store: Path) -> str | None:
    """Why there can be no contest, in words; ``None`` where there can. ``store`` has the model where it is whole."""
    if not environment.current():
        return f"Spleeter was not measured: it is not in {environment.root} (`stemd engines install spleeter`)."
    if not (store / MODEL / "checkpoint").exists():
        return f"Spleeter was not measured: {store} has no {MODEL} (`stemd models fetch {MODEL}`, or --random)."
    return None


def random_weights(environment: Environment, store: Path) -> None:
    """Write ``MODEL`` with random weights into ``store``."""
    program = Path(__file__).parents[2] / "engines" / "spleeter" / "sized.py"
    (store / MODEL).mkdir(parents=True)
    processes.program([str(environment.python), "-I", "-B", str(program), MODEL, str(store / MODEL)], "Spleeter")


@dataclass(frozen=True, slots=True)
class Plan:
    """One file of each of ``seconds``, ``rounds`` times by both sides."""

    environment: Environment
    store: Path
    seconds: Sequence[float]
    rounds: int
    threads: int


def hold(plan: Plan, root: Path, say: Callable[[str], None]) -> tuple[list[Comparison], dict[str, float]]:
    """The comparisons, and how far the stems of the first file are apart.

    Raises:
        StemdError: a side failed.
    """
    environment, store, seconds, rounds, threads = (
        plan.environment, plan.store, plan.seconds, plan.rounds, plan.threads
    )  # fmt: skip
    made = processes.tool("stemd.engines.sample.loop", str(root / "audio"), *map(str, seconds))
    files = [Path(line) for line in made.splitlines()]
    setting = Setting(
        {"engine": "spleeter", "model": MODEL, "output": {"format": "wav", "bit_depth": 16}},
        store,
        {"paths": {"engines": str(environment.root.parent)}},
    )
    theirs = Spleeter(environment.python, MODEL, store, root / "separated", threads)
    runs: defaultdict[tuple[str, Path], list[Run]] = defaultdict(list)
    differences: dict[str, float] = {}
    for number in range(rounds):
        say(f"Spleeter, round {number + 1} of {rounds}")
        with daemon(setting, root / "stemd", threads) as running:
            running.drop(files[:1], "first-")
            for file in files:
                sides = ["stemd", "spleeter"]
                for side in sides if number % 2 == 0 else reversed(sides):
                    run = running.drop([file]) if side == "stemd" else theirs.call([file])
                    runs[side, file].append(run)
                    say(f"  {side}, {file.stem}: {run.seconds:.1f} s")
            if not differences:
                words = (str(running.result(files[0])), str(root / "separated" / files[0].stem))
                differences = processes.asked("stemd.engines.reference", "compare", *words)
        shutil.rmtree(root / "stemd")
        shutil.rmtree(root / "separated")
    return [
        Comparison(f"spleeter {length:g}", f"Spleeter {MODEL}, 1 × {length:g} s, worker loaded", 1, length,
                   runs["stemd", file], runs["spleeter", file], "spleeter")
        for length, file in zip(seconds, files, strict=True)
    ], differences  # fmt: skip
