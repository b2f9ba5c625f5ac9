"""Peak memory of a separation by length of track: it must not grow.

``python tests/bench/memory.py [MINUTES …]`` (default 6 and 60) makes a track of each length on disk, separates each
with the bundled model in a process of its own, prints one JSON line for each, and fails where the longest needs over
10 % more than the shortest.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from stemd.core.job import Output
from stemd.engines.base import SeparationRequest, create
from stemd.engines.separate import separate

RATE = 48_000
LIMIT = 1.10


def make(path: Path, minutes: float) -> None:
    """Noise with a slow swell, written second by second."""
    random = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", RATE, 2, "PCM_16", format="FLAC") as sound:
        for second in range(round(minutes * 60)):
            level = 0.1 + 0.1 * np.sin(second / 5)
            sound.write((level * random.standard_normal((RATE, 2))).astype(np.float32))


def measure(minutes: float, folder: Path) -> None:
    """Separate a track of this length here, and print what it took."""
    song = folder / "song.flac"
    make(song, minutes)
    for name in ("chunks", "out"):
        (folder / name).mkdir()
    engine = create("demucs")
    model = engine.load("nano", folder, "cpu")
    request = SeparationRequest(song, folder / "chunks", folder / "out", 4, Output("flac", "16"))
    started = time.monotonic()
    result = separate(engine, model, request, lambda progress: None)
    took = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    facts = {"minutes": minutes, "peak_rss_mib": round(peak, 1), "realtime": round(minutes * 60 / took, 1)}
    print(json.dumps({**facts, "timings": dict(result.timings)}), flush=True)


def main() -> None:
    if len(sys.argv) == 4 and sys.argv[1] == "--one":
        measure(float(sys.argv[2]), Path(sys.argv[3]))
        return
    peaks = []
    for minutes in sorted(float(each) for each in sys.argv[1:] or ("6", "60")):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--one", str(minutes), folder]
            line = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        print(line, end="", flush=True)
        peaks.append(json.loads(line)["peak_rss_mib"])
    ratio = peaks[-1] / peaks[0]
    print(json.dumps({"ratio": round(ratio, 3), "limit": LIMIT}))
    sys.exit(ratio > LIMIT)


if __name__ == "__main__":
    main()
