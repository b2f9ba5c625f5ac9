"""The mix engine's speed on one core, and its memory by length of track.

``python -m tests.bench.mix [--minutes 3 30] [--page]`` mixes two stems (a sung line and what goes with it) by the
default preset, from wav and from flac to wav, each in a process of its own that has one core and one thread. It prints
one JSON line each, with what each stage takes, and with ``--page`` writes docs/mix-measured.md. It fails where the
longest track needs over 10 % more memory than the shortest. Nothing else should run then.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from stemd.core.environment import scrubbed
from stemd.core.job import Output
from stemd.engines.base import MixInput, MixRequest, create
from stemd.engines.sample import song
from stemd.engines.sample.synth import RATE
from stemd.worker import usage

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "mix-measured.md"
LIMIT = 1.10
WANTED = 15.0
FORMS = ("wav", "flac")


def make(folder: Path, minutes: float) -> None:
    """``vocals`` and ``other`` in each of ``FORMS``: the sample song again and again, each time a little louder."""
    parts = song.compose()
    stems = {"vocals": parts.pop("vocals"), "other": np.sum([*parts.values()], axis=0)}
    frames = round(minutes * 60 * RATE)
    for role, loop in stems.items():
        for form in FORMS:
            with soundfile.SoundFile(folder / f"{role}.{form}", "w", RATE, 2, "PCM_24") as sound:
                for start in range(0, frames, len(loop)):
                    sound.write((0.5 + 0.5 * start / frames) * loop[: frames - start])


def measure(folder: Path, form: str) -> dict[str, Any]:
    """One mix, here: peak memory and seconds, the import of the libraries among them."""
    place = folder / f"{form}-mix"
    for name in ("chunks", "out"):
        (place / name).mkdir(parents=True)
    inputs = {role: MixInput(folder / f"{role}.{form}", "") for role in ("vocals", "other")}
    request = MixRequest(inputs, place / "chunks", place / "out", Output("wav", "24"), Path)
    usage.reset_peak()
    started = time.monotonic()
    result = create("mix").mix(request, lambda progress: None)
    took = time.monotonic() - started
    seconds = result.source.frames / result.source.sample_rate
    return {
        "realtime": round(seconds / took, 1),
        "peak_mib": round(usage.peak_rss() / 2**20),
        "ms_per_second": {stage: round(1000 * each / seconds, 1) for stage, each in result.timings.items()},
        "warnings": list(result.warnings),
    }


def _alone(folder: Path, form: str) -> dict[str, Any]:
    """``measure`` in a process with one core and one thread."""
    command = ["taskset", "-c", "0", sys.executable, "-m", "tests.bench.mix", "--one", str(folder), form]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, env=scrubbed(os.environ, 1))
    return dict(json.loads(done.stdout.splitlines()[-1]))


def page(rows: Iterable[Mapping[str, Any]]) -> str:
    """docs/mix-measured.md."""
    rows = list(rows)
    stages = list(rows[0]["ms_per_second"])
    lines = [
        "# The mix, measured",
        "",
        "Written by `python -m tests.bench.mix --page`: two stems (44.1 kHz, stereo, 24 bit) mixed by the preset",
        "`streaming` to one 24-bit wav, on one core with one thread, from opening the stems to the checked file. The",
        "stages are in milliseconds per second of music. Each row says how busy the machine was (load).",
        "",
        "| stems | minutes | × realtime | peak MiB | " + " | ".join(stages) + " | measured with |",
        "|" + "---|" * (len(stages) + 5),
    ]
    for row in rows:
        cells = [row["form"], f"{row['minutes']:g}", row["realtime"], row["peak_mib"]]
        cells += [*row["ms_per_second"].values(), row["with"]]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join([*lines, ""])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--minutes", nargs="*", type=float, default=[3.0, 30.0])
    arguments.add_argument("--page", action="store_true", help="write docs/mix-measured.md")
    arguments.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    if chosen.one:
        print(json.dumps(measure(Path(chosen.one[0]), chosen.one[1])))
        return
    rows = []
    for minutes in sorted(chosen.minutes):
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), minutes)
            for form in FORMS:
                facts = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; Python {platform.python_version()}, "
                facts += f"numpy {version('numpy')}, scipy {version('scipy')}"
                rows.append({"form": form, "minutes": minutes, "with": facts, **_alone(Path(folder), form)})
                print(json.dumps(rows[-1]), flush=True)
    ratio = rows[-1]["peak_mib"] / rows[0]["peak_mib"]
    slowest = min(row["realtime"] for row in rows)
    print(json.dumps({"ratio": round(ratio, 3), "limit": LIMIT, "slowest": slowest, "wanted": WANTED}))
    if chosen.page:
        PAGE.write_text(page(rows))
    sys.exit(ratio > LIMIT)


if __name__ == "__main__":
    main()
