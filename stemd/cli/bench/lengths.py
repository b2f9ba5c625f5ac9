"""Memory against length: one track of each length through a daemon; and when the first of its stems are on disk."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stemd.cli.bench import processes
from stemd.cli.bench.sides import Daemon, Setting, daemon


@dataclass(frozen=True, slots=True)
class Length:
    """A track of ``minutes``: most resident memory of daemon and worker together (bytes), seconds from the rename into
    the inbox to the result and to the first finished frames of its stems below the job's ``chunks``."""

    minutes: float
    peak_rss: int
    seconds: float
    first_block: float

    def to_dict(self) -> dict[str, Any]:
        found = {key: round(value, 3) for key, value in asdict(self).items()}
        return {**found, "realtime": round(self.minutes * 60 / self.seconds, 2)}


def measure(
    model: str, store: Path, root: Path, minutes: Sequence[float], threads: int, say: Callable[[str], None]
) -> list[Length]:
    """Each length once, with a worker of its own that was not started before.

    Raises:
        StemdError: a job failed.
    """
    output = {"format": "flac", "bit_depth": 16}
    sections = {"engines": {"demucs": {"device": "cpu"}}}
    setting = Setting({"engine": "demucs", "model": model, "output": output}, store, sections)
    found = []
    for length in minutes:
        song = Path(processes.tool("stemd.engines.sample.loop", str(root / "audio"), str(length * 60)).strip())
        with daemon(setting, root / "stemd", threads) as running:
            found.append(_one(running, song, length))
        say(f"  {length:g} min: {found[-1].peak_rss / 2**20:.0f} MiB, {found[-1].seconds:.1f} s")
        shutil.rmtree(root / "stemd")
        shutil.rmtree(root / "audio")
    return found


def _one(running: Daemon, song: Path, minutes: float) -> Length:
    seen: list[float] = []

    def glance() -> None:
        if not seen and any(each.stat().st_size for each in running.spool.work.glob("*/chunks/*.f32*")):
            seen.append(time.perf_counter())

    before = time.perf_counter()
    run = running.drop([song], glance=glance)
    dropped = time.perf_counter() - run.seconds  # what came before is the copying
    return Length(minutes, run.peak_rss, run.seconds, max(0.0, (seen or [dropped])[0] - max(before, dropped)))
